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
    """Validation over training: at each step that two or more runs evaluated,
    the mean over them and its 95 % t interval."""
    values: dict[int, list[float]] = {}
    for run_dir in run_dirs:
        for row in RunDir(run_dir).rows():
            if row.get("split") == "validation" and row.get(metric) is not None:
                values.setdefault(row["step"], []).append(row[metric])
    points = [(step, *mean_interval(found)) for step, found in sorted(values.items()) if len(found) > 1]
    columns = [[float(value) for value in column] for column in zip(*points, strict=True)] or [[], [], [], []]
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
