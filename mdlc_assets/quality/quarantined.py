"""Days that too many rows in quarantine stopped: they end before their report is made, so the tables tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

from mdlc_assets.declaration import LifecycleDeclaration
from mdlc_assets.quality.history import STOPPED_DAYS_REMEMBERED, DayFacts, History
from mdlc_assets.quality.metrics import REFUSED, ROWS, as_mapping, refused_by_rule, shown_reasons
from mdlc_assets.quality.volume import QUARANTINED_SHARE, judge_quarantined
from mdlc_assets.resources.lake import Lake


def is_stopped_by_quarantine(
    lifecycle: LifecycleDeclaration, lake: Lake, day: date, report: Mapping[str, Any] | None
) -> bool:
    """Whether the rows that a day has now stopped it. A report counts only if it was made from these same rows: what
    passed once may have been sent again, and broken."""
    metrics = lake.table(*lifecycle.place("daily_metrics"))
    if not metrics.has(day):
        return False
    said = as_mapping(metrics.read_day(day))
    share = said.get(("", REFUSED, ""), 0.0)
    if share <= lifecycle.quality.max_quarantined:
        return False
    if report is None or report.get("rows") != said.get(("", ROWS, "")):
        return True
    quarantined = report["quarantined"]
    return abs(quarantined / max(1, report["rows"] + quarantined) - share) > 1e-9


def report_from_quarantine(lifecycle: LifecycleDeclaration, lake: Lake, day: date) -> dict[str, Any]:
    """What a quality report says of such a day, with the one rule that was judged."""
    quarantine = lake.table(*lifecycle.place("quarantine")).read_day(day, ["rule", "reason"])
    rows = lake.table(*lifecycle.place("validated")).read_day(day, [lifecycle.dataset.id]).height
    said = judge_quarantined(
        lifecycle.quality.max_quarantined,
        rows,
        refused_by_rule(quarantine),
        day,
        much_refused_before(lifecycle, lake, day),
        shown_reasons(lifecycle, quarantine),
    )
    return {
        "day": day.isoformat(),
        "passed": said.passed,
        "rows": rows,
        "quarantined": quarantine.height,
        "columns": {},
        "hours": [],
        "rules": [asdict(said)],
    }


def much_refused_before(lifecycle: LifecycleDeclaration, lake: Lake, day: date) -> History:
    """The days just before `day` that had too much in quarantine; the report knows them not, it was blocked."""
    validated, quarantine = (lake.table(*lifecycle.place(name)) for name in ("validated", "quarantine"))
    history = History()
    for back in range(1, STOPPED_DAYS_REMEMBERED + 1):
        earlier = day - timedelta(days=back)
        if not (validated.has(earlier) and quarantine.has(earlier)):
            break
        rows = validated.read_day(earlier, [lifecycle.dataset.id]).height
        refused = quarantine.read_day(earlier, ["rule"]).height
        if refused <= lifecycle.quality.max_quarantined * (rows + refused):
            break
        history.days[earlier] = DayFacts(False, rows, [], refused, frozenset({QUARANTINED_SHARE}))
    return history
