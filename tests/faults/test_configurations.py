"""Random configurations: each is trained, or refused in a few lines with exit code 2 (3 where it diverges)."""

from __future__ import annotations

import json
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
    "task.seq_len": 48,
    "task.vocab_size": 64,
    "task.validation_examples": 4,
    "task.test_examples": 4,
    "model.width": 16,
    "model.heads": 2,
    "model.layers": 1,
    "train.steps": 2,
    "train.batch_size": 2,
    "train.eval_examples": 4,
    "train.compile": "off",
    "train.precision": "fp32",
}
SIZES: dict[str, tuple[Any, ...]] = {
    "model.width": (8, 24),
    "model.heads": (1, 4),
    "model.layers": (2, 3),
    "model.positions": ("rotary", "none"),
    "train.batch_size": (3, 4),
    "train.steps": (1, 3),
    "train.accumulate": (1, 2),
}
ODD: tuple[Any, ...] = (
    0,
    -1,
    1,
    3,
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
"""Values for an option that know nothing of it."""


def value_for(option: OptionInfo, rng: random.Random) -> Any:
    """A value that fits the type of the option, as a rule; sometimes one that need not."""
    if rng.random() < 0.08:
        return rng.choice(ODD)
    if choices := re.findall("'([^']+)'", option.type):
        return rng.choice(choices)
    if "list" in option.type or "table" in option.type or (option.default is None and rng.random() < 0.5):
        return "null" if option.default is None else json.dumps(option.default)
    if "bool" in option.type:
        return rng.choice(["true", "false"])
    if "int" in option.type:
        near = option.default or 4
        return rng.choice([near // 2, near, near + 1, 1, 2, 4, 8])
    if "float" in option.type:
        near = option.default or 1.0
        return rng.choice([near * 2, near / 2, 0.0, 1.0])
    return json.dumps(option.default)


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
        free = sorted(options.keys() - {"seq_len", "vocab_size"}, key=lambda _: rng.random())
        for option in free[: rng.choice([0, 0, 1, 2, 3])]:
            values[f"{flag}.{option}"] = value_for(options[option], rng)
        if kind == "task":
            values = {path: v for path, v in values.items() if not path.startswith("task.") or path[5:] in options}
    if rng.random() < 0.2:
        words += ["--loss", rng.choice(reg.names("loss"))]
    if rng.random() < 0.3:
        path, usual = rng.choice(list(SIZES.items()))
        values[path] = rng.choice([*usual, rng.choice(ODD)])
        if values[path] in (2**40, 1e9):
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
