"""What a run keeps of the files that its model is made from: saved at its start, read by what needs the model alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs

from lot.config.kept import KeptFiles
from lot.config.schema import Chosen, Config
from lot.errors import BadInput
from lot.options.declare import text_options
from lot.options.validate import unstructure
from lot.storage.assets import OF_MODEL, read_assets, save_assets

_FILE = "options.json"


def kept_files(model: Chosen, origin: str | None) -> KeptFiles | None:
    """What is to be kept of the files of a model, whose digest is `origin`; None where it has none."""
    if model.kept is not None and model.kept.origin is not None:
        return model.kept
    if not hasattr(model.used, "without_files"):
        return None
    given, alone = unstructure(model.used), unstructure(model.used.without_files())
    changed = {name: value for name, value in alone.items() if value != given[name]}
    if not changed:
        return None
    places = {name: place for name in text_options(type(model.used)) if (place := _place(given[name])) is not None}
    return KeptFiles(name=model.name, options=changed, places=places, origin=origin)


def save_model(run: Path, kept: KeptFiles | None) -> None:
    """Write it to the folder of a run, whole or not at all. Raises OSError."""
    content = {} if kept is None else {_FILE: json.dumps(attrs.asdict(kept), indent=1).encode()}
    save_assets(run, content, OF_MODEL)


def read_model(run: Path) -> KeptFiles | None:
    """What a run has kept; None where there is nothing. Raises BadInput where it is damaged."""
    content = read_assets(run, OF_MODEL).get(_FILE)
    if content is None:
        return None
    try:
        kept = KeptFiles(**json.loads(content))
        tables = isinstance(kept.options, dict) and isinstance(kept.places, dict)
        if not (tables and isinstance(kept.name, str) and isinstance(kept.origin, str | None)):
            raise TypeError("another table was expected")
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(
            f"{run / OF_MODEL / _FILE}: damaged ({type(error).__name__})", fix="restore it from a copy of the run"
        ) from None
    return kept


def from_files(config: Config, kept: KeptFiles) -> Config:
    """The configuration whose model is made from its files: where its options say, else where they were.

    Raises BadInput where they are at neither place.
    """
    given = attrs.evolve(config, model=attrs.evolve(config.model, kept=None))
    try:
        given.model.sizes()
    except BadInput:
        where = attrs.evolve(kept, options=kept.places, origin=None)
        given = attrs.evolve(config, model=attrs.evolve(config.model, kept=where))
        try:
            given.model.sizes()
        except BadInput:
            raise _gone(kept) from None
    return given


def _gone(kept: KeptFiles) -> BadInput:
    where = ", ".join(kept.places.values()) or "the place that its options name"
    return BadInput(
        f"what the model {kept.name} is made from is not here: {where} (digest {kept.origin})",
        where=f"model.{next(iter(kept.places), 'name')}",
        fix="bring it back",
    )


def _place(value: Any) -> str | None:
    """The absolute path of the file or folder that an option names; None where it names none."""
    try:
        path = Path(value).expanduser() if isinstance(value, str) else None
        return str(path.absolute()) if path is not None and path.exists() else None
    except (ValueError, RuntimeError, OSError):  # a NUL in it, a home that is not known, a name that is too long
        return None
