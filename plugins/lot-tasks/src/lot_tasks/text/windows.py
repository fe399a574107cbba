"""Windows of a long sequence of tokens: where they begin, in training and where every token is scored once."""

from __future__ import annotations

import numpy as np

from lot.random import numpy_generator, permutation


def training_starts(
    numbers: np.ndarray, tokens: int, seq_len: int, seed: int, *purpose: str | int, fixed: bool = False
) -> np.ndarray:
    """First tokens (N,) of training windows by their number in the endless walk through `tokens` tokens.

    Each pass cuts them into windows from another offset below `seq_len`, and takes every window once, in another order.
    fixed: whether every pass, of every seed, cuts them from the first token on.
    """
    # Offsets move a window by up to seq_len - 1 tokens, so that many are kept free at the end.
    windows = (tokens - seq_len) // seq_len
    passes, places = np.divmod(numbers, windows)
    starts = np.empty_like(numbers)
    for walk in np.unique(passes):
        now = passes == walk
        order = permutation(places[now], windows, seed, *purpose, "order", int(walk))
        offset = 0 if fixed else numpy_generator(seed, *purpose, "offset", int(walk)).integers(seq_len)
        starts[now] = order * seq_len + offset
    return starts


def held_out_windows(tokens: int, seq_len: int) -> int:
    """Number of windows in which every token but the first is a target exactly once."""
    return -(-(tokens - 1) // seq_len)


def held_out_starts(numbers: np.ndarray, tokens: int, seq_len: int) -> tuple[np.ndarray, np.ndarray]:
    """First tokens (N,) of those windows by number, and which targets (N, T) were scored in the window before.

    The last window begins early enough to be full.
    """
    wanted = numbers * seq_len
    starts = np.minimum(wanted, tokens - 1 - seq_len)
    return starts, np.arange(seq_len) < (wanted - starts)[:, None]
