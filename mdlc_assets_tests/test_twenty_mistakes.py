"""The twenty mistakes that a person new to it makes most likely, each made by the real command on real files.

What is said names the thing, what is wrong with it and what to do. docs/mistakes.md shows the very words.
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from mdlc_assets.cli import main
from mdlc_assets.definitions import embedded_resources
from mdlc_assets.home import Home
from mdlc_assets.resources.registry import Candidate

_PAGE = Path(__file__).parents[1] / "docs" / "mistakes.md"
_DAYS, _A_DAY = 30, 24


@dataclass
class Place:
    """A folder with `visits.csv` and the lifecycle made from it, as `mdlc new` left them; `rest` is undone."""

    root: Path
    rest: ExitStack = field(default_factory=ExitStack)
    said: dict[str, str] = field(default_factory=dict)
    """What differs from run to run, and how the page writes it."""

    def table(self, **columns: pl.Expr) -> None:
        """`visits.csv` with some columns otherwise, as `broken.csv`."""
        pl.read_csv(self.root / "visits.csv").with_columns(**columns).write_csv(self.root / "broken.csv")

    def declare(self, right: str, wrong: str) -> None:
        """The declaration with a piece otherwise, until the end."""
        path = self.root / "lifecycles" / "visits" / "defs.yaml"
        text = path.read_text()
        assert text.count(right) >= 1, right
        self.rest.callback(path.write_text, text)
        path.write_text(text.replace(right, wrong, 1))


def _rows() -> pl.DataFrame:
    start = datetime(2024, 3, 1)
    return pl.DataFrame(
        {
            "visit_id": i + 1,
            "at": (start + timedelta(hours=i)).strftime("%Y-%m-%d %H:%M:%S"),
            "shop": f"shop-{i % 11}",
            "spent": 20 + (i * 7 % 23) / 2,
            "returned": int(i % 5 == 0),
        }
        for i in range(_DAYS * _A_DAY)
    )


def _day_first(place: Place) -> None:
    place.table(at=pl.col("at").str.to_datetime().dt.strftime("%d/%m/%Y %H:%M"))


def _latin(place: Place) -> None:
    text = (place.root / "visits.csv").read_text().replace("shop-1,", "Café,")
    (place.root / "broken.csv").write_bytes(text.encode("latin-1"))


def _decimal_commas(place: Place) -> None:
    text = (place.root / "visits.csv").read_text().replace(",", ";").replace(".", ",")
    (place.root / "broken.csv").write_text(text)


def _half_with_zone(place: Place) -> None:
    place.table(at=pl.when(pl.col("visit_id") % 2 == 0).then(pl.col("at") + "+01:00").otherwise("at"))


def _ids_twice(place: Place) -> None:
    rows = pl.read_csv(place.root / "visits.csv")
    pl.concat([rows, rows.head(10)]).write_csv(place.root / "broken.csv")


def _copied(place: Place) -> None:
    first = place.root / "lifecycles" / "visits" / "defs.yaml"
    copy = place.root / "lifecycles" / "visits_2" / "defs.yaml"
    copy.parent.mkdir()
    copy.write_text(first.read_text())
    place.rest.callback(copy.parent.rmdir)
    place.rest.callback(copy.unlink)


def _other_name(place: Place) -> None:
    rows = pl.read_csv(place.root / "visits.csv").tail(_A_DAY)
    rows.rename({"spent": "spend"}).write_csv(place.root / "broken.csv")


def _no_file(place: Place) -> None:
    path = place.root / ".mdlc" / "landing" / "visits" / "transactions" / "2024-03-05.parquet"
    away = path.rename(place.root / "away")
    place.rest.callback(away.rename, path)


def _refused_version(place: Place) -> None:
    tags = {"mdlc.gate": "refused: auc_roc 0.512 is below 0.6"}
    candidate = Candidate("2024-03-30", "abc", {"model/model.json": b"{}"}, ["spent"], {}, tags)
    embedded_resources(Home())["registry"].register("visits", candidate)


def _taken(place: Place) -> None:
    taken = place.rest.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    port = taken.getsockname()[1]
    place.said |= {str(port): "3000", str(port + 1): "3001"}


def _declared(right: str, wrong: str) -> Callable[[Place], None]:
    return lambda place: place.declare(right, wrong)


@dataclass(frozen=True)
class Mistake:
    """What is done, in words and as a command; `make` brings it about. What has to be said, where, and the mend."""

    title: str
    command: str
    make: Callable[[Place], None]
    where: str
    what: str
    mend: str
    code: int = 1


_NEW = "mdlc new fresh --data broken.csv --yes"
_VALIDATE = "mdlc validate lifecycles/visits/defs.yaml"
_APPROVE = 'mdlc approve 1 --lifecycle visits --approver ann@example.com --reason "we need it"'

MISTAKES = (
    Mistake(
        "Dates with the day first",
        _NEW,
        _day_first,
        "at: ",
        "day and month cannot be told apart",
        "write the dates as 2024-12-31",
    ),
    Mistake(
        "A file that is not UTF-8", _NEW, _latin, "broken.csv: line 3", "this is not text in UTF-8", "save it as UTF-8"
    ),
    Mistake(
        "Decimal commas",
        _NEW,
        _decimal_commas,
        "column spent",
        "its numbers are written with a comma",
        "write them with a point",
    ),
    Mistake(
        "Times with a zone and times without",
        _NEW,
        _half_with_zone,
        "--time at",
        "360 of 720 instants say their zone, and the others do not",
        "name that of the others with --zone",
    ),
    Mistake(
        "Ids that are there twice",
        _NEW,
        _ids_twice,
        "--id visit_id",
        "10 of 730 rows have the id of an earlier row, the first is row 721",
        "take the rows out that are there twice",
    ),
    Mistake(
        "A field mistyped",
        _VALIDATE,
        _declared("train_days:", "train_day:"),
        "model.windows.train_day",
        "there is no such field",
        "write 'train_days'",
    ),
    Mistake(
        "A line not indented as its neighbours",
        _VALIDATE,
        _declared("  labels:", "   labels:"),
        "line 21",
        "this is not YAML",
        "indent it as deep as the fields beside it",
    ),
    Mistake(
        "A feature of a column that is not there",
        _VALIDATE,
        _declared("spent: spent", "spent: spend"),
        "features.rows.spent",
        "the dataset has no column spend",
        "write 'spent'",
    ),
    Mistake(
        "The label as a feature",
        _VALIDATE,
        _declared("spent: spent", "spent: spent * (1 - returned)"),
        "features.rows.spent",
        "'returned' is the label, which nobody knows yet",
        "leave it out, or look back on it in features.windows",
    ),
    Mistake(
        "A window without a unit that is known",
        _VALIDATE,
        _declared("[1d, 7d, 30d]", "[1 day, 7d]"),
        "features.windows.0.windows.0",
        "'1 day' is not a duration",
        "write a whole number and a unit: 90s, 15m, 1h, 7d or 2w",
    ),
    Mistake(
        "A rule with a name that is not there",
        _VALIDATE,
        _declared("score >= 0.5", "scores >= 0.5"),
        "decisions.rules.0.when",
        "there is no 'scores'",
        "write 'score'",
    ),
    Mistake(
        "A folder copied, and the name left as it was",
        "mdlc run visits history",
        _copied,
        "lifecycles/visits/defs.yaml and lifecycles/visits_2/defs.yaml: name",
        "both declare a lifecycle 'visits'",
        "give one of them another name",
    ),
    Mistake(
        "A lifecycle's name mistyped",
        "mdlc run vists history",
        lambda _: None,
        "Invalid value",
        "there is no lifecycle 'vists'",
        "write 'visits'",
        2,
    ),
    Mistake(
        "A file in which a column has another name",
        "mdlc land visits broken.csv --replace",
        _other_name,
        "broken.csv: spent",
        "column spent is missing (source files)",
        "that the column is now called spend",
    ),
    Mistake(
        "A day without a file",
        "mdlc run visits history --day 2024-03-05",
        _no_file,
        "visits__raw",
        "No file for 2024-03-05 in .mdlc/landing/visits/transactions",
        "with the day in its name (for instance 2024-03-05.parquet)",
    ),
    Mistake(
        "A day outside the dataset",
        "mdlc run visits history --day 2024-04-01",
        lambda _: None,
        "2024-04-01 to 2024-04-01",
        "visits has days from 2024-03-01 to 2024-03-30",
        "choose --first and --last among them, or change dataset.start or dataset.end",
    ),
    Mistake(
        "Training before there are days enough",
        "mdlc run visits train --day 2024-03-09",
        lambda _: None,
        "visits__training_set",
        "a model as of 2024-03-09 would learn from 2024-02-",
        "train as of 2024-03-",
    ),
    Mistake(
        "Approving what its gate refused",
        _APPROVE,
        _refused_version,
        "version 1 of visits",
        "has not passed its gate (refused: auc_roc 0.512 is below 0.6)",
        "train on more days or other features (model.windows, features)",
    ),
    Mistake(
        "Scoring before anything is approved",
        "mdlc run visits batch_inference --day 2024-03-02",
        lambda _: None,
        "visits__batch_predictions",
        "visits has no champion, and nothing serves that was not approved",
        "`mdlc run visits train` (the job visits_train) makes a version, `mdlc approve <version>",
    ),
    Mistake(
        "A port that is taken",
        "mdlc serve visits --port 3000",
        _taken,
        "--port 3000",
        "nothing can listen on 127.0.0.1:3000 (Address already in use)",
        "choose another, such as --port 3001",
    ),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a person began: `mdlc new visits` is done."""
    root = tmp_path_factory.mktemp("person")
    _rows().write_csv(root / "visits.csv")
    with pytest.MonkeyPatch.context() as patch:
        _go_to(root, patch)
        ran = _mdlc("mdlc new visits --data visits.csv --yes")
    assert ran.exit_code == 0, ran.output
    return root


@pytest.fixture
def place(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The same for every mistake: each is undone."""
    _go_to(root, monkeypatch)
    place = Place(root)
    with place.rest:
        yield place


def _go_to(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(root)
    for name in ("MDLC_HOME", "MDLC_LIFECYCLES"):
        patch.delenv(name, raising=False)


def _mdlc(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line)[1:])


def test_they_are_twenty() -> None:
    assert len({mistake.title for mistake in MISTAKES}) == len(MISTAKES) == 20


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.title for mistake in MISTAKES])
def test_each_is_said_with_where_what_and_mend(place: Place, mistake: Mistake) -> None:
    mistake.make(place)
    real = {shown: found for found, shown in place.said.items()}
    ran = _mdlc(" ".join(real.get(word, word) for word in mistake.command.split(" ")))
    assert ran.exit_code == mistake.code, ran.output
    assert ran.exception is None or isinstance(ran.exception, SystemExit), repr(ran.exception)
    assert "Traceback" not in ran.output
    said = ran.stderr.replace(f"{place.root}/", "")
    for found, shown in place.said.items():
        said = said.replace(found, shown)
    _, mend_named, mend = said.partition("Mend: ")
    assert mistake.where in said and mistake.what in said, said
    assert mend_named and mistake.mend in mend, said
    command, shown = _shown(mistake)
    assert command == mistake.command
    assert " ".join(shown.split()) in " ".join(said.split()), said
    assert all(part in " ".join(shown.split()) for part in (mistake.where, mistake.what, mistake.mend))


@pytest.mark.parametrize(("make", "mend"), [(_half_with_zone, "--zone UTC"), (_ids_twice, "--id -")])
def test_an_option_that_is_proposed_does_mend(place: Place, make: Callable[[Place], None], mend: str) -> None:
    make(place)
    ran = _mdlc(f"{_NEW} {mend} --into mended")
    assert ran.exit_code == 0, ran.output
    place.rest.callback(shutil.rmtree, place.root / "mended")
    place.rest.callback(shutil.rmtree, place.root / ".mdlc" / "landing" / "fresh")


def _shown(mistake: Mistake) -> tuple[str, str]:
    """The command and the words that the page shows of a mistake."""
    number = MISTAKES.index(mistake) + 1
    section = _PAGE.read_text().split(f"\n## {number}. {mistake.title}\n")[1].split("\n## ")[0]
    first, *others = [line.strip() for line in re.findall(r"^ {4}.*$", section, re.MULTILINE)]
    assert "**Why.**" in section and "**Mend.**" in section
    return first, " ".join(others)
