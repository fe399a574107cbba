"""Short runs of the toy task with a made-up attention or diagnostic, for tests of what a run measures about itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kit_specimens import specimen
from toy import ToyRegistry

from lot.config.load import load_config
from lot.config.schema import Config
from lot.plugins.component import Component
from lot.training.train import train
from lot.training.trainer import Result


class SpecimenRegistry(ToyRegistry):
    """The toy, what is installed, and one class under the name `specimen` for each kind given."""

    def __init__(self, classes: dict[str, type]) -> None:
        self.classes = classes

    def names(self, kind: str) -> list[str]:
        return [*super().names(kind), *(["specimen"] if kind in self.classes else [])]

    def get(self, kind: str, name: str) -> Component:
        if name == "specimen":
            return specimen(self.classes[kind], kind)
        return super().get(kind, name)


def config_of(*overrides: str, **classes: type) -> Config:
    """A run of six steps with two layers; classes: by kind, such as attention=Cheat."""
    tree: dict[str, Any] = {
        "task": {"name": "toy"},
        "model": {"width": 16, "heads": 2, "layers": 2},
        "train": {"steps": 6, "batch_size": 8, "warmup": 2, "eval_every": 2, "save_every": 1, "log_every": 3},
    }
    if "attention" in classes:
        tree["attn"] = {"name": "specimen"}
    if "diagnostic" in classes:
        tree["diagnostics"] = {"specimen": {"every": 4}}
    sets = ["train.precision=fp32", *overrides]
    return load_config(tree, overrides=sets, registry=SpecimenRegistry(classes))  # type: ignore[arg-type]


@dataclass
class Outcome:
    """What a run came to: its result, what it warned of, and what run.json and metrics.json say."""

    result: Result
    facts: dict[str, Any]
    final: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


def finished(config: Config, folder: Path) -> Outcome:
    """Train what `config` describes to its end."""
    warnings: list[str] = []
    result = train(
        config, folder, report=lambda event, facts: warnings.append(facts["text"]) if event == "warning" else None
    )
    facts, final = (json.loads((folder / name).read_text()) for name in ("run.json", "metrics.json"))
    return Outcome(result, facts, final, warnings)
