"""Small files that a run keeps in a folder with checksums, so that it can be used without the files that it began with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lot.errors import BadInput
from lot.storage.files import read_json, write_json
from lot.storage.folder import MANIFEST, digest_of, removed_on_failure, sealed, temporary_folder

FORMAT = 1
OF_TASK, OF_MODEL = "assets", "model"
"""Folders of a run: what it keeps of the files of its task, and of those that its model was made from."""


def save_assets(run: Path, assets: Mapping[str, bytes], name: str = OF_TASK) -> None:
    """Write `assets` to the folder `name` of a run, whole or not at all; nothing where there are none. Raises OSError."""
    final = run / name
    shutil.rmtree(final, ignore_errors=True)  # of a start that was killed before its first checkpoint
    if not assets:
        return
    temporary = temporary_folder(final)
    with removed_on_failure(temporary):
        for file, content in assets.items():
            (temporary / file).write_bytes(content)
        manifest = {file: sealed(temporary / file) for file in assets}
        write_json(temporary / MANIFEST, {"format": FORMAT, "files": manifest})
        temporary.chmod(0o755)
        temporary.rename(final)


def read_assets(run: Path, name: str = OF_TASK) -> dict[str, bytes]:
    """The assets in the folder `name` of a run by file name; empty where there are none. Raises BadInput for a damaged file."""
    folder = run / name
    if not os.path.lexists(folder):
        return {}
    if not folder.is_dir():
        raise _damaged(folder, "it is no folder")
    try:
        manifest = read_json(folder / MANIFEST)
        recorded: dict[str, Any] = dict(manifest["files"])
        plain = manifest["format"] == FORMAT and all(Path(file).name == file for file in recorded)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder / MANIFEST, type(error).__name__) from None
    if not plain:
        raise _damaged(folder / MANIFEST, f"not of format {FORMAT}")
    found = {}
    for file, expected in recorded.items():
        try:
            if (folder / file).is_symlink() or digest_of(folder / file) != expected:
                raise _damaged(folder / file, "its checksum is not that of the manifest")
            found[file] = (folder / file).read_bytes()
        except OSError as error:
            raise _damaged(folder / file, error.strerror or "it cannot be read") from None
    return found


def _damaged(path: Path, why: str) -> BadInput:
    return BadInput(f"{path}: damaged ({why})", fix="restore it from a copy of the run")
