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
from lot_tasks.stream.sources import Source
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
    places: dict[str, Any] = {}
    for known in kept.sources:
        if known.absolute is None or known.name not in config.sources or _is_there(known.name):
            continue
        if not _is_there(known.absolute):
            size = "" if known.bytes is None else f", {known.bytes:,} bytes"
            raise BadInput(
                f"what the run was trained on is not here: {known.absolute} ({known.files} files{size}, digest {known.origin})",
                where="path" if config.path is not None else f"mixture.{known.name}",
                fix="bring it back, or name it with --data PATH",
            )
        places[known.name] = known.absolute
    if config.path is not None:
        return attrs.evolve(config, path=places.get(config.path, config.path))
    if config.mixture:
        return attrs.evolve(config, mixture={places.get(name, name): share for name, share in config.mixture.items()})
    return config


def _is_there(name: str) -> bool:
    path = Path(name).expanduser()
    return path.exists() or bool(glob.glob(str(path), recursive=True))
