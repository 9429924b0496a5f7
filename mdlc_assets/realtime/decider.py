"""From an event to its decision: features, score, rules. What is away is done without, as declared.

Requests that arrive together are scored together: each puts its row on a list, and once the loop has taken in all
that was waiting, one call scores the list. A call costs about the same for one row as for eight.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features.online import StoreAwayError
from mdlc_assets.features.state import StateMismatchError
from mdlc_assets.integration.effects import decision_id
from mdlc_assets.integration.rules import RuleError, RuleSet
from mdlc_assets.realtime.breaker import Breaker
from mdlc_assets.realtime.serving import ServedModel, Serving

# Between so many events of a batch others get their turn.
_TOGETHER = 16
_THREADS = 16
_LOG = logging.getLogger("mdlc.decisions")


class FeatureSource(Protocol):
    """The online features (features/online.py)."""

    def features_of(self, event: Mapping[str, Any]) -> np.ndarray:
        """Float64, in the order of the lifecycle's features. Raises when the store is away."""
        ...


@dataclass(slots=True)
class Decided:
    """A decision and what it came from. `degraded` names what was away, and is empty when nothing was."""

    event: Mapping[str, Any]
    decision_id: str
    features: list[float] | None
    score: float | None
    decision: str
    rule: str
    reason: str
    versions: Mapping[str, Any]
    degraded: str = ""
    reasons: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class _Waiting:
    events: Sequence[Mapping[str, Any]]
    vectors: list[np.ndarray | None]
    request_id: str
    done: asyncio.Future[list[Decided]]


Record = Callable[[Serving, list[tuple[str, Decided]]], Awaitable[None] | None]
"""Writes decisions down, each with its request's id, before any is answered; awaited where that takes time."""


class Decider:
    """Decides events of one lifecycle.

    `at_hand` says that the store answers in microseconds (an embedded one): it is then asked in the loop itself,
    since a thread would cost more than the answer. `record` is given the decisions that were made together.
    """

    def __init__(
        self,
        lifecycle: LifecycleDeclaration,
        source: FeatureSource,
        serving: Callable[[], Serving],
        record: Record = lambda serving, decided: None,
        *,
        at_hand: bool = False,
    ) -> None:
        self.name, self.id_column = lifecycle.name, lifecycle.dataset.id
        self.service = lifecycle.deployment.service
        self.source, self.serving, self.record = source, serving, record
        self.width = len(lifecycle.features.names())
        self.places = {name: i for i, name in enumerate(lifecycle.features.names())}
        self.store, self.model = Breaker(self.service.fallback), Breaker(self.service.fallback)
        self.feature_seconds = self.score_seconds = 0.0
        self._pool = ThreadPoolExecutor(_THREADS, "features") if not at_hand else None
        self._asking = ThreadPoolExecutor(_THREADS, "scores") if self.service.model == "endpoint" else None
        self._waiting: list[_Waiting] = []
        self._writing: set[asyncio.Future[None]] = set()

    async def decide(self, events: Sequence[Mapping[str, Any]], request_id: str) -> list[Decided]:
        """The decisions of a request's events, in their order."""
        vectors = await self._collect(events)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(events, vectors, request_id, loop.create_future())
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            loop.call_soon(self._decide_waiting)
        return await waiting.done

    async def _collect(self, events: Sequence[Mapping[str, Any]]) -> list[np.ndarray | None]:
        if self._pool is not None:
            limit = self.service.fallback.store_ms / 1e3
            return list(await asyncio.gather(*(self._ask_store(event, limit) for event in events)))
        found = []
        for number, event in enumerate(events, start=1):
            found.append(self._at_hand(event))
            if number % _TOGETHER == 0:
                await asyncio.sleep(0)
        return found

    def _at_hand(self, event: Mapping[str, Any]) -> np.ndarray | None:
        if not self.store.allows():
            return None
        began = time.perf_counter()
        try:
            vector = self.source.features_of(event)
        except Exception as error:
            self._not_collected(error)
            return None
        spent = time.perf_counter() - began
        self.feature_seconds += spent
        # It came late, but it came: the answer counts, and so does the lateness.
        if spent > self.service.fallback.store_ms / 1e3:
            self.store.failed()
        else:
            self.store.succeeded()
        return vector

    async def _ask_store(self, event: Mapping[str, Any], limit: float) -> np.ndarray | None:
        if not self.store.allows():
            return None
        began = time.perf_counter()
        asked = asyncio.get_running_loop().run_in_executor(self._pool, self.source.features_of, event)
        try:
            async with asyncio.timeout(limit):
                vector = await asked
        except Exception as error:
            self._not_collected(error)
            return None
        self.feature_seconds += time.perf_counter() - began
        self.store.succeeded()
        return vector

    def _not_collected(self, error: Exception) -> None:
        # An event that cannot be computed is no sign that the store is away for others.
        if isinstance(error, StoreAwayError | StateMismatchError | OSError):
            self.store.failed()
        else:
            _LOG.error("features cannot be computed: %s", type(error).__name__)

    def _decide_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        serving = self.serving()
        if serving.model is not None and serving.model.ask is not None:
            self._go_on(self._decide_elsewhere(serving, waiting))
            return
        try:
            scores = self._score_here(serving.model, [v for request in waiting for v in request.vectors])
            self._conclude(serving, waiting, scores)
        except Exception as error:
            _fail(waiting, error)

    async def _decide_elsewhere(self, serving: Serving, waiting: list[_Waiting]) -> None:
        """The endpoint scores; meanwhile other requests gather and go out by themselves."""
        try:
            vectors = [v for request in waiting for v in request.vectors]
            scores, version = await self._score_elsewhere(serving.model, vectors)
            if version is not None:
                serving = replace(serving, versions={**serving.versions, "model": version})
            self._conclude(serving, waiting, scores)
        except Exception as error:
            _fail(waiting, error)

    async def _score_elsewhere(
        self, model: ServedModel | None, vectors: list[np.ndarray | None]
    ) -> tuple[list[float | None], int | None]:
        """The endpoint's scores, and the version that it says gave them; none where it is away or says too much."""
        scores: list[float | None] = [None] * len(vectors)
        assert model is not None and model.ask is not None
        there, rows = _whole(model, vectors)
        if not there or not self.model.allows():
            return scores, None
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self.service.fallback.model_ms / 1e3):
                found, version = await asyncio.get_running_loop().run_in_executor(self._asking, model.ask, rows)
        except Exception as error:
            self.model.failed()
            _LOG.error("the endpoint gives no scores: %s", type(error).__name__)
            return scores, None
        self.model.succeeded()
        self.score_seconds += time.perf_counter() - began
        for i, score in zip(there, found.tolist(), strict=True):
            scores[i] = score
        return scores, version

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    def _score_here(self, model: ServedModel | None, vectors: list[np.ndarray | None]) -> list[float | None]:
        began = time.perf_counter()
        scores: list[float | None] = [None] * len(vectors)
        if model is None:
            return scores
        there, rows = _whole(model, vectors)
        if there:
            for i, score in zip(there, model.score(rows).tolist(), strict=True):
                scores[i] = score
        self.score_seconds += time.perf_counter() - began
        return scores

    def _conclude(self, serving: Serving, waiting: list[_Waiting], scores: list[float | None]) -> None:
        decided: list[tuple[str, Decided]] = []
        place = 0
        for request in waiting:
            for event, vector in zip(request.events, request.vectors, strict=True):
                decided.append((request.request_id, self._by_rules(serving, event, vector, scores[place])))
                place += 1
        self._give_reasons(serving, [one for _, one in decided])
        writing = self.record(serving, decided)
        if writing is None:
            _answer(waiting, decided)
        else:
            self._go_on(self._answer_once(writing, waiting, decided))

    async def _answer_once(
        self, writing: Awaitable[None], waiting: list[_Waiting], decided: list[tuple[str, Decided]]
    ) -> None:
        await writing
        _answer(waiting, decided)

    def _by_rules(
        self, serving: Serving, event: Mapping[str, Any], vector: np.ndarray | None, score: float | None
    ) -> Decided:
        features = vector.tolist() if vector is not None else None
        degraded, rules = "", serving.rules
        if features is None:
            degraded, rules = "store", serving.without_features
        elif score is None:
            degraded, rules = "model", serving.without_score
        try:
            decision, rule, reason = rules.decide(self._known(rules, event, features, score))
        except RuleError:
            degraded = "rules"
            decision, rule, reason = serving.without_score.declared.otherwise, "otherwise", "A rule has no value here."
        identity = decision_id(self.name, event[self.id_column])
        return Decided(event, identity, features, score, decision, rule, reason, serving.versions, degraded)

    def _known(
        self, rules: RuleSet, event: Mapping[str, Any], features: list[float] | None, score: float | None
    ) -> dict[str, Any]:
        """What the rules may name; a feature stands before the column it is called as, as in the batch path."""
        known: dict[str, Any] = {}
        for name in rules.variables:
            if name == "score":
                known[name] = score
            elif features is not None and name in self.places:
                known[name] = features[self.places[name]]
            else:
                known[name] = event.get(name)
        return known

    def _give_reasons(self, serving: Serving, decided: list[Decided]) -> None:
        model = serving.model
        if model is None or model.contributions is None or self.service.reasons == "never":
            return
        always, otherwise = self.service.reasons == "always", serving.rules.declared.otherwise
        wanted = [one for one in decided if one.score is not None and (always or one.decision != otherwise)]
        if not wanted:
            return
        rows = np.array([one.features for one in wanted])[:, model.columns]
        # XGBoost takes a row apart in single precision only, and refuses what is infinite there.
        fit = np.abs(rows).max(axis=1) < np.finfo(np.float32).max
        if not fit.all():
            wanted, rows = [one for one, good in zip(wanted, fit, strict=True) if good], rows[fit]
        for one, row, parts in zip(wanted, rows, model.contributions.of(rows), strict=True):
            one.reasons = model.contributions.top(parts, row, self.service.most_reasons)

    def close(self) -> None:
        """Wait for nobody any more."""
        for pool in (self._pool, self._asking):
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)


def _fail(waiting: list[_Waiting], error: Exception) -> None:
    for request in waiting:
        if not request.done.done():
            request.done.set_exception(error)


def _answer(waiting: list[_Waiting], decided: list[tuple[str, Decided]]) -> None:
    place = 0
    for request in waiting:
        count = len(request.events)
        if not request.done.done():
            request.done.set_result([one for _, one in decided[place : place + count]])
        place += count


def _whole(model: ServedModel, vectors: list[np.ndarray | None]) -> tuple[list[int], np.ndarray]:
    """The places of the vectors that are there and hold numbers only, and their rows as the model takes them."""
    there = [i for i, vector in enumerate(vectors) if vector is not None]
    if not there:
        return there, np.empty((0, len(model.columns)))
    rows = np.array([vectors[i] for i in there])[:, model.columns]
    whole = np.isfinite(rows).all(axis=1)
    if whole.all():
        return there, rows
    return [i for i, good in zip(there, whole, strict=True) if good], rows[whole]
