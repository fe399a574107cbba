"""Measures a candidate against a baseline, in pairs, and judges a claim by the ratios.

A benchmark is a Python file that defines `cases() -> Iterable[Case]`; `lot bench FILE` runs it, in several processes one after
the other. Absolute times drift with the machine's load; ratios of calls made side by side do not, so a ratio is all that is
claimed. The interval is that over processes, or, of one process alone, that over its pairs.
"""

from __future__ import annotations

import gc
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from lot.errors import BadInput
from lot_cli.bench.spread import over_processes

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
Pair = tuple[float, float]
"""Seconds, or bytes, of the candidate and of its baseline."""
MIN_SAMPLE = 0.02
"""Seconds that one sample lasts at least: short calls are repeated until they do."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison of two callables, and what is claimed of it.

    A case claims a speedup, a cost, or neither. In place of two callables it may have one
    that measures a pair by itself: where one is a part of the other, or where the CPU time of processes counts.
    """

    name: str
    candidate: Callable[[], Any] | None = None
    baseline: Callable[[], Any] | None = None
    pair: Callable[[], Pair] | None = None
    baseline_name: str
    what: Literal["time", "memory"] = "time"  # seconds, or the peak bytes that one call allocates
    speedup: float | None = None  # claim: the baseline takes at least this many times what the candidate takes
    cost: float | None = None  # claim: the candidate takes at most this many times what the baseline takes
    device: str = "cpu"  # where the callables work; "cuda" waits for the GPU
    clock: Literal["wall", "cpu"] = (
        "wall"  # cpu: seconds of this process on the CPUs, which other programs disturb less
    )
    note: str = ""  # what a reader must know

    def __post_init__(self) -> None:
        given = [side is not None for side in (self.candidate, self.baseline, self.pair)]
        if given not in ([True, True, False], [False, False, True]):
            raise ValueError(f"case {self.name}: expected a candidate and a baseline, or a pair")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The outcome of a case: medians, the ratio with its 95 % interval, and the verdict on the claim.

    ratio: baseline / candidate where a speedup is claimed, else candidate / baseline; the median over pairs of a process, and
    the geometric mean of that over processes.
    verdict: `holds` or `fails` where the whole interval lies on one side of the claim,
    `open` where it reaches across.
    decided: whether the interval is narrower than the difference that the claim (or the ratio)
    is about.
    """

    name: str
    what: str
    baseline_name: str
    candidate: float
    baseline: float
    ratio: float
    low: float
    high: float
    pairs: int
    claim: str
    verdict: Literal["holds", "fails", "open"] | None
    decided: bool
    note: str = ""
    processes: int = 1
    samples: list[list[Pair]] = field(default_factory=list, repr=False)  # the pairs of each process


def measure(case: Case, *, seconds: float = 20.0, max_pairs: int = 101, min_pairs: int = 11) -> list[Pair]:
    """Pairs of `case`, measured in this process for about `seconds`, but at least `min_pairs` of them.

    The order within a pair is random. Raises BadInput for a pair that has no ratio.
    """
    if case.what == "memory":  # the same each time
        if case.pair is not None:
            return [_sound(case, case.pair())]
        assert case.candidate is not None
        assert case.baseline is not None
        pair = (peak_bytes(case.candidate, case.device), peak_bytes(case.baseline, case.device))
        return [(float(max(pair[0], 1)), float(max(pair[1], 1)))]
    take = _pairs(case)
    samples: list[Pair] = []
    began = time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        while len(samples) < max_pairs:
            samples.append(_sound(case, take()))
            if len(samples) >= min_pairs and time.perf_counter() - began > seconds:
                break
    finally:
        gc.enable()
    return samples


def _sound(case: Case, pair: Any) -> Pair:
    """The pair as two numbers."""
    try:
        candidate, baseline = map(float, pair)
    except (TypeError, ValueError):
        candidate = baseline = math.nan
    if not (0 < candidate < math.inf and 0 < baseline < math.inf):
        expected = "two finite numbers above 0, of the candidate and of its baseline"
        raise BadInput(where=f"case {case.name}", expected=expected, got=repr(pair))
    return candidate, baseline


def _pairs(case: Case) -> Callable[[], Pair]:
    """A function that measures one pair: seconds of the candidate, and of its baseline."""
    if case.pair is not None:
        return case.pair
    assert case.candidate is not None
    assert case.baseline is not None
    runs, rng = (case.candidate, case.baseline), random.Random(0)
    repeats = [_repeats(run, case.device) for run in runs]

    def pair() -> Pair:
        taken = [0.0, 0.0]
        for side in (0, 1) if rng.random() < 0.5 else (1, 0):
            taken[side] = _seconds(runs[side], repeats[side], case.device, CLOCKS[case.clock])
        return taken[0], taken[1]

    return pair


def _seconds(
    run: Callable[[], Any], repeats: int, device: str, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Mean seconds per call, over `repeats` calls."""
    _wait(device)
    began = clock()
    for _ in range(repeats):
        run()
    _wait(device)
    return (clock() - began) / repeats


def _repeats(run: Callable[[], Any], device: str) -> int:
    """Calls per sample, found after warming up."""
    _seconds(run, 1, device)
    once = min(_seconds(run, 1, device), _seconds(run, 1, device))
    return max(1, math.ceil(MIN_SAMPLE / max(once, 1e-9)))


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def judge(case: Case, samples: list[list[Pair]]) -> Measured:
    """What the pairs of one or more processes say. samples: those of each process, one or more."""
    faster = case.speedup is not None
    ratios = [sorted(b / a if faster else a / b for a, b in process) for process in samples]
    pairs = [pair for process in samples for pair in process]
    if len(ratios) > 1:
        ratio, low, high = over_processes([statistics.median(process) for process in ratios])
    else:
        ratio = statistics.median(ratios[0])
        low, high = (ratio, ratio) if len(pairs) == 1 else median_interval(ratios[0])
    bound = case.speedup if faster else case.cost
    difference = abs((bound if bound is not None else ratio) - 1.0)
    return Measured(
        name=case.name,
        what=case.what,
        baseline_name=case.baseline_name,
        candidate=statistics.median(a for a, _ in pairs),
        baseline=statistics.median(b for _, b in pairs),
        ratio=ratio,
        low=low,
        high=high,
        pairs=len(pairs),
        processes=len(samples),
        claim="" if bound is None else (f">= {bound:g}x faster" if faster else f"<= {bound:g}x"),
        verdict=None if bound is None else _verdict(low, high, bound, faster),
        decided=(high - low) / 2 <= max(difference, abs(ratio - 1.0)),
        note=case.note,
        samples=samples,
    )


def _verdict(low: float, high: float, bound: float, faster: bool) -> Literal["holds", "fails", "open"]:
    """What an interval says of the claim that the ratio is at least (`faster`) or at most `bound`."""
    worst, best = (low, high) if faster else (-high, -low)
    limit = bound if faster else -bound
    return "holds" if worst >= limit else "fails" if best < limit else "open"


def median_interval(ordered: list[float]) -> tuple[float, float]:
    """A 95 % confidence interval of the median of `ordered` values,
    from the binomial distribution of ranks."""
    n = len(ordered)
    below = 0.0
    rank = 0
    for k in range(n // 2):
        below += math.comb(n, k) / 2**n
        if below > 0.025:
            break
        rank = k + 1
    return (ordered[0], ordered[-1]) if rank == 0 else (ordered[rank - 1], ordered[n - rank])


def peak_bytes(run: Callable[[], Any], device: str = "cpu") -> int:
    """The most bytes that the tensors of one call of `run` hold at a time,
    beyond those that were there before it."""
    import torch

    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # its start and stop messages would reach the user
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        kept = run()
    del kept
    held = peak = 0
    for change in _allocations(trace):
        held += change
        peak = max(peak, held)
    return peak


def _allocations(trace: Any) -> Iterator[int]:
    """Bytes allocated (positive) and freed (negative) on the CPU, in the order of time."""
    events = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        yield event.nbytes()


VERDICTS = {"holds": "holds", "fails": "DOES NOT HOLD", "open": "open, the interval reaches across it"}
