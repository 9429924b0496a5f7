"""Checkpoints of boosting: what a machine that is taken away has done is not done again.

A checkpoint is a booster of some rounds, `<fingerprint>-<rounds>-<digest>.ubj`, written whole or not at all. The
fingerprint is of the rows and hyperparameters, so that a training never goes on from another's trees; the digest is
of the file's content, since XGBoost may end the process over one that was cut off.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class TrainingStoppedError(RuntimeError):
    """Training was asked to stop; what was done is in the checkpoint."""


class Checkpoints:
    """Checkpoints in `folder`, one each `every` rounds; `stopped` says whether to stop after this round."""

    def __init__(self, folder: Path, every: int = 20, stopped: Callable[[], bool] = lambda: False) -> None:
        self.folder, self.every, self.stopped = folder, max(1, every), stopped

    def fit(self, estimator: Any, values: np.ndarray, target: np.ndarray) -> Any:
        """The booster of a fitted `XGBClassifier`, which goes on from the newest checkpoint of this training.

        Raises `TrainingStoppedError` after the round in which `stopped` says so, with a checkpoint written.
        """
        mark = _fingerprint(estimator, values, target)
        before, done = self._newest(mark)
        total = estimator.n_estimators or 100
        if before is None or done < total:
            told = _Told(self, mark)
            estimator.set_params(n_estimators=total - done, callbacks=[told.callback()])
            estimator.fit(values, target, xgb_model=before)
            booster = estimator.get_booster()
            done = booster.num_boosted_rounds()
            if told.stopping and done < total:
                self._save(booster, mark)
                raise TrainingStoppedError(
                    f"training was stopped after {done} of {total} rounds; a checkpoint holds them. "
                    "Mend: start the job again with the same checkpoint path and it goes on from there."
                )
        else:
            booster = before
        return booster

    def _save(self, booster: Any, mark: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        rounds = booster.num_boosted_rounds()
        content = bytes(booster.save_raw("ubj"))
        path = self.folder / f"{mark}-{rounds:06d}-{_digest(content)}.ubj"
        # Hidden until it is whole: SageMaker copies this folder away while training goes on.
        temporary = self.folder / f".{path.name}"
        temporary.write_bytes(content)
        temporary.replace(path)
        for older in self.folder.glob(f"{mark}-*.ubj"):
            if older != path:
                older.unlink(missing_ok=True)

    def _newest(self, mark: str) -> tuple[Any, int]:
        import xgboost

        for path in sorted(self.folder.glob(f"{mark}-*.ubj"), reverse=True):
            content = path.read_bytes()
            if not path.stem.endswith(f"-{_digest(content)}"):
                # Cut off in the middle by whoever took the machine away: an older one, or none, must do.
                continue
            booster = xgboost.Booster()
            booster.load_model(bytearray(content))
            return booster, booster.num_boosted_rounds()
        return None, 0


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class _Told:
    """Writes checkpoints between rounds, and remembers that it was asked to stop."""

    def __init__(self, checkpoints: Checkpoints, mark: str) -> None:
        self.checkpoints, self.mark, self.stopping = checkpoints, mark, False

    def callback(self) -> Any:
        from xgboost.callback import TrainingCallback

        told = self

        class Callback(TrainingCallback):
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                if model.num_boosted_rounds() % told.checkpoints.every == 0:
                    told.checkpoints._save(model, told.mark)
                told.stopping = told.checkpoints.stopped()
                return told.stopping

        return Callback()


def _fingerprint(estimator: Any, values: np.ndarray, target: np.ndarray) -> str:
    settings = {name: repr(value) for name, value in estimator.get_params().items()}
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    total.update(np.ascontiguousarray(values).data)
    total.update(np.ascontiguousarray(target).data)
    return total.hexdigest()[:16]
