"""Rollouts of real versions on real processes under load: canary, linear, alarms, kills, shadows."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from mdlc_assets.declaration.model import Gate, Model, Windows
from mdlc_assets.resources.endpoint_plan import Plan, Step, steps_of
from mdlc_assets.resources.endpoint_state import read_state
from mdlc_assets.resources.endpoint_status import Shadow
from mdlc_assets.resources.endpoint_trial import write_alarm_state
from mdlc_assets.resources.endpoints import (
    DeploymentRefusedError,
    DeploymentRolledBackError,
    Endpoints,
)
from mdlc_assets.training.algorithms import fit
from mdlc_assets_tests.deployment.load import Answers, bodies, under_load
from mdlc_assets_tests.deployment.models import FEATURES, save_model

NAME = "payments"
SECONDS = 120  # a machine that is busy starts processes slowly


def alarm(metric: str, limit: float, **more: object) -> dict[str, object]:
    """An alarm as CloudWatch's request PutMetricAlarm, over two periods of one second."""
    return {
        "AlarmName": f"{NAME}-{metric}",
        "MetricName": metric,
        "Statistic": "Average",
        "Period": 1,
        "EvaluationPeriods": 2,
        "Threshold": limit,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
        **more,
    }


ERRORS = alarm("Invocation5XXErrors", 0.01)
DRIFT = alarm("ScoreDrift", 0.35, Statistic="Maximum", Period=4, EvaluationPeriods=1)
SLOW = {**alarm("ModelLatency", 1e6), "ExtendedStatistic": "p99"}
SLOW.pop("Statistic")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    root = tmp_path_factory.mktemp("models")
    folders = {version: save_model(root / str(version), seed=version) for version in (1, 2, 3)}
    folders[9] = save_drifted(root / "9")
    return folders


def save_drifted(folder: Path) -> Path:
    """A model that loads and scores, and finds nearly everything suspicious."""
    generator = np.random.default_rng(0)
    rows = pl.DataFrame({name: generator.normal(size=500) for name in FEATURES})
    label = pl.Series("label", generator.random(500) < 0.97).cast(pl.Int8)
    model = Model(
        algorithm="xgboost",
        hyperparameters={"n_estimators": 20, "max_depth": 3},
        windows=Windows(train_days=1, gap_days=0, test_days=1),
        entity="customer_id",
        gate=Gate(floors={}),
    )
    folder.mkdir(parents=True)
    for name, content in fit(model, rows.with_columns(label), list(FEATURES), "label").files().items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[Endpoints]:
    endpoints = Endpoints(root=str(tmp_path / "endpoints"))
    yield endpoints
    endpoints.stop(NAME)


def eventually(holds: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


@pytest.mark.slow
def test_changeovers_and_an_automatic_rollback_lose_no_request(
    endpoints: Endpoints, models: dict[int, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = float(os.environ.get("MDLC_LOAD_SECONDS", "20"))
    bake = seconds / 10
    url = endpoints.deploy(NAME, models[1], 1, SECONDS).url
    said: list[str] = []
    marks: list[float] = []

    def rollouts() -> None:
        began = time.monotonic()
        canary = Plan(steps_of("canary", 0.2, bake), (ERRORS, SLOW))
        endpoints.deploy(NAME, models[2], 2, SECONDS, plan=canary, config="two", shadow=Shadow(3, models[3]))
        marks.append(time.monotonic() - began)
        try:
            watched = Plan(steps_of("canary", 0.5, max(5 * bake, 10)), (ERRORS, DRIFT))
            endpoints.deploy(NAME, models[9], 9, SECONDS, plan=watched, config="nine")
        except DeploymentRolledBackError as error:
            said.append(str(error))
        marks.append(time.monotonic() - began)
        status = endpoints.status(NAME)
        said.extend([status.config, status.why])
        endpoints.deploy(NAME, models[1], 1, SECONDS, plan=Plan(steps_of("linear", 0.5, bake), (ERRORS,)))
        time.sleep(max(1.0, seconds - (time.monotonic() - began)))

    answers = under_load(url, 200, rollouts)
    with capsys.disabled():
        print(  # noqa: T201 - the figures of the proof
            f"\n{len(answers.answered)} answers in {answers.answered[-1][0]:.0f} s, {answers.rate():.0f}/s, "
            f"{len(answers.failed)} failed, p50 {answers.quantile_ms(0.5):.2f} ms, "
            f"p99 {answers.quantile_ms(0.99):.1f} ms, versions {dict(answers.versions())}; {said}"
        )
    assert answers.failed == []
    assert set(answers.statuses()) == {200}
    # Version 3 was approved by nobody: it shadows, and no answer is its own.
    assert set(answers.versions()) == {1, 2, 9}
    assert len(answers.answered) > 0.8 * 200 * seconds
    assert "version 9 was rolled back: the alarm payments-ScoreDrift went off" in said[0]
    assert "Version 2 still serves" in said[0]
    assert said[1] == "two"
    assert said[2].startswith("version 9 was rolled back: the alarm payments-ScoreDrift went off: ScoreDrift maximum")
    assert set(answers.versions(since=marks[1] + 0.5)) == {2, 1}
    assert answers.answered[-1][2] == 1


def test_a_canary_gets_its_share_and_no_more(endpoints: Endpoints, models: dict[int, Path]) -> None:
    url = endpoints.deploy(NAME, models[1], 1, SECONDS).url
    seen: list[tuple[float, int]] = []

    def rollout() -> None:
        thread = threading.Thread(
            target=endpoints.deploy,
            args=(NAME, models[2], 2, SECONDS),
            kwargs={"plan": Plan((Step(0.1, 6), Step(1.0, 1)), (ERRORS,)), "config": "two"},
        )
        thread.start()
        assert eventually(lambda: endpoints.status(NAME).rollout is not None, SECONDS)
        rollout = endpoints.status(NAME).rollout
        assert rollout is not None
        assert (rollout.version, rollout.config, rollout.share, rollout.step, rollout.steps) == (2, "two", 0.1, 1, 2)
        time.sleep(1)
        before = dict(answers_of(url))
        time.sleep(3)
        after = answers_of(url)
        seen.extend((version, count - before.get(version, 0)) for version, count in after.items())
        thread.join()

    def answers_of(url: str) -> dict[int, int]:
        report = httpx.get(f"{url}/metrics", headers={"accept": "application/json"}).json()
        return {
            report["version"]: sum(report["own"]["answers"].values()),
            report["trial_version"]: sum(report["trial"]["answers"].values()),
        }

    answers = under_load(url, 100, rollout)
    counts = dict(seen)
    assert counts[2] / (counts[1] + counts[2]) == pytest.approx(0.1, abs=0.01)
    assert answers.failed == []
    assert set(answers.statuses()) == {200}
    assert endpoints.status(NAME).version == 2
    assert "its alarms stayed quiet at 10 %, 100 % of the traffic" in endpoints.status(NAME).why


def test_callers_do_not_pay_for_a_version_that_hangs(endpoints: Endpoints, models: dict[int, Path]) -> None:
    url = endpoints.deploy(NAME, models[1], 1, SECONDS).url
    failure: list[str] = []

    def rollout() -> None:
        def deploy() -> None:
            try:
                endpoints.deploy(NAME, models[2], 2, SECONDS, plan=Plan((Step(0.2, 60),), (ERRORS,)))
            except DeploymentRolledBackError as error:
                failure.append(str(error))

        thread = threading.Thread(target=deploy)
        thread.start()
        folder = Path(endpoints.root) / NAME
        assert eventually(lambda: read_state(folder).rollout is not None, SECONDS)
        (trial,) = [other for other in read_state(folder).others if other.alive()]
        trial.signal(signal.SIGSTOP)
        thread.join()

    answers = under_load(url, 50, rollout)
    assert answers.failed == []
    assert set(answers.statuses()) == {200}
    assert "the alarm payments-Invocation5XXErrors went off" in failure[0]
    assert endpoints.status(NAME).version == 1


def test_a_supervisor_killed_during_a_canary(endpoints: Endpoints, models: dict[int, Path]) -> None:
    url = endpoints.deploy(NAME, models[1], 1, SECONDS).url
    folder = Path(endpoints.root) / NAME
    answers_after_kill: list[int] = []

    def rollout() -> None:
        thread = threading.Thread(target=_deploy_quietly, args=(endpoints, models[2]))
        thread.start()
        assert eventually(lambda: read_state(folder).rollout is not None, SECONDS)
        time.sleep(1)
        read_state(folder).supervisor.signal(signal.SIGKILL)
        thread.join()
        # Nobody watches any more: the workers that serve have taken everything back by themselves.
        time.sleep(0.5)
        for body in bodies(40):
            answer = httpx.post(f"{url}/invocations", content=body, headers={"content-type": "application/json"})
            answers_after_kill.append(int(answer.headers["x-model-version"]))
        assert endpoints.status(NAME).condition == "unsupervised"
        assert endpoints.status(NAME).rollout is None
        # The next deployment, by whomever, brings supervisor and rollout back, from the first step.
        endpoints.deploy(NAME, models[2], 2, SECONDS, plan=Plan((Step(0.5, 2), Step(1.0, 1)), (ERRORS,)))

    answers = under_load(url, 100, rollout)
    assert answers.failed == []
    assert set(answers.statuses()) == {200}
    assert set(answers_after_kill) == {1}
    status = endpoints.status(NAME)
    assert (status.version, status.condition) == (2, "serving")
    assert eventually(lambda: not any(other.alive() for other in read_state(folder).others))


def _deploy_quietly(endpoints: Endpoints, folder: Path) -> None:
    try:
        endpoints.deploy(NAME, folder, 2, SECONDS, plan=Plan((Step(0.5, 60),), (ERRORS,)))
    except Exception as error:
        assert "gave no answer" in str(error)


def test_a_rollout_is_taken_back_by_hand_and_by_an_alarm_of_others(
    endpoints: Endpoints, models: dict[int, Path], tmp_path: Path
) -> None:
    endpoints.deploy(NAME, models[1], 1, SECONDS)
    assert endpoints.take_back(NAME, "ann", "nothing to take back") is False
    alarms = tmp_path / "alarms"
    others = {**alarm("ChargebackRate", 0.1), "AlarmName": "chargebacks"}
    plan = Plan((Step(0.5, 60),), (ERRORS, others), str(alarms))

    def deploy() -> str:
        with pytest.raises(DeploymentRefusedError) as caught:
            endpoints.deploy(NAME, models[2], 2, SECONDS, plan=plan)
        return f"{type(caught.value).__name__} {caught.value}"

    def during(act: Callable[[], None]) -> str:
        said: list[str] = []
        thread = threading.Thread(target=lambda: said.append(deploy()))
        thread.start()
        assert eventually(lambda: endpoints.status(NAME).rollout is not None, SECONDS)
        act()
        thread.join()
        return said[0]

    by_hand = during(lambda: endpoints.take_back(NAME, "ann", "the shops complain"))
    assert "RolledBackError version 2 was rolled back: it was taken back by ann: the shops complain" in by_hand
    by_others = during(lambda: write_alarm_state(alarms, "chargebacks", "ALARM", "too many", "set"))
    assert "the alarm chargebacks went off: too many" in by_others
    # Still on: the next one is refused before any traffic moves.
    assert "DeploymentRefusedError" in (refused := deploy())
    assert "the alarm chargebacks is on already: too many" in refused
    assert endpoints.status(NAME).version == 1


def test_a_shadow_is_compared_and_never_answers(endpoints: Endpoints, models: dict[int, Path]) -> None:
    url = endpoints.deploy(NAME, models[1], 1, SECONDS, shadow=Shadow(9, models[9]), capture=0.5).url
    assert endpoints.status(NAME).shadow_version == 9
    answers: Answers = under_load(url, 100, lambda: time.sleep(3))
    assert answers.failed == []
    assert set(answers.versions()) == {1}
    asked = len(answers.answered)
    assert eventually(lambda: endpoints.status(NAME).shadow.get("compared", 0) >= asked)
    shadow = endpoints.status(NAME).shadow
    assert (shadow["version"], shadow["failed"], shadow["dropped"]) == (9, 0, 0)
    assert shadow["mean_difference"] > 0.3

    time.sleep(1)
    lines = [json.loads(line) for file in _files(endpoints, "shadow/9") for line in file.read_text().splitlines()]
    assert len(lines) == asked
    differences = [abs(a - b) for line in lines for a, b in zip(line["scores"], line["shadow_scores"], strict=True)]
    assert np.mean(differences) == pytest.approx(shadow["mean_difference"])
    captured = [json.loads(line) for file in _files(endpoints, "capture/1") for line in file.read_text().splitlines()]
    assert len(captured) == pytest.approx(asked / 2, abs=1)
    assert json.loads(captured[0]["captureData"]["endpointInput"]["data"])["columns"] == list(FEATURES)
    given = json.loads(captured[0]["captureData"]["endpointOutput"]["data"])
    assert given["request_id"] == captured[0]["eventMetadata"]["inferenceId"]

    # A shadow that does not load leaves what serves alone; taking the shadow away ends its process.
    again = endpoints.deploy(NAME, models[1], 1, SECONDS, capture=0.5)
    assert again.changed is False
    assert endpoints.status(NAME).shadow_version is None
    folder = Path(endpoints.root) / NAME
    assert eventually(lambda: not any(other.alive() for other in read_state(folder).others))


def _files(endpoints: Endpoints, kind: str) -> list[Path]:
    return sorted((endpoints.notes(NAME) / kind).rglob("*.jsonl"))


def test_workers_follow_the_load(endpoints: Endpoints, models: dict[int, Path]) -> None:
    url = endpoints.deploy(NAME, models[1], 1, SECONDS, most_workers=2, calls_per_minute=1500, scale_in_seconds=2).url
    assert endpoints.status(NAME).workers == 1

    def until_two() -> None:
        assert eventually(lambda: endpoints.status(NAME).workers == 2, SECONDS)
        time.sleep(1)

    answers = under_load(url, 60, until_two)
    assert eventually(lambda: endpoints.status(NAME).workers == 1, SECONDS)
    assert answers.failed == []
    assert set(answers.statuses()) == {200}
    assert endpoints.status(NAME).condition == "serving"


def test_slow_callers_and_large_bodies_get_their_answer_and_hold_nobody_up(
    endpoints: Endpoints, models: dict[int, Path]
) -> None:
    url = endpoints.deploy(NAME, models[1], 1, SECONDS).url
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    slow = [socket.create_connection(address) for _ in range(50)]
    for connection in slow:
        connection.sendall(head)

    def large() -> None:
        for kind in ("application/json", "text/csv"):
            answer = httpx.post(f"{url}/invocations", content=b" " * 100_000_000, headers={"content-type": kind})
            assert answer.status_code == 413
            assert "6,291,456 bytes" in answer.json()["error"]

    answers = under_load(url, 50, large)
    for connection in slow:
        connection.close()
    assert answers.failed == []
    assert set(answers.statuses()) == {200}
    assert endpoints.status(NAME).condition == "serving"
