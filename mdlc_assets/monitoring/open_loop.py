"""Open loop: are today's inputs and scores like those of healthy days? No labels are needed, and no Dagster.

    watch = Watch(declared, training)                # training: by day, the sketches of its columns
    document = watch.day(day, sketches(rows, names))
    document["alarm"], document["reasons"]

A large sample makes any difference significant, so a column is only marked when its distance exceeds what its
own reference days show by a declared size, and the chance of that on a quiet day survives Benjamini and Hochberg's
control (1995) of false discoveries over all columns. A marked column alarms when enough of three days agree; a
gross shift alarms at once. An alarm ends when the excess falls below half of what opens one.

There are two references. The recent healthy days show what changes suddenly. The days that the model learnt from
show what creeps; there the gross sizes count, since a little ageing is no news.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from mdlc_assets.declaration.monitoring import OpenLoop
from mdlc_assets.monitoring.drift import Compared, Shift, compare
from mdlc_assets.monitoring.sketch import Sketch

FEWEST_DAYS = 7
_MEMORY = 2
# A single day alarms alone only when chance is ten times less likely than a mark needs.
_ALONE = 0.1
_CLEARS_AT = 0.5

Sketches = Mapping[str, Sketch]


@dataclass(frozen=True)
class Reference:
    """Days to compare with: those the model learnt from, and recent healthy ones. Days may have other columns."""

    training: Mapping[date, Sketches]
    recent: Mapping[date, Sketches]


@dataclass
class Watch:
    """Watches day after day from memory, as the asset does from the lake."""

    declared: OpenLoop
    training: Mapping[date, Sketches]
    outputs: Collection[str] = ()
    documents: dict[date, dict[str, Any]] = field(default_factory=dict)
    _seen: dict[date, Sketches] = field(default_factory=dict)

    def day(self, day: date, today: Sketches, *, stopped: bool = False) -> dict[str, Any]:
        """The document of the day, which joins the healthy days unless it was marked or quality `stopped` it."""
        recent = healthy_days(self.declared, day, {**self.training, **self._seen}, self.documents)
        document = watch(
            self.declared, day, today, Reference(self.training, recent), self.documents, outputs=self.outputs
        )
        self.documents[day] = document
        if not stopped:
            self._seen[day] = today
        return document


def healthy_days(
    declared: OpenLoop,
    day: date,
    days: Mapping[date, Sketches],
    documents: Mapping[date, Mapping[str, Any]],
    stopped: Collection[date] = (),
) -> dict[date, Sketches]:
    """The newest of the days before `day` that were neither marked nor stopped."""
    calm = [
        when
        for when in sorted(days)
        if when < day and when not in stopped and not (when in documents and documents[when]["marked"])
    ]
    return {when: days[when] for when in calm[-declared.reference_days :]}


def watch(
    declared: OpenLoop,
    day: date,
    today: Sketches,
    reference: Reference,
    before: Mapping[date, Mapping[str, Any]],
    outputs: Collection[str] = (),
) -> dict[str, Any]:
    """The document of a day. `before` are documents of earlier days, of which the last two count; `outputs` says
    which columns are the model's own: scores and decisions."""
    from scipy.stats import false_discovery_control

    recent = _compare_all(day, today, reference.recent)
    training = _compare_all(day, today, reference.training)
    sizes = {"jensen_shannon": declared.alarm_distance, "wasserstein": declared.alarm_carried}
    gross = {"jensen_shannon": declared.gross_distance, "wasserstein": declared.gross_carried}
    tests: list[tuple[str, str, Shift, bool]] = [
        (name, kind, getattr(found, kind), sudden)
        for sudden, some in ((True, recent), (False, training))
        for name, found in some.items()
        for kind in sizes
    ]
    rate = declared.false_discovery_rate
    chances = false_discovery_control([shift.chance for _, _, shift, _ in tests]) if tests else []
    columns = {
        name: {**_figures(recent.get(name) or training[name]), "output": name in outputs, "strength": 0.0, "size": 0.0}
        for name in dict.fromkeys([*recent, *training])
    }
    alone: set[str] = set()
    for (name, kind, shift, sudden), chance in zip(tests, chances, strict=True):
        said = columns[name]
        # `size` is what is left of an alarm, `strength` what can open one.
        size = max(0.0, shift.excess / (sizes if sudden else gross)[kind])
        said["size"] = max(said["size"], size)
        if chance <= rate:
            said["strength"] = max(said["strength"], size)
        if sudden and chance <= rate * _ALONE and shift.excess >= gross[kind]:
            alone.add(name)
    for name, found in training.items():
        columns[name] |= {
            "training_distance": found.jensen_shannon.distance,
            "training_mean": found.reference_mean,
            "training_psi": found.psi,
        }
    for said in columns.values():
        said["marked"] = said["strength"] >= 1
    earlier = [before[when] for when in sorted(before) if day - timedelta(days=_MEMORY) <= when < day]
    alarmed = _alarmed(declared, columns, alone, earlier)
    marked = [name for name, said in columns.items() if said["marked"]]
    return {
        "alarm": bool(alarmed),
        "alarmed": alarmed,
        "gross": sorted(alone),
        "marked": marked,
        "outputs_alarmed": [name for name in alarmed if name in outputs],
        "since": _since(day, {*alarmed, *marked}, earlier),
        "reasons": [_words(name, columns[name]) for name in alarmed] or [_calm(reference, columns)],
        "columns": columns,
        "reference": {
            kind: [str(min(days)), str(max(days)), len(days)] if days else None
            for kind, days in (("training", reference.training), ("recent", reference.recent))
        },
    }


def _compare_all(day: date, today: Sketches, days: Mapping[date, Sketches]) -> dict[str, Compared]:
    found = {}
    for name, sketch in today.items():
        past = {when: one[name] for when, one in days.items() if name in one and when != day and one[name].rows}
        if len(past) >= FEWEST_DAYS and sketch.rows:
            found[name] = compare(day, sketch, past)
    return found


def _figures(found: Compared) -> dict[str, Any]:
    return {
        "distance": found.jensen_shannon.distance,
        "usual": found.jensen_shannon.usual,
        "carried": found.wasserstein.distance,
        "usual_carried": found.wasserstein.usual,
        "psi": found.psi,
        "mean": found.mean,
        "reference_mean": found.reference_mean,
        "shift": (found.mean - found.reference_mean) / found.deviation if found.deviation else 0.0,
        "missing": found.missing,
        "reference_missing": found.reference_missing,
        "unseen": found.unseen,
        "text": found.text,
    }


def _alarmed(
    declared: OpenLoop,
    columns: Mapping[str, Mapping[str, Any]],
    alone: Collection[str],
    earlier: list[Mapping[str, Any]],
) -> list[str]:
    """Columns in alarm, the strongest first."""
    last = earlier[-1]["alarmed"] if earlier else []
    found = []
    for name, said in columns.items():
        agreeing = 1 + sum(name in document["marked"] for document in earlier)
        opens = name in alone or (said["marked"] and agreeing >= declared.days_in_three)
        if opens or (name in last and said["size"] >= _CLEARS_AT):
            found.append(name)
    return sorted(found, key=lambda name: -columns[name]["size"])


def _since(day: date, names: Collection[str], earlier: list[Mapping[str, Any]]) -> dict[str, str]:
    """For each column the day on which it was first marked, a calm day between counting as nothing."""
    known: dict[str, str] = {}
    for document in earlier:
        known |= {name: known.get(name, when) for name, when in document.get("since", {}).items()}
    return {name: known.get(name, day.isoformat()) for name in sorted(names)}


def _words(name: str, said: Mapping[str, Any]) -> str:
    """Why a column is in alarm. Shares and means only: never a value that stands for a customer."""
    parts = []
    if not said["text"] and abs(said["shift"]) >= 0.01:
        parts.append(f"mean {said['mean']:.4g} against {said['reference_mean']:.4g}")
    if said["missing"] > said["reference_missing"] + 0.001:
        parts.append(f"{said['missing']:.1%} missing against {said['reference_missing']:.1%}")
    if said["unseen"] > 0.001:
        parts.append(f"{said['unseen']:.1%} with values never seen before")
    parts.append(f"distance {said['distance']:.2f} where {said['usual']:.2f} is usual")
    if said["carried"] - said["usual_carried"] >= 0.1:
        parts.append(f"values carried {said['carried']:.2f} deviations where {said['usual_carried']:.2f} is usual")
    return f"{name} moved: {', '.join(parts)}"


def _calm(reference: Reference, columns: Mapping[str, Any]) -> str:
    if columns:
        return "as on healthy days"
    days = max(len(reference.training), len(reference.recent))
    return f"{days} days to compare with, {FEWEST_DAYS} are needed"
