"""The cases of a benchmark file, and their pairs, measured in this process or in new ones."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from lot.errors import BadInput, LotError, RunFailed, first_line, place_of
from lot_cli.bench.harness import Case, Measured, Pair, judge, measure
from lot_cli.bench.process import ask_new_process

LEAST_PAIRS = 11
"""Pairs of a case, at least, over all processes."""


@attrs.frozen(kw_only=True)
class Chosen:
    """Cases of one file: those that `only` and `device` choose, and how each process measures them."""

    file: str  # absolute, since a benchmark may change the directory
    only: str | None = None  # a part of the name
    device: str | None = None  # cpu or cuda; None: both
    seconds: float  # per case and process
    least: int = LEAST_PAIRS  # pairs per case and process
    memory: bool = True  # whether cases about memory, which give the same each time, are measured too

    def chooses(self, case: Case) -> bool:
        """Whether the case is one of those."""
        return (self.only or "") in case.name and self.device in (None, case.device)


def cases_of(file: Path) -> list[Case]:
    """All cases of a benchmark file. Raises BadInput where it is none, and RunFailed where it fails."""
    if not file.is_file() or file.suffix != ".py":
        raise BadInput(f"{file}: no such benchmark", fix="name a Python file that defines cases()")
    spec = importlib.util.spec_from_file_location(_module_of(file), file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for what their annotations name
    with _running(file):
        spec.loader.exec_module(module)
    fix = "define cases(), which yields lot_cli.bench.Case"
    if not hasattr(module, "cases"):
        raise BadInput(f"{file}: no benchmark in it", fix=fix)
    with _running(file):
        found = list(module.cases())
    for case in found:
        if not isinstance(case, Case):
            raise BadInput(f"{file}: cases() gives {case!r}", fix=fix)
    return found


def _module_of(file: Path) -> str:
    return f"lot_bench_{file.stem.replace('.', '_')}"


@contextlib.contextmanager
def _running(file: Path) -> Iterator[None]:
    """Let what a benchmark prints go to stderr, and say where in it something fails."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except LotError:
        raise
    except (Exception, SystemExit) as error:
        place = place_of(error, {_module_of(file)}) or file
        what = f"{place}: {type(error).__name__}: {first_line(error)}"
        raise RunFailed(f"{what}; lot --debug shows the traceback") from error


def measured(cases: list[Case], chosen: Chosen, processes: int, threads: int | None) -> Iterator[list[Measured]]:
    """What is measured so far: after each case where all are measured in this process, else after each of so many processes.

    cases: the chosen ones. chosen: with the seconds of all processes. Raises BadInput and RunFailed as a new process does.
    """
    if processes == 1:
        done: list[Measured] = []
        for case in cases:
            done.append(judge(case, [_pairs(case, chosen)]))
            yield done
        return
    samples: list[list[list[Pair]]] = [[] for _ in cases]
    for number in range(processes):
        share, least = chosen.seconds / processes, math.ceil(LEAST_PAIRS / processes)
        part = attrs.evolve(chosen, seconds=share, least=least, memory=number == 0)
        found = ask_new_process(__name__, {"chosen": attrs.asdict(part), "threads": threads}, threads)
        if [name for name, _ in found] != [case.name for case in cases]:
            raise RunFailed(f"{chosen.file}: cases() gives other cases in another process")
        for of_case, (_, pairs) in zip(samples, found, strict=True):
            if pairs:
                of_case.append(pairs)
        yield [judge(case, of_case) for case, of_case in zip(cases, samples, strict=True)]


def answer(question: Mapping[str, Any]) -> list[tuple[str, list[Pair]]]:
    """Name and pairs of each chosen case, measured in this process; no pairs where it is not to be measured."""
    import torch

    if question["threads"] is not None:
        torch.set_num_threads(question["threads"])
    chosen = Chosen(**question["chosen"])
    found = []
    for case in filter(chosen.chooses, cases_of(Path(chosen.file))):
        wanted = chosen.memory or case.what == "time"
        found.append((case.name, _pairs(case, chosen) if wanted else []))
    return found


def _pairs(case: Case, chosen: Chosen) -> list[Pair]:
    with _running(Path(chosen.file)):
        return measure(case, seconds=chosen.seconds, min_pairs=chosen.least)
