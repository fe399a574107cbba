"""Studies: arms x seeds on one task, compared fairly, judged in pairs, and reported.

    from lot_cli.study import conduct, load_study

    result = conduct(load_study(Path("study.yaml")), Path("studies/mine"))
    for comparison in result.comparisons:
        print(comparison.arm, comparison.metric, comparison.verdict)

Bottom up:

    design      what is to be run: the study file, its arms, their fairness, its registration
    execution   running it: on this machine or on a Slurm cluster
    result      the types that a finished study is made of, and its file
    analysis    what the runs show: verdicts, statistics, cost, tuning, warnings
    report      the result for people: terminal, Markdown, HTML
    passports   what the kit and a few steps of training say about each arm, before its first run
    assemble    puts a result together
    pacing      how many steps each arm makes where arms are to cost alike
    tune        tuning, alike for every arm, in grids that go on at their edge
    procedure   all of it in order

A name is imported when it is first used, since `lot study --help` must not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lot_cli.study.design.file import Study as Study, load_study as load_study
    from lot_cli.study.procedure import conduct as conduct
    from lot_cli.study.result import Result as Result
    from lot_cli.study.result_file import load_result as load_result

_MODULE_OF = {
    "Study": "design.file",
    "load_study": "design.file",
    "conduct": "procedure",
    "Result": "result",
    "load_result": "result_file",
}

__all__ = ["Result", "Study", "conduct", "load_result", "load_study"]


def __getattr__(name: str) -> Any:
    """The public name `name`, imported now (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
