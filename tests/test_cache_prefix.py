"""`train.cache_prefix` through the command: what is kept for one mechanism serves no other one."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Lot, sets


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_window_that_acts_far_away_has_its_own_states(lot: Lot, cache: Path) -> None:
    """Equal weights, and equal states of the first 40 tokens of every sequence."""
    Path("text.txt").write_text("".join(f"line {i} of {i % 13}, {i * i % 97}\n" for i in range(900)))
    tree = {
        "task": {"path": "text.txt", "seq_len": 128, "windows": "fixed"},
        "model": {"width": 16, "heads": 2, "layers": 2},
        "train": {
            "steps": 3, "batch_size": 4, "log_every": 1, "eval_examples": 8, "test": False, "compile": "off",
            "precision": "fp32", "only": "['blocks.1.*']",
        },
    }  # fmt: skip
    logs = {}
    for window in (40, 60):
        layer = ("--set", f"attn.layers={{0: {{name: toroidal, window: {window}}}}}")
        for kept in ("false", "true"):
            folder = f"{window}-{kept}"
            words = ("run", "--task", "char_lm", "--attn", "vanilla", *sets(tree), *layer)
            done = lot(*words, "--set", f"train.cache_prefix={kept}", "--run-dir", folder)
            assert done.returncode == 0, done.stderr
            logs[window, kept] = Path(folder, "metrics.jsonl").read_text()
    assert logs[40, "false"] != logs[60, "false"]
    assert logs[40, "true"] != logs[60, "true"]
    assert len([path for path in (cache / "prefix").iterdir() if path.is_dir()]) == 2
