"""What a study costs beyond its runs, and how soon a finished one is reported again.

This is the worst case: the study is small and its runs are far shorter than real ones,
so that what is done once per arm or per study (composing, counting operations and memory,
statistics, reports) is spread over little training.
"""

from __future__ import annotations

import importlib
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from lot.config.yaml import dump_yaml
from lot_cli.bench import Case
from lot_cli.study import conduct
from lot_cli.study.design.file import study_from
from lot_cli.study.report.html import to_html

STUDY: dict[str, Any] = {
    "name": "overhead",
    "base": {
        "task": {"name": "copy_reverse"},
        "model": {"width": 64, "heads": 4, "layers": 2},
        "train": {"steps": 300, "batch_size": 64, "precision": "fp32", "compile": "off"},
    },
    "arms": {"vanilla": {}, "smooth": {"losses": {"cross_entropy": {"label_smoothing": 0.1}}}},
    "seeds": 2,
    "threads": torch.get_num_threads(),
}


def cases() -> Iterator[Case]:
    """The cost of a study beyond its runs, and the time of a report against two seconds."""
    folder = Path(tempfile.mkdtemp())
    engine = importlib.import_module("lot.training.train")
    training = engine.train = Stopwatch(engine.train)  # type: ignore[attr-defined]
    make = fresh(folder / "study", whole_study)
    yield Case(
        name="a study of four runs",
        pair=lambda: (seconds(make), training.read()),
        baseline_name="its runs, which train() makes in it",
        cost=1.02,
        note="the runs of two studies differ by more than 2 % on a shared machine; so the runs of the study itself are timed",
    )
    home = folder / "home"
    (home / "studies" / "overhead").mkdir(parents=True)
    whole_study(home / "studies" / "overhead")
    training.read()  # what that took belongs to no sample
    (home / "overhead.yaml").write_text(dump_yaml(STUDY), encoding="utf-8")
    lot = shutil.which("lot", path=str(Path(sys.executable).parent)) or "lot"
    report = [lot, "study", "overhead.yaml", "--report-only"]
    yield Case(
        name="the report of a finished study",
        candidate=lambda: subprocess.run(report, check=True, cwd=home, capture_output=True),
        baseline=lambda: time.sleep(2.0),
        baseline_name="two seconds",
        cost=1.0,
    )


class Stopwatch:
    """A function, and the seconds spent in it since `read` was last called."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return self.function(*arguments, **named)
        finally:
            self.seconds += time.perf_counter() - began

    def read(self) -> float:
        """The seconds so far; the count begins again at zero."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def seconds(run: Callable[[], object]) -> float:
    """What a call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def fresh(folder: Path, make: Callable[[Path], object]) -> Callable[[], object]:
    """A callable that makes something in a new folder each time."""
    numbers = itertools.count()

    def run() -> None:
        place = folder / str(next(numbers))
        place.mkdir(parents=True)
        make(place)
        shutil.rmtree(place)

    return run


def whole_study(folder: Path) -> None:
    """Check, make, judge and report the study."""
    study = study_from(STUDY, "overhead")
    result = conduct(study, folder, device="cpu", command="lot study overhead.yaml")
    (folder / "report.html").write_text(to_html(result), encoding="utf-8")
