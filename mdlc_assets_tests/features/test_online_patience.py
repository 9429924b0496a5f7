"""A busy online store: a decision gives it up at once, a filling waits for it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.features import online_assets
from mdlc_assets.features.online_filling import Filling, fill_store
from mdlc_assets.resources.lake import Lake
from mdlc_assets.resources.online_store import OnlineStore, StoreAwayError
from mdlc_assets.testing import sample_rows


def test_a_filling_waits_longer_than_a_decision(
    payments_fraud: LifecycleDeclaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, day = Lake(root=str(tmp_path / "lake")), payments_fraud.dataset.start
    store = OnlineStore(path=str(tmp_path / "store.db"), timeout=0.05)
    lake.table(payments_fraud.name, "validated").write_day(day, sample_rows(payments_fraud, day, 20))
    store.store_of_runs.write_note("another", {})  # the file is there
    with closing(sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreAwayError, match=r"within 0\.05 s"):
            store.store.write_note("another", {})

        def fill_busy(*asked: Any) -> Filling:
            # Free again only when a decision would long have given up.
            threading.Timer(0.5, busy.execute, ("ROLLBACK",)).start()
            return fill_store(*asked)

        monkeypatch.setattr(online_assets, "fill_store", fill_busy)
        assets = list(online_assets.online_definitions(payments_fraud).assets or [])
        ran = dg.materialize(
            assets,
            selection=[f"{payments_fraud.name}/online_features"],
            resources={"lake": lake, "online_store": store},
        )
    (made,) = ran.asset_materializations_for_node(f"{payments_fraud.name}__online_features")
    assert made.metadata["events brought in"].value == 20
