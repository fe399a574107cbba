"""Random configurations: each is trained, or refused in a few lines with exit code 2 (3 where it diverges)."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path
from typing import Any

from support import Lot

from faults.rounds import ROUNDS, fresh
from lot.options.declare import OptionInfo, describe
from lot.plugins.registry import registry

SMALL: dict[str, Any] = {
    "task.seq_len": 8,
    "task.vocab_size": 16,
    "task.validation_examples": 4,
    "task.test_examples": 4,
    "model.width": 8,
    "model.heads": 2,
    "model.layers": 1,
    "train.steps": 2,
    "train.batch_size": 2,
    "train.eval_examples": 4,
    "train.compile": "off",
    "train.precision": "fp32",
}
ODD: tuple[Any, ...] = (
    0,
    -1,
    1,
    2,
    3,
    7,
    0.5,
    1e-9,
    1e9,
    2**40,
    "text",
    "''",
    "null",
    "true",
    "[]",
    "[1, 2]",
    "{}",
    "nan",
    "inf",
)
"""Values for an option that knows nothing of them."""


def value_for(option: OptionInfo, rng: random.Random) -> Any:
    """A value that fits the option, as a rule; sometimes one that need not."""
    if rng.random() < 0.2:
        return rng.choice(ODD)
    if choices := re.findall("'([^']+)'", option.type):
        return rng.choice(choices)
    default = option.default
    if isinstance(default, bool):
        return str(rng.random() < 0.5).lower()
    if isinstance(default, int):
        return rng.choice([max(0, default // 2), default + 1, 1, 2, 4])
    if isinstance(default, float):
        return rng.choice([default * 2, default / 2, 0.0, 1.0])
    return rng.choice(ODD)


def configuration(rng: random.Random) -> list[str]:
    """The words of a command line: a component of each kind, and some options of them."""
    reg = registry()
    words = ["run", "--run-dir", "x", "--device", "cpu"]
    values: dict[str, Any] = dict(SMALL)
    flags = {"attention": "attn", "embedding": "embed", "optimizer": "optim", "task": "task"}
    for kind, flag in flags.items():
        name = rng.choice([each for each in reg.names(kind) if not each.endswith("_lm")])
        words += [f"--{flag}", name]
        options = {option.name: option for option in describe(reg.get(kind, name).config_class)}
        for option in rng.sample(sorted(options), min(len(options), rng.randrange(4))):
            values[f"{flag}.{option}"] = value_for(options[option], rng)
        if kind == "task":
            values = {path: v for path, v in values.items() if not path.startswith("task.") or path[5:] in options}
    for _ in range(rng.randrange(2)):
        words += ["--loss", rng.choice(reg.names("loss"))]
    if rng.random() < 0.5:
        path = rng.choice(
            ["model.width", "model.heads", "model.layers", "model.positions", "train.batch_size", "train.steps"]
        )
        values[path] = rng.choice([*ODD, 4, 8, 6, 10, "rotary"])
        if path in ("model.width", "train.steps", "train.batch_size", "model.layers") and values[path] in (2**40, 1e9):
            values[path] = 12  # whether that much is done is a matter of time, not of this test
    for path, value in values.items():
        words += ["--set", f"{path}={value}"]
    return words


def test_random_configurations(lot: Lot, tmp_path: Path) -> None:
    rng = fresh()
    codes = []
    for number in range(12 if ROUNDS == 1 else 1000):
        words = configuration(rng)
        done = lot(*words)
        codes.append(done.returncode)
        said = f"configuration {number}: lot {' '.join(words)}\n{done.stderr[-2000:]}"
        assert done.returncode in (0, 2, 3), said
        assert "Traceback" not in done.stderr, said
        if done.returncode == 2:
            assert len(done.stderr[done.stderr.rfind("error: ") :].splitlines()) <= 8, said  # a line for each option
            assert not (tmp_path / "x").exists(), said
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
    if len(codes) > 100:
        assert {0, 2} <= set(codes)
