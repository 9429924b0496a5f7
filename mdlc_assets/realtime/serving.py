"""What decides at the moment: a model that was approved and the rules beside it, exchanged as one.

A changeover loads, checks and warms up the new version in a thread, then exchanges one reference: requests under
way finish with what they began with. What cannot be used is refused, and what served stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mdlc_assets.declaration import DeclarationError, LifecycleDeclaration
from mdlc_assets.deployment.approved import UnapprovedError, approved_champion
from mdlc_assets.deployment.scoring import import_xgboost_alone, in_one_thread
from mdlc_assets.integration.rules import RuleSet
from mdlc_assets.realtime.reasons import Contributions
from mdlc_assets.resources.registry import Registry, Version, files_digest
from mdlc_assets.training.algorithms import ModelFileError, load_model

_LOG = logging.getLogger("mdlc.decisions")
_WARM_UPS = 3


class RefusedError(RuntimeError):
    """A version or declaration that must not decide."""


@dataclass(frozen=True)
class ServedModel:
    """An approved model, in this process or behind an endpoint, whose answers name the version that gave them.
    `columns` are the places of its features among the lifecycle's."""

    version: int
    features: list[str]
    columns: np.ndarray
    score: Callable[[np.ndarray], np.ndarray]
    contributions: Contributions | None = None
    ask: Callable[[np.ndarray], tuple[np.ndarray, int]] | None = None


@dataclass(frozen=True)
class Serving:
    """Model (None before the first approval), rules, and the versions that an answer names."""

    model: ServedModel | None
    rules: RuleSet
    without_score: RuleSet
    without_features: RuleSet
    versions: dict[str, Any] = field(default_factory=dict)


def served_model(registry: Registry, lifecycle: LifecycleDeclaration, version: Version) -> ServedModel:
    """A registered version, its files checked against their digest, proved on a row. Raises `RefusedError`."""
    files = registry.files(version)
    registered = version.tags.get("mdlc.files")
    if registered and files_digest({f"model/{name}": content for name, content in files.items()}) != registered:
        raise RefusedError(f"version {version.version}: its files are not those that were registered")
    try:
        if "model.ubj" in files:
            import_xgboost_alone()
        model = in_one_thread(load_model(files))
        names = lifecycle.features.names()
        if strange := [name for name in model.features if name not in names]:
            raise RefusedError(f"version {version.version} needs {strange[0]}, which is not declared any more")
        contributions = Contributions(model)
        row = np.zeros((1, len(model.features)))
        for _ in range(_WARM_UPS):
            score = model.score_array(row)
            if contributions.known:
                contributions.of(row)
    except RefusedError:
        raise
    except (ModelFileError, ValueError, ArithmeticError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split("Stack trace")[0].split())[:300]
        raise RefusedError(f"version {version.version} cannot be loaded: {reason}") from None
    if not (score.shape == (1,) and 0 <= score[0] <= 1):
        raise RefusedError(f"version {version.version} gives no score from 0 to 1")
    columns = np.array([names.index(name) for name in model.features])
    parts = contributions if contributions.known else None
    return ServedModel(version.version, model.features, columns, model.score_array, parts)


def serving(lifecycle: LifecycleDeclaration, model: ServedModel | None) -> Serving:
    """A model and the declared rules, with the rules that are left when score or features are not there."""
    rules, otherwise = RuleSet(lifecycle.decisions), lifecycle.deployment.service.fallback.decide
    versions = {
        "model": model.version if model else None,
        "rules": lifecycle.fingerprint("decisions"),
        "declaration": lifecycle.fingerprint(),
        "features": lifecycle.fingerprint("dataset", "labels", "features"),
    }
    return Serving(
        model,
        rules,
        rules.without({"score"}, otherwise),
        rules.without({"score", *lifecycle.features.names()}, otherwise),
        versions,
    )


class Changeover:
    """Looks for a newly approved version, and for changed rules, and exchanges `serving` when there is one."""

    def __init__(
        self,
        registry: Registry,
        lifecycle: LifecycleDeclaration,
        read: Callable[[], LifecycleDeclaration] | None = None,
        load: Callable[[Registry, LifecycleDeclaration, Version], ServedModel] = served_model,
    ) -> None:
        self.registry, self.lifecycle, self.read, self.load = registry, lifecycle, read, load
        self.serving = serving(lifecycle, None)
        self.error = ""
        self._refused: tuple[int, str] | None = None

    def look(self) -> bool:
        """Whether something was exchanged. What must not decide is named in `error`, and nothing changes."""
        try:
            changed = self._look()
        except (RefusedError, UnapprovedError, DeclarationError) as error:
            self._failed(str(error))
            return False
        except Exception as error:
            # The registry is away, say: what serves goes on.
            self._failed(f"the registry cannot be asked ({type(error).__name__})")
            return False
        self.error = ""
        return changed

    def _look(self) -> bool:
        declared = self._declared()
        version = approved_champion(self.registry, self.lifecycle.name)
        model = self.serving.model
        if model is None or model.version != version.version:
            if self._refused and self._refused[0] == version.version:
                raise RefusedError(self._refused[1])
            try:
                model = self.load(self.registry, declared, version)
            except RefusedError as error:
                self._refused = (version.version, str(error))
                raise
            self._refused = None
        elif declared.decisions == self.serving.rules.declared:
            return False
        exchanged = serving(declared, model)
        self._record(declared, version, exchanged)
        self.lifecycle, self.serving = declared, exchanged
        _LOG.info("version %s decides with rules %s", version.version, exchanged.versions["rules"])
        return True

    def _declared(self) -> LifecycleDeclaration:
        """The declaration as it now is; only its rules may change under a running service."""
        if self.read is None:
            return self.lifecycle
        now, kept = self.read(), ("dataset", "labels", "features", "quality")
        if now.fingerprint(*kept) != self.lifecycle.fingerprint(*kept):
            raise RefusedError("dataset, labels, features or row rules are declared anew. Mend: start the service anew")
        return now

    def _record(self, declared: LifecycleDeclaration, version: Version, exchanged: Serving) -> None:
        """Put rules that come into service on the audit trail, once, and note them on the version."""
        name, rules = declared.name, exchanged.versions["rules"]
        entries = [e for e in self.registry.audit(name) if e["action"] == "rules"]
        before = entries[-1] if entries else {"rules": None, "version": None}
        if (before["rules"], before["version"]) == (rules, version.version):
            return
        self.registry.record(
            name,
            "rules",
            version,
            "decision service",
            f"rules {rules} decide with version {version.version}",
            rules=rules,
            rules_before=before["rules"],
            declared=declared.decisions.model_dump(mode="json"),
        )
        self.registry.tag(name, version, {"mdlc.rules": rules})

    def _failed(self, text: str) -> None:
        if text != self.error:
            _LOG.error("%s; %s", text, "what served stays" if self.serving.model else "nothing serves yet")
        self.error = text

    async def watch(self) -> None:
        """Look again and again, in a thread, until cancelled."""
        while True:
            await asyncio.sleep(self.lifecycle.deployment.service.look_for_model.total_seconds())
            with contextlib.suppress(RuntimeError):
                await asyncio.to_thread(self.look)
