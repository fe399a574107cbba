"""The folder of a checkpoint: named by its step, sealed by a manifest, published by a rename, verified before use.

It stands below both ways of writing tensors (`checkpoint.py` whole, `shards.py` in parts), which share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lot.errors import BadInput
from lot.storage.files import fsync_file, fsync_folder, read_json, temporary_name, write_atomic

FORMAT = 1


MANIFEST = "MANIFEST.json"


FOLDER_NAME = re.compile(r"step_(\d{8,})\Z")


STATE = "state.json"


def folder_of(checkpoints: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies."""
    return checkpoints / f"step_{step:08d}"


def temporary_folder(final: Path) -> Path:
    """A fresh folder beside `final`, in which it is written before it is published."""
    made = temporary_name(final)
    made.mkdir()
    return made


@contextlib.contextmanager
def removed_on_failure(temporary: Path) -> Iterator[None]:
    """Remove `temporary` when the block fails."""
    try:
        yield
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sealed(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, all of which is on the disk when this returns. It gets the rights of its folder."""
    path.chmod(path.parent.stat().st_mode & 0o666)  # safetensors gives it fewer
    fsync_file(path)
    return digest_of(path)


def publish(temporary: Path, final: Path, document: dict[str, Any], files: dict[str, dict[str, Any]]) -> None:
    """Add state.json and the manifest to `temporary`, which holds exactly the sealed `files`, and rename it to `final`."""
    (temporary / STATE).write_text(json.dumps({"format": FORMAT, **document}, indent=1, allow_nan=False), "utf-8")
    manifest = {**files, STATE: sealed(temporary / STATE)}
    write_atomic(temporary / MANIFEST, json.dumps({"format": FORMAT, "files": manifest}, indent=1))
    if final.exists():
        set_aside(final)
    os.rename(temporary, final)
    fsync_folder(final.parent)


def problem_of(folder: Path) -> str | None:
    """What is wrong with the checkpoint in `folder`, or None: files, sizes and checksums against its manifest."""
    try:
        manifest = read_json(folder / MANIFEST)
        if manifest is None:
            return f"{MANIFEST} is missing"
        manifest = manifest["files"]
        present = {entry.name for entry in folder.iterdir()} - {MANIFEST}
        if present != set(manifest):
            odd = min(present ^ set(manifest))
            return f"{odd} is {'not in its manifest' if odd in present else 'missing'}"
        for name, recorded in manifest.items():
            size = (folder / name).stat().st_size
            if size != recorded["bytes"]:
                return f"{name} has {size} bytes instead of {recorded['bytes']}"
            if digest_of(folder / name) != recorded:
                return f"{name} does not match its checksum"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} cannot be read ({type(error).__name__})"
    return None


def is_sound(folder: Path) -> bool:
    """Whether a checkpoint is there and nothing is wrong with it."""
    return folder.exists() and problem_of(folder) is None


def saved_steps(checkpoints: Path) -> list[int]:
    """The steps that have a checkpoint, rising; not yet verified."""
    if not checkpoints.is_dir():
        return []
    matches = (FOLDER_NAME.match(entry.name) for entry in checkpoints.iterdir() if entry.is_dir())
    return sorted(int(match[1]) for match in matches if match)


def latest_sound(checkpoints: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest sound checkpoint, or None where there never was one; damaged ones are set aside with a warning.

    Raises BadInput when there are checkpoints and all are damaged.
    """
    found = saved_steps(checkpoints)
    for step in reversed(found):
        folder = folder_of(checkpoints, step)
        problem = problem_of(folder)
        if problem is None:
            return folder
        aside = set_aside(folder)
        warn(f"checkpoint {folder.name} is damaged ({problem}); set aside as {aside.name}, using the one before it")
    if found:
        raise BadInput(
            f"{checkpoints}: all {len(found)} checkpoints are damaged and were set aside",
            fix="restore one, or start the run anew in another directory",
        )
    return None


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint to `.damaged-*`, so that nothing uses it and nothing is lost."""
    number = 0
    while (aside := folder.with_name(f".damaged-{folder.name}-{number}")).exists():
        number += 1
    os.rename(folder, aside)
    return aside


def prune(checkpoints: Path, keep: int, best: int | None) -> None:
    """Remove all but the newest `keep` checkpoints and that of step `best`.

    Each is renamed first: a kill in the middle leaves a hidden folder, which the next start removes, and no half checkpoint.
    """
    for step in saved_steps(checkpoints)[:-keep]:
        if step != best:
            folder = folder_of(checkpoints, step)
            doomed = folder.with_name(f".{folder.name}.removed.tmp")
            shutil.rmtree(doomed, ignore_errors=True)
            os.rename(folder, doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def link_to(path: Path, target: Path) -> None:
    """Point the symbolic link `path` to `target`, for people; where links are not to be had, there is none."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target, path.parent))
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)


def digest_of(path: Path) -> dict[str, Any]:
    """Size in bytes and sha256 of a file, as a manifest has them."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
