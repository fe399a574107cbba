"""The runs of a study by name: rows of a table, links to their folders, and the pictures of one run of each arm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from lot.errors import BadInput
from lot.storage.files import make_folder
from lot.storage.folder import link_to
from lot_cli.recorded.facts import read_run
from lot_cli.recorded.gallery import Warn, recorded_pictures
from lot_cli.study.result import Result, RunRow

BY_NAME = "by-name"
"""Folder of links, such as `lattice-seed3`, to the runs, whose own folders are named by what they are made of."""
TITLES = ("run", "state", "tested at step", "folder")


def rows(result: Result) -> Iterator[tuple[str, ...]]:
    """Name, state, step of the weights that were tested, and folder of each run."""
    for run in result.runs:
        tested = "" if run.best_step is None else f"{run.best_step:,} of {run.steps or 0:,}"
        yield (run.name, run.state, tested, f"runs/{run.key}")


def address(run: RunRow) -> str:
    """The folder of a run as a link in a page beside the folder `runs`; whatever its key is, it leads below that."""
    return f"runs/{quote(run.key, safe='')}/"


def link_runs(result: Result, folder: Path) -> None:
    """Make a link by name to every run of the study in `folder` that is there. Raises OSError."""
    links = make_folder(folder, BY_NAME)
    for run in result.runs:
        path = _path(run, folder)
        if path is not None and Path(run.name).name == run.name:
            link_to(links / run.name, path)


def pictures(result: Result, folder: Path, warn: Warn) -> Mapping[str, tuple[str, str]]:
    """Arm -> name of its first complete run, and its pictures as HTML; an arm without pictures is left out.

    warn: told what cannot be read or drawn. Imports torch where a run has something to draw.
    """
    found = {}
    for arm in result.arms:
        run = next((run for run in result.runs if run.arm == arm and run.state == "complete"), None)
        path = None if run is None else _path(run, folder)
        if run is None or path is None:
            continue
        try:
            drawn = "".join(recorded_pictures(read_run(path), warn, films=False))
        except BadInput as error:
            warn(str(error).partition(";")[0])
            continue
        if drawn:
            found[arm] = (run.name, drawn)
    return found


def _path(run: RunRow, folder: Path) -> Path | None:
    """The directory of a run, if it is there; a key that is no plain name names none."""
    path = folder / "runs" / run.key
    return path if path.name == run.key and path.is_dir() else None
