"""What the tests that cross packages share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TINY: dict[str, Any] = {
    "task": {"name": "copy_reverse", "vocab_size": 16, "seq_len": 8, "validation_examples": 32, "test_examples": 32},
    "model": {"width": 16, "heads": 4, "layers": 2, "dropout": 0.1},
    "train": {
        "steps": 24,
        "batch_size": 4,
        "warmup": 4,
        "log_every": 5,
        "eval_every": 8,
        "save_every": 6,
        "precision": "fp32",
        "compile": "off",
    },
}
"""A run that takes a second: every interval is different, so that their boundaries do not coincide."""

Lot = Callable[..., subprocess.CompletedProcess[str]]
"""The command line: `lot("run", "--attn", "lattice")`, in an empty folder."""


def sets(tree: dict[str, object] | None = None, prefix: str = "") -> list[str]:
    """`TINY`, or another tree, as `--set` options; which component is chosen is left to flags."""
    words: list[str] = []
    for key, value in (TINY if tree is None else tree).items():
        if key == "name":
            continue
        path = f"{prefix}.{key}" if prefix else key
        if isinstance(value, dict):
            words += sets(value, path)
        else:
            words += ["--set", f"{path}={value}"]
    return words


def refused(done: subprocess.CompletedProcess[str], *words: str, code: int = 2) -> None:
    """Asserts that a command said why in at most three lines, with its exit code and no traceback."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) <= 3 or code == 3, done.stderr
    for word in words:
        assert word in done.stderr, f"{word!r} is not in: {done.stderr}"
