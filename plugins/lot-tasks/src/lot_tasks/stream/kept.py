"""What a run keeps of a stream: how documents become tokens, how often each occurs, and which documents; never their text."""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from lot import BadInput
from lot_tasks.stream.config import CORPUS, HUB, TextStreamConfig
from lot_tasks.stream.encoders import Ended
from lot_tasks.stream.sources import Source, open_sources
from lot_tasks.text.kept import pack_tokenizer, unpack_tokenizer

FORMAT = 1
_FACTS = "task.json"
_PATHS = 64
"""Of so many files of a source the paths are kept, for people."""


@attrs.frozen(kw_only=True)
class Known:
    """A source as it was: what the options said, absolute paths of files, their number and bytes, and its digest."""

    name: str
    absolute: str | None
    paths: tuple[str, ...]
    files: int
    bytes: int | None
    origin: str

    @classmethod
    def of(cls, source: Source) -> Known:
        """A source that is there."""
        is_path = not source.name.startswith((CORPUS, HUB))
        paths = source.paths
        return cls(
            name=source.name,
            absolute=str(Path(source.name).expanduser().absolute()) if is_path else None,
            paths=tuple(paths[:_PATHS]),
            files=len(paths),
            bytes=source.bytes,
            origin=source.origin,
        )


@attrs.frozen(kw_only=True)
class Kept:
    """What `pack` was given. counts: (V,) int64 of the training split. origin: a digest of all sources."""

    kind: str
    tokenizer: Ended
    counts: np.ndarray
    origin: str
    sources: tuple[Known, ...]


def pack(kept: Kept) -> dict[str, bytes]:
    """Files by name, from which `unpack` makes the same again."""
    facts, files = pack_tokenizer(kept.tokenizer.inner)
    told = {
        "format": FORMAT,
        "kind": kept.kind,
        "end": kept.tokenizer.end,
        "counts": kept.counts.tolist(),
        "origin": kept.origin,
        "sources": [attrs.asdict(known) for known in kept.sources],
        "tokenizer": facts,
    }
    return {_FACTS: json.dumps(told).encode(), **files}


def unpack(files: Mapping[str, bytes]) -> Kept:
    """What was packed. Raises BadInput for what never was."""
    try:
        told = json.loads(files[_FACTS])
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']!r}")
        kept = Kept(
            kind=told["kind"],
            tokenizer=Ended(unpack_tokenizer(told["tokenizer"], files), told["end"]),
            counts=np.array(told["counts"], dtype=np.int64),
            origin=told["origin"],
            sources=tuple(Known(**{**known, "paths": tuple(known["paths"])}) for known in told["sources"]),
        )
        if kept.counts.shape != (len(kept.tokenizer.vocabulary),):
            raise ValueError("as many counts as tokens were expected")
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadInput(f"{_FACTS}: not what a text task keeps ({type(error).__name__}: {error})") from None
    return kept


def found_again(config: TextStreamConfig, kept: Kept) -> TextStreamConfig:
    """The options, with absolute paths for what is not where they say. Raises BadInput where it is nowhere."""
    elsewhere = [known for known in _from_files(config, kept) if not _is_there(known.name)]
    missing = [known for known in elsewhere if not _is_there(known.absolute)]
    if missing:
        raise BadInput(
            f"what the run was trained on is not here: {'; '.join(_described(known, kept) for known in missing)}",
            where="path" if config.path is not None else f"mixture.{missing[0].name}",
            fix="bring it back, or name it with --data PATH"
            if config.path is not None
            else f"bring it back, or name with --data FOLDER where it lies under its name ({Path(missing[0].name).name})",
        )
    return _placed(config, {known.name: str(known.absolute) for known in elsewhere})


def found_in(folder: Path, config: TextStreamConfig, kept: Kept) -> TextStreamConfig | None:
    """The options with the sources of a mixture that are not where they were, as they lie in `folder` under their old names.

    None where none is missing, and where `folder` has none of them: it is then other data. Raises BadInput where it lacks one,
    or has another one under its name.
    """
    missing = [k for k in _from_files(config, kept) if not (_is_there(k.name) or _is_there(k.absolute))]
    found = {known: place for known in missing if (place := _below(folder, known.absolute)) is not None}
    if config.mixture is None or not found:
        return None
    if lacking := [known for known in missing if known not in found]:
        raise BadInput(where="--data", expected=f"a folder with {Path(lacking[0].name).name} too", got=str(folder))
    placed = _placed(config, {known.name: place for known, place in found.items()})
    origins = {source.name: source.origin for source in open_sources(placed)}
    for known, place in found.items():
        if origins[place] != known.origin:
            raise BadInput(
                where="--data",
                expected=f"{known.name} of the training, digest {known.origin}",
                got=f"{place}, digest {origins[place]}",
            )
    return placed


def recorded(config: TextStreamConfig, kept: Kept) -> dict[str, dict[str, Any]]:
    """What each source was, by the option that names it: absolute path, number of files, bytes and digest."""
    return {
        "path" if config.path is not None else f"mixture.{known.name}": {
            "path": known.absolute,
            "files": known.files,
            "bytes": known.bytes,
            "digest": _digest(known, kept),
        }
        for known in _from_files(config, kept)
    }


def _from_files(config: TextStreamConfig, kept: Kept) -> list[Known]:
    return [known for known in kept.sources if known.absolute is not None and known.name in config.sources]


def _digest(known: Known, kept: Kept) -> str:
    """That by which a source is known again: of one alone it is that of all the data."""
    return kept.origin if len(kept.sources) == 1 else known.origin


def _described(known: Known, kept: Kept) -> str:
    size = "" if known.bytes is None else f", {known.bytes:,} bytes"
    files = "1 file" if known.files == 1 else f"{known.files} files"
    return f"{known.absolute} ({files}{size}, digest {_digest(known, kept)})"


def _placed(config: TextStreamConfig, places: Mapping[str, str]) -> TextStreamConfig:
    """The options with other paths, by the name of the source."""
    if config.path is not None:
        return attrs.evolve(config, path=places.get(config.path, config.path))
    if config.mixture:
        return attrs.evolve(config, mixture={places.get(name, name): share for name, share in config.mixture.items()})
    return config


def _below(folder: Path, absolute: str | None) -> str | None:
    """As much of the end of a path as there is below `folder`."""
    parts = Path(absolute or "").parts[1:]
    ends = (str(folder.joinpath(*parts[start:])) for start in range(len(parts)))
    return next((end for end in ends if _is_there(end)), None)


def _is_there(name: str | None) -> bool:
    if name is None:
        return False
    path = Path(name).expanduser()
    return path.exists() or bool(glob.glob(str(path), recursive=True))
