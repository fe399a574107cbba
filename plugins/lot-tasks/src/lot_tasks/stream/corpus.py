"""Documents of several indexes, divided into splits: each is one long sequence of tokens, of which windows are taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lot import Split
from lot_tasks.stream.index import Index
from lot_tasks.text.source import SPLITS

_AT_ONCE = 1 << 24  # tokens that are counted at once


class Tokens:
    """Documents one after another as one sequence, which is nowhere copied: stretches of mapped files.

    stretches: for each, the file that it is in, its first token there, and its length.
    """

    def __init__(self, files: Sequence[np.ndarray], stretches: np.ndarray) -> None:
        self.files, self.stretches = files, stretches  # (R, 3) int64
        self.edges = np.concatenate([[0], np.cumsum(stretches[:, 2])])  # (R + 1,)

    def __len__(self) -> int:
        return int(self.edges[-1])

    def take(self, starts: np.ndarray, length: int) -> np.ndarray:
        """The windows (N, length) int64 that begin at `starts` (N,)."""
        out = np.empty((len(starts), length), dtype=np.int64)
        found = np.searchsorted(self.edges, starts, side="right") - 1
        for row, (start, stretch) in enumerate(zip(starts.tolist(), found.tolist(), strict=True)):
            done = 0
            while done < length:
                file, first, size = self.stretches[stretch].tolist()
                skipped = start + done - int(self.edges[stretch])
                count = min(length - done, size - skipped)
                at = first + skipped
                out[row, done : done + count] = self.files[file][at : at + count]
                done += count
                stretch += 1
        return out

    def counts(self, size: int) -> np.ndarray:
        """Occurrences (size,) int64 of each number."""
        total = np.zeros(size, dtype=np.int64)
        waiting: list[np.ndarray] = []
        length = 0
        for file, first, count in self.stretches.tolist():
            for at in range(first, first + count, _AT_ONCE):
                waiting.append(self.files[file][at : min(at + _AT_ONCE, first + count)])
                length += len(waiting[-1])
                if length >= _AT_ONCE:
                    total += np.bincount(np.concatenate(waiting), minlength=size)
                    waiting, length = [], 0
        if waiting:
            total += np.bincount(np.concatenate(waiting), minlength=size)
        return total


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Several sequences as one, in order."""
    files = [file for part in parts for file in part.files]
    shift = np.cumsum([0, *(len(part.files) for part in parts)])
    moved = [part.stretches + np.array([moved, 0, 0]) for part, moved in zip(parts, shift, strict=False)]
    return Tokens(files, np.concatenate(moved) if moved else np.empty((0, 3), dtype=np.int64))


def divide(
    sources: Sequence[Sequence[tuple[Index, Split | None]]], validation: float, test: float
) -> list[dict[Split, Tokens]]:
    """The splits of each source: of its indexes, in order, each perhaps of one split already.

    The content of any other document decides: equal documents are in the same split, whatever source they come from. No
    document of one split is in another: what a given split holds is left out of the splits that are trained on before it is
    asked for.
    """
    own = [[_splits_of(index, split, validation, test) for index, split in source] for source in sources]
    if any(split is not None for source in sources for _, split in source):
        _keep_apart(
            [index.hashes for source in sources for index, _ in source], [of for source in own for of in source]
        )
    return [
        {split: _chosen([index for index, _ in source], [of == at for of in splits]) for at, split in enumerate(SPLITS)}
        for source, splits in zip(sources, own, strict=True)
    ]


def _splits_of(index: Index, split: Split | None, validation: float, test: float) -> np.ndarray:
    """The split (D,) int8 of each document, by its place in `SPLITS`."""
    if split is not None:
        return np.full(len(index.hashes), SPLITS.index(split), dtype=np.int8)
    low = np.asarray(index.hashes) < np.uint64(int((validation + test) * 2**64))
    lowest = np.asarray(index.hashes) < np.uint64(int(test * 2**64))
    return low.astype(np.int8) + lowest


def _keep_apart(hashes: Sequence[np.ndarray], splits: Sequence[np.ndarray]) -> None:
    """Take documents out of training that validation or test hold, and out of validation that test holds."""
    for held in (2, 1):
        known = np.unique(np.concatenate([these[of == held] for these, of in zip(hashes, splits, strict=True)]))
        for these, of in zip(hashes, splits, strict=True):
            of[(of < held) & (of >= 0) & np.isin(these, known)] = -1


def _chosen(indexes: Sequence[Index], chosen: Sequence[np.ndarray]) -> Tokens:
    """The chosen documents as a sequence; neighbors become one stretch."""
    stretches = [np.empty((0, 3), dtype=np.int64)]
    for file, (index, mask) in enumerate(zip(indexes, chosen, strict=True)):
        edge = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
        first, behind = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)  # documents
        ends = np.concatenate([[0], index.ends])
        start, stop = ends[first], ends[behind]
        stretches.append(np.stack([np.full_like(start, file), start, stop - start], axis=1))
    return Tokens([index.tokens for index in indexes], np.concatenate(stretches))
