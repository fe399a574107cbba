"""The sources of a configuration, indexed and divided into splits, and what is counted in them once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import attrs
import numpy as np

from lot import Split, cache_folder
from lot_tasks.stream.config import TextStreamConfig
from lot_tasks.stream.corpus import Tokens, divide, joined
from lot_tasks.stream.digests import combined, read_json, write_json
from lot_tasks.stream.encoders import Encoder
from lot_tasks.stream.index import Index, open_index
from lot_tasks.stream.progress import say
from lot_tasks.stream.sources import Source


@attrs.frozen(kw_only=True)
class Opened:
    """Tokens by source for training, of all sources for validation and test.

    names: of sources. origin: a digest of what they hold. key: of all that the splits are made from.
    """

    names: tuple[str, ...]
    training: tuple[Tokens, ...]
    held_out: dict[Split, Tokens]
    origin: str
    key: str


def open_all(sources: Sequence[Source], encoder: Encoder, config: TextStreamConfig) -> Opened:
    """The sources, indexed now where they never were. Raises BadInput."""
    indexed = [_indexed(source, encoder, config.max_documents) for source in sources]
    splits = divide(indexed, config.validation, config.test)
    keys = [[(index.key, split) for index, split in source] for source in indexed]
    held_out: tuple[Split, ...] = ("validation", "test")
    return Opened(
        names=tuple(source.name for source in sources),
        training=tuple(own["train"] for own in splits),
        held_out={split: joined([own[split] for own in splits]) for split in held_out},
        origin=combined([source.origin for source in sources], config.max_documents),
        key=combined(keys, config.validation, config.test),
    )


def _indexed(source: Source, encoder: Encoder, most: int | None) -> list[tuple[Index, Split | None]]:
    """The indexes of a source, of its first `most` documents where that is given."""
    found: list[tuple[Index, Split | None]] = []
    left: dict[Split | None, int] = {}
    empty = 0
    for part in source.parts:
        if most is not None and left.setdefault(part.split, most) <= 0:
            continue
        index = open_index(part, encoder, None if most is None else left[part.split])
        if most is not None:
            left[part.split] -= len(index.hashes) + index.empty
        empty += index.empty
        found.append((index, part.split))
    if empty:
        say(f"{source.name}: {empty:,} documents without text are left out")
    return found


def training_counts(opened: Opened, encoder: Encoder) -> np.ndarray:
    """Occurrences (encoder.size,) int64 of each number in training; counted once, and kept in the cache."""
    note = cache_folder() / "streams" / "counts" / f"{opened.key[:32]}.json"
    counts = np.zeros(encoder.size, dtype=np.int64)
    known = read_json(note)
    if isinstance(known, dict) and known.get("sum") == sum(map(len, opened.training)):
        numbers = np.array(known["numbers"], dtype=np.int64)
        counts[numbers] = known["counts"]
        return counts
    for tokens in opened.training:
        counts += tokens.counts(encoder.size)
    numbers = np.flatnonzero(counts)
    with contextlib.suppress(OSError):  # they are counted again next time
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, {"sum": int(counts.sum()), "numbers": numbers.tolist(), "counts": counts[numbers].tolist()})
    return counts
