"""`mdlc backup` and `mdlc restore`: the state of a home kept elsewhere, and brought back."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from mdlc_assets.commands.answer import answer, for_scripts


@click.command()
@click.argument("place")
@for_scripts
def backup(place: str, as_json: bool) -> None:
    """Copy the home folder to PLACE: a folder, or s3://bucket/prefix.

    Lake, registry, audit trail, Dagster's state, reports; the home may be in use. A second backup to the same place
    sends only what has changed.
    """
    from mdlc_assets.home import Home
    from mdlc_assets.operations.backup import back_up
    from mdlc_assets.production import in_production

    if in_production(os.environ):
        raise click.ClickException(
            "MDLC_LAKE or its like is set: the state is not in the home. "
            "Mend: see docs/backup.md on versioned buckets and snapshots of databases."
        )
    made = back_up(Home(), place)
    words = f"Backup {made.name}: {made.files} files, {made.size / 1e6:.1f} MB, of which {made.sent / 1e6:.1f} sent."
    answer(as_json, asdict(made), words)


@click.command()
@click.argument("place")
@click.option("--backup", "name", default="", help="Which one [default: the newest].")
@for_scripts
def restore(place: str, name: str, as_json: bool) -> None:
    """Bring a backup from PLACE back into the home, which must be empty."""
    from mdlc_assets.home import Home
    from mdlc_assets.operations.backup import restore as bring_back

    home = Home()
    found = bring_back(home, place, name)
    words = f"{home.root} is as in backup {found.name}: {found.files} files, {found.size / 1e6:.1f} MB."
    answer(as_json, {"home": home.root, **asdict(found)}, words)
