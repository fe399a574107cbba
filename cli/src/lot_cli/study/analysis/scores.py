"""What the runs of an arm measured: test values per seed, their mean,
and validation over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lot.errors import BadInput
from lot.runs.directory import RunDir
from lot.storage.files import read_json
from lot_cli.study.analysis.statistics import mean_interval
from lot_cli.study.result import Curve, Summary

Points = list[tuple[int, float | None]]
"""Steps and values of one run; None for a value that is not finite."""


def read_scores(run_dir: Path, metrics: Mapping[str, bool]) -> dict[str, float | None]:
    """The test metrics of a run; None for each of them where the run diverged."""
    document = read_json(run_dir / "metrics.json")
    if document is None:
        return dict.fromkeys(metrics)
    assert document["split"] == "test", f"{run_dir} was not tested"
    if missing := metrics.keys() - document["metrics"].keys():
        raise BadInput(
            f"{run_dir / 'metrics.json'}: damaged (no {min(missing)} in it)", fix=f"remove {run_dir} and run it again"
        )
    return {metric: document["metrics"][metric] for metric in metrics}


def curve(run_dirs: Sequence[Path], metric: str) -> Curve:
    """A metric on validation over training."""
    logs = [RunDir(run_dir).rows() for run_dir in run_dirs]
    return _over_runs(
        [[(row["step"], row.get(metric)) for row in log if row.get("split") == "validation"] for log in logs]
    )


def measured(run_dirs: Sequence[Path]) -> dict[str, Curve]:
    """DIAGNOSTIC.SCALAR -> its value over training; scalars that one run alone has are left out."""
    found: dict[str, list[Points]] = {}
    for place, run_dir in enumerate(run_dirs):
        for row in RunDir(run_dir).rows():
            for key in row.keys() - {"step", "diagnostic"} if "diagnostic" in row else ():
                runs = found.setdefault(f"{row['diagnostic']}.{key}", [[] for _ in run_dirs])
                runs[place].append((row["step"], row[key]))
    drawn = {name: _over_runs(runs) for name, runs in sorted(found.items())}
    return {name: curve for name, curve in drawn.items() if curve.steps}


def _over_runs(runs: Sequence[Points]) -> Curve:
    """The mean over the runs and its 95 % t interval, at each step at which two or more of them have a value."""
    values: dict[int, list[float]] = {}
    for points in runs:
        for step, value in points:
            if value is not None:
                values.setdefault(step, []).append(value)
    shared = [(step, *mean_interval(found)) for step, found in sorted(values.items()) if len(found) > 1]
    columns = [[float(value) for value in column] for column in zip(*shared, strict=True)] or [[], [], [], []]
    return Curve(**dict(zip(("steps", "mean", "low", "high"), columns, strict=True)))


def describe(values: Sequence[float | None]) -> Summary:
    """The mean of an arm over the seeds that gave a value, with its interval.

    values: one per seed, in the metric's unit; None where the run diverged or the value is not
    finite.
    """
    finite = [value for value in values if value is not None]
    lost = len(values) - len(finite)
    if len(finite) < 2:
        return Summary(mean=finite[0] if finite else None, low=None, high=None, lost=lost)
    mean, low, high = map(float, mean_interval(finite))
    return Summary(mean=mean, low=low, high=high, lost=lost)
