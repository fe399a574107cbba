"""How long a training step of one configuration takes against that of another, measured in interleaved blocks of one job.

The configurations take turns, there and back (A B C C B A), so that a machine that becomes slower or faster meets all of
them alike; each round gives one ratio, whose median is free of what disturbs single rounds.
"""

from __future__ import annotations

import contextlib
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from lot.errors import BadInput, Diverged
from lot_cli.bench.harness import median_interval

BLOCK_SECONDS = 0.2
"""A block of steps lasts at least this long, so that reading the clock costs nothing."""
WARM_UP = 3
"""Steps of each configuration that are not timed; forms that are compiled are compiled in them."""

Pair = tuple[str, str]
"""Names of two configurations; a ratio is the time of a step of the first divided by that of the second."""
Make = Callable[[int], None]


@attrs.frozen(kw_only=True)
class Ratio:
    """The time of a training step of one configuration divided by that of another one."""

    value: float  # median over the rounds
    low: float  # lower end of the 95 % interval of the median
    high: float  # upper end of it
    seconds: float  # that a step of the second one took, median over the rounds


def calibrate(
    configs: Mapping[str, Mapping[str, Any]], pairs: Sequence[Pair], rounds: int, threads: int, device: str
) -> dict[Pair, Ratio]:
    """The ratio of each pair. configs: name -> configuration, as `Config.to_dict` gives it.

    threads: CPU threads of torch. Raises BadInput where a configuration cannot be trained.
    """
    import torch

    from lot.config.load import load_config
    from lot.training.steps import training_steps

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with contextlib.ExitStack() as stack:
            makers: dict[str, Make] = {}
            for name, config in configs.items():
                try:
                    makers[name] = stack.enter_context(training_steps(load_config(config), device)).make
                except BadInput as error:
                    raise error.under(f"arms.{name}") from None
            return ratios(makers, pairs, rounds)
    finally:
        torch.set_num_threads(before)


def ratios(makers: Mapping[str, Make], pairs: Sequence[Pair], rounds: int) -> dict[Pair, Ratio]:
    """The ratio of each pair. makers: name -> what makes a number of steps, and waits until they are made."""
    sizes = {name: max(1, math.ceil(BLOCK_SECONDS / _warmed_up(name, make))) for name, make in makers.items()}
    order = [*makers, *reversed(list(makers))]
    taken: dict[str, list[float]] = {name: [] for name in makers}  # seconds per step, one value per round
    with _without_collector():
        for _ in range(rounds):
            seconds = dict.fromkeys(makers, 0.0)
            for name in order:
                seconds[name] += _seconds(name, makers[name], sizes[name])
            for name, total in seconds.items():
                taken[name].append(total / 2 / sizes[name])
    found = {}
    for first, second in pairs:
        each = sorted(a / b for a, b in zip(taken[first], taken[second], strict=True))
        low, high = median_interval(each)
        found[first, second] = Ratio(
            value=statistics.median(each), low=low, high=high, seconds=statistics.median(taken[second])
        )
    return found


def _warmed_up(name: str, make: Make) -> float:
    """Seconds of a step, after those that only warm up."""
    _seconds(name, make, WARM_UP)
    return min(_seconds(name, make, 1) for _ in range(3))


def _seconds(name: str, make: Make, steps: int) -> float:
    began = time.perf_counter()
    try:
        make(steps)
    except Diverged as error:
        raise BadInput(
            f"it diverges while its steps are timed ({str(error).partition(';')[0]})",
            where=f"arms.{name}",
            fix="lower its optim.lr",
        ) from None
    return max(time.perf_counter() - began, 1e-9)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
