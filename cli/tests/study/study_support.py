"""What the tests of studies share: a study of ten runs, each of which takes a fraction of a second."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

from lot_cli.study import Result, Study, conduct
from lot_cli.study.design.file import study_from

RUN: dict[str, Any] = {
    "task": {"name": "copy_reverse", "vocab_size": 8, "seq_len": 8, "validation_examples": 16, "test_examples": 16},
    "model": {"width": 16, "heads": 2, "layers": 1, "dropout": 0.1},
    "train": {
        "steps": 6,
        "batch_size": 4,
        "warmup": 2,
        "log_every": 2,
        "eval_every": 3,
        "save_every": 4,
        "precision": "fp32",
        "compile": "off",
    },
}
SMALL: dict[str, Any] = {
    "question": "Does <smoothing> help & why?",
    "base": RUN,
    "arms": {"vanilla": {}, "smooth": {"losses": {"cross_entropy": {"label_smoothing": 0.2}}}},
    "seeds": 3,
    "metrics": ["token_accuracy", "loss"],
    "tune": {"optim.lr": [1.0e-3, 1.0e-2]},
    "tune_seeds": 1,
    "extend": [],
    "equivalence": {"loss": 0.5},
    "claims": [{"arm": "smooth", "metric": "exact_match", "value": 0.5, "source": "a paper"}],
}


def small(**changes: Any) -> Study:
    """The small study with top-level keys changed; None removes one."""
    content = {**copy.deepcopy(SMALL), **changes}
    if content["tune"] is None and "extend" not in changes:
        content["extend"] = None
    return study_from({key: value for key, value in content.items() if value is not None}, "small")


def write(path: Path, content: dict[str, Any]) -> Path:
    """A study file."""
    from lot.config.yaml import dump_yaml

    path.write_text(dump_yaml(content))
    return path


def silent(event: str, facts: dict[str, Any]) -> None:
    """Drops the event."""


class Made(NamedTuple):
    """A finished study: its folder, result, the events in order, and the splits read until tuning was over, and after."""

    folder: Path
    result: Result
    events: list[str]
    while_tuning: set[str]
    after: set[str]


def make(study: Study, folder: Path, jobs: int = 1, tell: Any = silent) -> Result:
    """The result of a study."""
    folder.mkdir(exist_ok=True)
    return conduct(study, folder, jobs=jobs, device="cpu", command="lot study small.yaml", tell=tell)


def numbers(result: Result) -> dict[str, Any]:
    """All of a result that must not depend on how it came about; arms by name."""
    arms = {name: (arm.config, arm.scores, arm.summary, arm.curves, arm.tuned) for name, arm in result.arms.items()}
    comparisons = {(c.arm, c.metric): c for c in result.comparisons}
    runs = {(row.arm, row.seed): row for row in result.runs}
    return {"arms": arms, "comparisons": comparisons, "runs": runs, "claims": result.claims}
