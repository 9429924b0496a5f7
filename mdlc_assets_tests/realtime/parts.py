"""A small real service: a model on the shipped features, a registry on SQLite, features out of memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.declaration.model import Gate, Model, Windows
from mdlc_assets.features.events import EventFeatures
from mdlc_assets.realtime.decider import Decider
from mdlc_assets.realtime.event_reader import EventReader
from mdlc_assets.realtime.meters import Meters
from mdlc_assets.realtime.recorder import Recorder
from mdlc_assets.realtime.request_log import RequestLog
from mdlc_assets.realtime.service import ServiceState, create_service
from mdlc_assets.realtime.serving import Changeover
from mdlc_assets.resources.registry import Candidate, Registry, Version
from mdlc_assets.training.algorithms import FittedModel, fit

START = datetime(2018, 6, 1, tzinfo=UTC)


def fit_model(lifecycle: LifecycleDeclaration, seed: int = 0, algorithm: str = "xgboost") -> FittedModel:
    """A model on all features whose score rises with the amount; another seed gives other scores."""
    generator = np.random.default_rng(seed)
    names = lifecycle.features.names()
    rows = pl.DataFrame({name: generator.exponential(50, size=600) for name in names})
    label = pl.Series("label", rows["amount"].to_numpy() + generator.normal(size=600) > 100).cast(pl.Int8)
    settings: dict[str, Any] = {"n_estimators": 20, "max_depth": 3} if algorithm == "xgboost" else {}
    recipe = Model(
        algorithm=algorithm,
        hyperparameters=settings,
        windows=Windows(train_days=1, gap_days=0, test_days=1),
        entity="customer_id",
        gate=Gate(floors={}),
    )
    return fit(recipe, rows.with_columns(label), names, "label")


def new_registry(root: Path) -> Registry:
    """An empty registry below a folder."""
    return Registry(tracking_uri=f"sqlite:///{root}/mlflow.db", artifact_root=str(root / "artifacts"))


def register(registry: Registry, lifecycle: LifecycleDeclaration, seed: int) -> Version:
    """A version that nobody approved."""
    model = fit_model(lifecycle, seed)
    files = {f"model/{name}": content for name, content in model.files().items()}
    day = (START + timedelta(days=seed)).date().isoformat()
    from mdlc_assets.resources.registry import files_digest

    tags = {"mdlc.files": files_digest(files)}
    return registry.register(lifecycle.name, Candidate(day, model.digest(), files, model.features, {}, tags))


def approve(registry: Registry, lifecycle: LifecycleDeclaration, version: Version) -> None:
    """Make a version the champion."""
    registry.record(lifecycle.name, "approve", version, "ann", "good")
    registry.point(lifecycle.name, "champion", version)


class MemoryFeatures:
    """Features from events that were given at the start."""

    def __init__(self, lifecycle: LifecycleDeclaration, events: pl.DataFrame | None = None) -> None:
        self.lifecycle, self.events = lifecycle, events

    def features_of(self, event: Mapping[str, Any]) -> np.ndarray:
        engine = EventFeatures(self.lifecycle)
        if self.events is not None:
            engine.fill(self.events.with_columns(pl.lit(0, pl.Int8).alias(self.lifecycle.labels.column)))
        frame = pl.DataFrame([event]).with_columns(pl.lit(None, pl.Int64).alias("account_age_days"))
        return engine.features(frame).select(self.lifecycle.features.names()).to_numpy()[0]


class PlainFeatures:
    """No windows: the amount, and zeros. Quick, and may be told to be away or slow."""

    def __init__(self, lifecycle: LifecycleDeclaration) -> None:
        self.names = lifecycle.features.names()
        self.away = False

    def features_of(self, event: Mapping[str, Any]) -> np.ndarray:
        if self.away:
            raise ConnectionError("the store is away")
        found = np.zeros(len(self.names))
        found[self.names.index("amount")] = event["amount"]
        return found


def an_event(number: int = 1, amount: float = 12.5, **more: Any) -> dict[str, Any]:
    """An event as a caller sends it."""
    at = (START + timedelta(minutes=number)).isoformat()
    return {
        "transaction_id": number,
        "event_time": at,
        "customer_id": number % 7,
        "terminal_id": number % 5,
        "amount": amount,
    } | more


def new_state(lifecycle: LifecycleDeclaration, registry: Registry, source: Any = None, **more: Any) -> ServiceState:
    """A service's state, its model looked for once."""
    changeover = Changeover(registry, lifecycle)
    changeover.look()
    more = {"at_hand": True} | more
    meters = Meters()
    record = Recorder(lifecycle, meters, more.pop("capture", None), more.pop("outbox", None))
    decider = Decider(lifecycle, source or PlainFeatures(lifecycle), lambda: changeover.serving, record, **more)
    return ServiceState(lifecycle, EventReader(lifecycle), decider, changeover, meters, RequestLog(None))


def caller(state: ServiceState, **settings: Any) -> httpx.AsyncClient:
    """A client inside the process."""
    transport = httpx.ASGITransport(create_service(state, **settings))
    return httpx.AsyncClient(transport=transport, base_url="http://service")
