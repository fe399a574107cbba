"""How long a training step of one configuration takes against that of another, measured in interleaved blocks of several
processes, one after the other.

In each process the configurations take turns, there and back (A B C C B A), so that a machine that becomes slower or faster
meets all of them alike. Each process gives one ratio. The interval is over processes, since a step may be a few percent faster
or slower in one of them for as long as it lives: Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013.
"""

from __future__ import annotations

import contextlib
import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from lot.errors import BadInput, Diverged, RunFailed, first_line
from lot_cli.bench.process import ask_new_process
from lot_cli.bench.spread import over_processes
from lot_cli.terminal.crash import place_in_plugin

BLOCK_SECONDS = 0.2
"""A block of steps lasts at least this long, so that reading the clock costs nothing."""
WARM_UP = 3
"""Steps of each configuration that are not timed; forms that are compiled are compiled in them."""
ROUNDS_EACH = 2
"""Rounds of one process: more of them would tell nothing of other processes."""
LEAST_PROCESSES = 3
"""So many are measured at least: their spread is what the interval is made of."""

Pair = tuple[str, str]
"""Names of two configurations; a ratio is the time of a step of the first divided by that of the second."""
Make = Callable[[int], None]


@attrs.frozen(kw_only=True)
class Ratio:
    """The time of a training step of one configuration divided by that of another one."""

    value: float  # geometric mean over processes
    low: float  # lower end of its 95 % interval
    high: float  # upper end of it


def processes_for(rounds: int) -> int:
    """In how many processes so many rounds are made."""
    return max(LEAST_PROCESSES, math.ceil(rounds / ROUNDS_EACH))


def calibrate(
    configs: Mapping[str, Mapping[str, Any]],
    pairs: Sequence[Pair],
    rounds: int,
    threads: int,
    device: str,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> dict[Pair, Ratio]:
    """The ratio of each pair. configs: name -> configuration, as `Config.to_dict` gives it. rounds: at least 1.

    threads: CPU threads of torch. told: called with the number of processes that are done, and of all.
    Raises BadInput where a configuration cannot be trained, and RunFailed where its code fails.
    """
    question = {"configs": configs, "threads": threads, "device": device}
    processes, taken = processes_for(rounds), []
    for done in range(processes):
        told(done, processes)
        taken.append(ask_new_process(__name__, question, threads))
    told(processes, processes)
    return ratios(taken, pairs)


def answer(question: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of a step of each configuration, measured in this process. question: what `calibrate` asks.

    Raises BadInput where a configuration cannot be trained, and RunFailed where its code fails.
    """
    import torch

    from lot.config.load import load_config
    from lot.training.steps import training_steps

    torch.set_num_threads(question["threads"])
    with contextlib.ExitStack() as stack:
        makers: dict[str, Make] = {}
        for name, config in question["configs"].items():
            with _of_arm(name):
                makers[name] = stack.enter_context(training_steps(load_config(config), question["device"])).make
        return in_turns(makers, ROUNDS_EACH)


def in_turns(makers: Mapping[str, Make], rounds: int) -> dict[str, float]:
    """Seconds of a step of each. makers: name -> what makes a number of steps, and waits until they are made."""
    sizes = {name: max(1, math.ceil(BLOCK_SECONDS / _warmed_up(name, make))) for name, make in makers.items()}
    taken = dict.fromkeys(makers, 0.0)
    with _without_collector():
        for name in [*makers, *reversed(list(makers))] * rounds:
            taken[name] += _seconds(name, makers[name], sizes[name])
    return {name: total / (2 * rounds * sizes[name]) for name, total in taken.items()}


def ratios(taken: Sequence[Mapping[str, float]], pairs: Sequence[Pair]) -> dict[Pair, Ratio]:
    """The ratio of each pair. taken: of each process, the seconds of a step of each configuration."""
    found = {}
    for first, second in pairs:
        value, low, high = over_processes([process[first] / process[second] for process in taken])
        found[first, second] = Ratio(value=value, low=low, high=high)
    return found


def _warmed_up(name: str, make: Make) -> float:
    """Seconds of a step, after those that only warm up."""
    _seconds(name, make, WARM_UP)
    return min(_seconds(name, make, 1) for _ in range(3))


def _seconds(name: str, make: Make, steps: int) -> float:
    began = time.perf_counter()
    with _of_arm(name):
        make(steps)
    return max(time.perf_counter() - began, 1e-9)


@contextlib.contextmanager
def _of_arm(name: str) -> Iterator[None]:
    """Name the arm in what goes wrong with it."""
    where = f"arms.{name}"
    try:
        yield
    except BadInput as error:
        raise error.under(where) from None
    except Diverged as error:
        what = f"it diverges while its steps are timed ({str(error).partition(';')[0]})"
        raise BadInput(what, where=where, fix="lower its optim.lr") from None
    except Exception as error:
        what = f"{type(error).__name__}: {first_line(error)}{place_in_plugin(error)}"
        raise RunFailed(f"{where}: its steps cannot be timed: {what}; lot --debug shows the traceback") from error


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
