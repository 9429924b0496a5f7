"""The entry point `train`: reads the channels, fits, writes the model; to SageMaker's contract.

Exit codes: 0 the model is written; 1 it failed, and the failure file says why; 143 it was asked to stop
(SIGTERM), and what could be kept is in the checkpoints. A model folder is written whole or not at all.

Channel `train` is needed. With a channel `refit` there are two models: the one in the model folder learnt from
`refit`, the one in its folder `judged` from `train`.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from types import FrameType

from mdlc_assets.container.channels import read_channel
from mdlc_assets.container.layout import InputError, Layout
from mdlc_assets.container.task import read_task
from mdlc_assets.training.algorithms import FittedModel, TrainingDataError, fit
from mdlc_assets.training.checkpoints import Checkpoints, TrainingStoppedError
from mdlc_assets.training.estimators import RecipeError

FAILED, STOPPED = 1, 128 + signal.SIGTERM
# SIGKILL comes 120 s after SIGTERM; a round of boosting that is not over by then is lost.
_GRACE_SECONDS = 110.0
_LOG = logging.getLogger("mdlc.train")


def train(layout: Layout, stop: threading.Event) -> dict[str, object]:
    """Fit what the layout describes and write the model; returns what is to be said of it."""
    began = time.perf_counter()
    if len(layout.hosts()) > 1:
        raise InputError(f"the job has {len(layout.hosts())} machines. Mend: set InstanceCount to 1.")
    task = read_task(layout.hyperparameters())
    channels = layout.channels()
    if "train" not in channels:
        raise InputError(f"there is no channel train, only {', '.join(channels) or 'none'}. Mend: add it.")
    checkpoints = Checkpoints(layout.checkpoints, task.checkpoint_rounds, stop.is_set)
    said: dict[str, object] = {"algorithm": task.algorithm}
    models: dict[str, FittedModel] = {}
    for channel, folder in (("train", "judged" if "refit" in channels else ""), ("refit", "")):
        if channel in channels:
            if stop.is_set():
                raise TrainingStoppedError("training was stopped. Mend: start the job again.")
            rows = read_channel(layout, channel, channels[channel])
            features = [name for name in rows.columns if name != task.label]
            if not features:
                raise InputError(f"channel {channel}: there are no columns beside the label. Mend: add features.")
            models[folder] = fit(task, rows, features, task.label, checkpoints)
            said[f"{channel}_rows"] = rows.height
    _write(layout, models)
    said |= {"features": len(models[""].features), "digest": models[""].digest()}
    said["seconds"] = round(time.perf_counter() - began, 3)
    layout.output_data.mkdir(parents=True, exist_ok=True)
    (layout.output_data / "training.json").write_text(json.dumps(said, indent=1))
    return said


def _write(layout: Layout, models: dict[str, FittedModel]) -> None:
    # Beside the model folder, so that half a model never lies in it.
    staged = layout.root / ".model"
    shutil.rmtree(staged, ignore_errors=True)
    for folder, model in models.items():
        (staged / folder).mkdir(parents=True, exist_ok=True)
        for name, content in model.files().items():
            (staged / folder / name).write_bytes(content)
    layout.model.mkdir(parents=True, exist_ok=True)
    for path in sorted(staged.iterdir()):
        path.replace(layout.model / path.name)
    staged.rmdir()


def _run(layout: Layout, stop: threading.Event, result: list[int]) -> None:
    try:
        _LOG.info("trained: %s", json.dumps(train(layout, stop)))
        result.append(0)
    except TrainingStoppedError as error:
        _LOG.warning("%s", error)
        result.append(STOPPED)
    except (InputError, TrainingDataError, RecipeError) as error:
        layout.fail(str(error))
        _LOG.error("%s", error)
        result.append(FAILED)
    except BaseException as error:
        # XGBoost's errors go on with a C++ stack: the first lines say what is wrong.
        reason = " ".join(str(error).split("Stack trace")[0].split())
        layout.fail(f"{type(error).__name__}: {reason}")
        _LOG.exception("the algorithm failed")
        result.append(FAILED)


def main() -> None:
    """Train in a thread of its own, so that SIGTERM is answered while compiled code is at work."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(name)s %(message)s")
    layout, stop, result = Layout.of_this_machine(), threading.Event(), list[int]()

    def asked_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, asked_to_stop)
    worker = threading.Thread(target=_run, args=(layout, stop, result), daemon=True)
    worker.start()
    while worker.is_alive() and not stop.is_set():
        worker.join(0.2)
    worker.join(_GRACE_SECONDS)
    code = result[0] if result else STOPPED
    sys.stdout.flush()
    # What still computes cannot be waited for.
    os._exit(code)


if __name__ == "__main__":
    main()
