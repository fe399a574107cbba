"""The index of a part: its tokens, where documents end, and their digests, in files that are mapped into memory.

An index lies in the cache under a key of what it was made from. It is written beside its place, with a note of how far it has
come after every `_SAVED` bytes of text, and takes its place when it is whole: a process that is killed goes on from the last
note, and nothing that is torn is ever read. Every file has a checksum.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import filelock
import numpy as np

from lot import BadInput, cache_folder, file_digest
from lot_tasks.stream.digests import combined, read_json, write_json
from lot_tasks.stream.encoders import Encoder
from lot_tasks.stream.progress import Progress, say
from lot_tasks.stream.sources import Part, Place
from lot_tasks.stream.writer import FILES, Writer

FORMAT = 1  # a change of what an index holds must change it
_FACTS = "index.json"
_SAVED = 1 << 26  # bytes of text between two notes of how far an index has come
_BATCH = 1 << 21  # characters that are encoded at once


@attrs.frozen(kw_only=True)
class Index:
    """A finished index.

    tokens: (N,) numbers of all documents, each closed by the end of a document. ends: (D,) int64, where each document ends.
    hashes: (D,) uint64 of their contents. empty: documents without text, which were left out.
    """

    key: str
    title: str
    tokens: np.ndarray
    ends: np.ndarray
    hashes: np.ndarray
    empty: int


def open_index(part: Part, encoder: Encoder, most: int | None = None) -> Index:
    """The index of a part, or of its first `most` documents; made now where the cache lacks it. Raises BadInput."""
    key = combined(FORMAT, part.identity, encoder.identity, most)[:32]
    folder = cache_folder() / "streams" / key
    try:
        if (found := _read(folder, encoder)) is not None:
            return found
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{key}.lock"), part.title):
            if (found := _read(folder, encoder)) is not None:  # another process has made it
                return found
            _make(part, encoder, most, folder)
            made = _read(folder, encoder)
    except OSError as error:
        raise _unusable(part, folder, error) from error
    if made is None:
        raise BadInput(
            f"the index of {part.title} in {folder} was damaged right after it was written",
            fix="set LOT_CACHE to a folder on another disk",
        )
    return made


def _unusable(part: Part, folder: Path, error: OSError) -> BadInput:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return BadInput(
        f"the index of {part.title} cannot be kept in {folder.parent} ({error.strerror or error})",
        fix=(
            "make room there, or set LOT_CACHE to a folder that has some; what is done is kept, and the next run goes on with it"
            if full
            else "set LOT_CACHE to a folder that can be written and has room"
        ),
    )


@contextlib.contextmanager
def _locked(path: Path, title: str) -> Iterator[None]:
    """One process at a time makes an index; the others wait for it. A process that dies lets go."""
    lock = filelock.FileLock(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        say(f"waiting for another process, which indexes {title}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _read(folder: Path, encoder: Encoder) -> Index | None:
    """The index in a folder; None where there is none, or a damaged one."""
    facts = read_json(folder / _FACTS)
    try:
        if facts is None or facts["format"] != FORMAT or facts["dtype"] != encoder.dtype.str:
            return None
        if any(file_digest(folder / name) != facts["files"][name]["sha256"] for name in FILES):
            say(f"the index in {folder} is damaged and is made again")
            return None
        types = (encoder.dtype, np.dtype("<i8"), np.dtype("<u8"))
        tokens, ends, hashes = (_mapped(folder / name, kind) for name, kind in zip(FILES, types, strict=True))
        return Index(
            key=folder.name, title=facts["title"], tokens=tokens, ends=ends, hashes=hashes, empty=facts["empty"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _mapped(path: Path, kind: np.dtype[Any]) -> np.ndarray:
    if path.stat().st_size == 0:  # which cannot be mapped
        return np.empty(0, dtype=kind)
    return np.asarray(np.memmap(path, dtype=kind, mode="r"))


def _make(part: Part, encoder: Encoder, most: int | None, folder: Path) -> None:
    """Write the index of a part, going on from where another attempt stopped. Raises OSError, BadInput."""
    started = folder.with_name(f"{folder.name}.part")
    started.mkdir(exist_ok=True)
    with Writer(started, encoder) as writer, Progress(part.title, part.bytes if part.plain else None) as progress:
        if writer.read:
            say(f"going on after {writer.read / 1e6:,.1f} MB of text, which are indexed already")
        saved = writer.read
        for batch, ids in _encoded(_batches(part, writer.place, None if most is None else most - writer.seen), encoder):
            writer.add(batch.texts, ids, batch.ends, batch.place)
            progress.show(writer.read, writer.tokens)
            if writer.read - saved >= _SAVED and writer.complete:
                writer.save()
                saved = writer.read
        facts = writer.finish()
    write_json(started / _FACTS, {"format": FORMAT, "title": part.title, "dtype": encoder.dtype.str, **facts})
    shutil.rmtree(folder, ignore_errors=True)  # only a damaged one is there
    os.replace(started, folder)


class _Batch(NamedTuple):
    """Texts, whether a document ends with each, and the place after the last one."""

    texts: list[str]
    ends: list[bool]
    place: Place


def _batches(part: Part, start: Place, most: int | None) -> Iterator[_Batch]:
    """The documents of a part, or the next `most`, about `_BATCH` characters at once."""
    batch = _Batch([], [], start)
    size = 0
    if most is not None and most <= 0:
        return
    for number, piece in part.read(start):
        batch.texts.append(piece.text)
        batch.ends.append(piece.ends)
        batch = batch._replace(place=(number, piece.place))
        size += len(piece.text)
        if piece.ends and most is not None:
            most -= 1
        if size >= _BATCH or most == 0:
            yield batch
            if most == 0:
                return
            batch, size = _Batch([], [], batch.place), 0
    if batch.texts:
        yield batch


def _encoded(batches: Iterator[_Batch], encoder: Encoder) -> Iterator[tuple[_Batch, list[np.ndarray]]]:
    """Each batch with its numbers; while one is encoded, the next is read and the one before is written."""
    with ThreadPoolExecutor(1) as pool:
        waiting: tuple[_Batch, Future[list[np.ndarray]]] | None = None
        for batch in batches:
            coming = batch, pool.submit(encoder.encode, batch.texts)
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = coming
        if waiting is not None:
            yield waiting[0], waiting[1].result()
