"""Where passports are kept: by key in the user's cache folder, and by arm in the folder of the study.

What is damaged there is made anew. Imports no torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from lot.errors import BadInput
from lot.options.validate import structure, unstructure
from lot.storage.cache import cache_folder
from lot.storage.files import read_json, write_json
from lot_cli.study.design.passport import Behavior, Part, Passport
from lot_cli.study.design.plan import digest

FILE = "passport.json"
"""The passports in the folder of a study."""
FORMAT = 1
"""Of passport.json: a number that grows when a key goes or changes its meaning."""
Kept = TypeVar("Kept", Part, Behavior)


class Store:
    """Parts and behaviors by key.

    folder: that of a study, whose passport.json is read too, so that a study that was copied from another machine need
    not be checked again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = cache_folder() / "passports"
        passports = (read_passports(folder) or {}).values()
        self._near: dict[str, Part | Behavior] = {part.key: part for passport in passports for part in passport.parts}
        self._near.update({p.behavior.key: p.behavior for p in passports if p.behavior is not None})

    def get(self, kind: type[Kept], key: str) -> Kept | None:
        """What is kept under `key`, or None where nothing sound is."""
        near = self._near.get(key)
        if isinstance(near, kind):
            return near
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, BadInput):
            entry = read_json(self.folder / f"{key}.json")
            if entry is not None and digest(entry["content"]) == entry["digest"]:
                found: Kept = structure(kind, entry["content"], "")
                return found if found.key == key else None
        return None

    def put(self, kept: Part | Behavior) -> None:
        """Keep it. Where the cache folder cannot be written, it is made again another time."""
        self._near[kept.key] = kept
        content = unstructure(kept)
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / f"{kept.key}.json", {"digest": digest(content), "content": content})


def save_passports(passports: Mapping[str, Passport], folder: Path) -> None:
    """Replace passport.json in the folder of a study by these, by arm."""
    write_json(folder / FILE, {"format": FORMAT, "arms": {arm: unstructure(p) for arm, p in passports.items()}})


def read_passports(folder: Path) -> dict[str, Passport] | None:
    """The passports by arm in the folder of a study, or None where there is no sound file of them."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError, BadInput):
        content: Any = read_json(folder / FILE)
        if content is not None and content["format"] == FORMAT:
            return {arm: structure(Passport, table, f"arms.{arm}") for arm, table in content["arms"].items()}
    return None
