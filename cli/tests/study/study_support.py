"""What the tests of studies share: a study of ten runs of a fraction of a second each."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from lot_cli.study.design.file import Study, study_from

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
    "equivalence": {"loss": 0.5},
    "claims": [{"arm": "smooth", "metric": "exact_match", "value": 0.5, "source": "a paper"}],
}


def small(**changes: Any) -> Study:
    """The small study with top-level keys changed; None removes one."""
    content = {**copy.deepcopy(SMALL), **changes}
    return study_from({key: value for key, value in content.items() if value is not None}, "small")


def write(path: Path, content: dict[str, Any]) -> Path:
    """A study file."""
    from lot.config.yaml import dump_yaml

    path.write_text(dump_yaml(content))
    return path


def silent(event: str, facts: dict[str, Any]) -> None:
    """Nobody wants to know."""
