"""Refuses a folder whose links lead out of it: one that comes from a stranger could make LOT read, cut or replace any file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lot.errors import BadInput, not_a_file


def refuse_what_leads_out(folder: Path) -> None:
    """Raises BadInput where `folder` holds a link to something outside of it, at any depth, or what is no file at all.

    Links inside (`best`, `last`) are fine, and so is a link that leads to `folder` itself: the user named it.
    """
    home = os.path.realpath(folder)
    for path in _odd_entries(home):
        if not path.is_symlink():
            what = not_a_file(path)
            raise BadInput(f"{_shown(path, folder, home)} is {what}, which no run writes", fix="remove it")
        target = os.path.realpath(path)
        if target != home and not target.startswith(home + os.sep):
            raise BadInput(
                f"{_shown(path, folder, home)} is a link to {target}, out of the directory",
                fix="put what it leads to in its place, or remove it",
            )


def _odd_entries(folder: str) -> Iterator[Path]:
    """What is neither a file nor a folder, at any depth."""
    folders = [folder]
    while folders:
        with (
            contextlib.suppress(OSError),
            os.scandir(folders.pop()) as entries,
        ):  # gone, or not ours: its reader says so
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    yield Path(entry.path)


def _shown(path: Path, folder: Path, home: str) -> Path:
    """The path as the user named its folder."""
    return folder / path.relative_to(home)
