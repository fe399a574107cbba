"""Which run is meant: the directory, the configuration recorded there, and whether the one that is given equals it."""

from __future__ import annotations

import os
from pathlib import Path

from lot.config.compare import differences, require_none
from lot.config.schema import Config
from lot.errors import BadInput
from lot.runs.directory import RunDir, find_run
from lot.storage.contained import refuse_what_leads_out

BELOW = 200
"""Bytes that are kept for the names below the directory of a run, such as those of a checkpoint that is being written."""
_ANOTHER = "choose another directory with --run-dir"


def choose_run(
    config: Config | None, run_dir: str | Path | None, name: str | None, resume: bool
) -> tuple[Path | None, Config]:
    """The directory that the caller means (None: a fresh version) and the configuration to run there; writes nothing.

    Raises BadInput where there is nothing to run or to resume, where the directory holds a run already and `resume` is
    off, and where the run there has another configuration.
    """
    path = _find(config, run_dir, name, resume)
    _refuse_long(_version(config, name) if path is None else path)
    if path is not None:
        _refuse_files(path)
        refuse_what_leads_out(path)
    recorded = RunDir(path).config() if path is not None and (path / "config.yaml").exists() else None
    if recorded is not None and config is not None:
        require_none(
            f"{path} was started with another configuration", differences(recorded.to_dict(), config.to_dict())
        )
    config = config if config is not None else recorded
    if config is None:
        raise BadInput(
            f"{path}: no run there to resume (no config.yaml)", fix="say what to run, or name another directory"
        )
    if path is not None and not resume and not RunDir(path).is_empty():
        if recorded is None:
            raise BadInput(f"{path}: holds other files, and no run", fix=_ANOTHER)
        raise BadInput(f"{path}: holds a run already", fix="add --resume to continue it, or choose another directory")
    return path, config


def _version(config: Config | None, name: str | None) -> Path:
    """The first version of a fresh run."""
    assert config is not None, "there is something to run"
    return Path("runs", name or config.title, "version_0")


def _refuse_files(path: Path) -> None:
    """Raise BadInput where a file is in the place of the directory, or of a folder above it."""
    there = _nearest(path)
    if there is not None and not there.is_dir():
        raise BadInput(f"{path}: cannot be written ({there} is no folder)", fix=_ANOTHER)


def _refuse_long(path: Path) -> None:
    """Raise BadInput where the file system takes no name as long as one in `path`, or has no room for the files below it."""
    try:
        full = Path(os.path.abspath(path))
    except FileNotFoundError:  # the current directory is gone, which the file system will say
        return
    there = _nearest(full)
    if there is None or not hasattr(os, "pathconf"):
        return
    name = max(full.parts, key=lambda part: len(os.fsencode(part)))
    for what, text, room in (("NAME", name, 0), ("PATH", str(full), BELOW + 1)):  # one byte ends a path
        size = len(os.fsencode(text))
        try:
            limit = os.pathconf(there, f"PC_{what}_MAX")
        except (OSError, ValueError):  # the system does not say
            continue
        if 0 < limit < size + room:
            raise BadInput(
                where="the directory of the run",
                expected=f"a {what.lower()} of at most {limit - room} bytes",
                got=f"{size}: {text[:40]}...",
                fix=_ANOTHER,
            )


def _nearest(path: Path) -> Path | None:
    """`path`, or the nearest folder above it, that is there."""
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), None)


def _find(config: Config | None, run_dir: str | Path | None, name: str | None, resume: bool) -> Path | None:
    if run_dir is not None:
        path = Path(run_dir)
        return find_run(path) if resume and not RunDir(path).is_empty() else path
    if not resume:
        if config is None:
            raise BadInput("nothing to run", fix="give a configuration")
        return None
    if name is None and config is None:
        raise BadInput("nothing to resume", fix="name the run's directory with --run-dir")
    return find_run(Path("runs") / (name or config.title))  # type: ignore[union-attr]
