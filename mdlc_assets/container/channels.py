"""The rows in a channel: all files in its folder, Parquet or CSV, one table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from mdlc_assets.container.layout import InputError, Layout

_PARQUET = frozenset({"application/x-parquet", "application/vnd.apache.parquet", "application/parquet"})


def read_channel(layout: Layout, name: str, about: Mapping[str, str]) -> pl.DataFrame:
    """The rows of a channel; files in the order of their names. Raises `InputError`.

    CSV without a line of names has its label first, as SageMaker's own algorithms want it: the columns are
    then called `label`, `f0`, `f1` and so on; with `text/csv;label_size=0` there is no label.
    """
    if about.get("TrainingInputMode", "File") == "Pipe":
        raise InputError(f"channel {name}: input mode Pipe is not understood. Mend: use File or FastFile.")
    folder = layout.channel(name)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith((".", "_")))
    if not files:
        raise InputError(f"channel {name}: {folder} holds no files. Mend: check the channel's S3 address.")
    kind, _, options = about.get("ContentType", "").lower().replace(" ", "").partition(";")
    labelled = "label_size=0" not in options
    frames = [_read(path, kind, name, labelled) for path in files]
    for path, frame in zip(files, frames, strict=True):
        if frame.columns != frames[0].columns:
            raise InputError(
                f"channel {name}: {path.name} has the columns {', '.join(frame.columns[:8])}, {files[0].name} has "
                f"{', '.join(frames[0].columns[:8])}. Mend: write the same columns in the same order."
            )
    rows = pl.concat(frames, how="vertical_relaxed")
    if not rows.height:
        raise InputError(f"channel {name}: its files hold no rows. Mend: check what was written there.")
    return rows


def _read(path: Path, kind: str, channel: str, labelled: bool) -> pl.DataFrame:
    try:
        if kind in _PARQUET or (not kind and path.suffix == ".parquet"):
            return pl.read_parquet(path)
        if kind == "text/csv" or (not kind and path.suffix == ".csv"):
            return _read_csv(path, labelled)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"channel {channel}: {path.name} cannot be read ({reason}). Mend: write it again.") from None
    raise InputError(
        f"channel {channel}: content type {kind or f'of {path.name!r}'} is not understood. "
        "Mend: use application/x-parquet or text/csv."
    )


def _read_csv(path: Path, labelled: bool) -> pl.DataFrame:
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline().strip().split(",")
    if all(_is_number(cell) for cell in first):
        names = [*(["label"] if labelled else []), *(f"f{i}" for i in range(len(first) - labelled))]
        return pl.read_csv(path, has_header=False, new_columns=names, infer_schema_length=None)
    return pl.read_csv(path, infer_schema_length=None)


def _is_number(cell: str) -> bool:
    try:
        float(cell.strip(' "') or "nan")
    except ValueError:
        return False
    return True
