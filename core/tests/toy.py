"""A task as small as they come, and a registry that knows it: for tests of the engine without any plugin."""

from __future__ import annotations

from typing import Any

import attrs
import torch
import torchmetrics

from lot.config.load import load_config
from lot.config.schema import Config
from lot.contracts import Batch, Split, Task
from lot.metrics import MeanLoss
from lot.options.declare import option
from lot.plugins.component import Component
from lot.plugins.registry import registry
from lot.random import numpy_generator


@attrs.frozen(kw_only=True)
class ToyConfig:
    """Options of the toy."""

    seq_len: int = option(6, ge=1, help="tokens")


class Toy(Task):
    """Each token is the one before it plus one, modulo 7; the first is random."""

    vocab_size = 7

    def __init__(self, config: ToyConfig, seed: int) -> None:
        self.seq_len, self.seed = config.seq_len, seed

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        count = size if split == "train" else min(size, 10 - index * size)
        first = numpy_generator(self.seed, split, index).integers(0, 7, (count, 1))
        tokens = (torch.from_numpy(first) + torch.arange(self.seq_len + 1)) % 7
        return Batch(tokens[:, :-1].to(device), tokens[:, 1:].to(device))

    def length(self, split: Split) -> int | None:
        return None if split == "train" else 10

    def metrics(self) -> torchmetrics.MetricCollection:
        return torchmetrics.MetricCollection({"loss": MeanLoss()})

    def decode(self, ids: Any) -> str:
        return " ".join(str(int(token)) for token in ids)


COMPONENT = Component(name="toy", summary="Counting modulo 7.", factory="toy:Toy", config=ToyConfig)


class ToyRegistry:
    """The installed registry and the toy."""

    def names(self, kind: str) -> list[str]:
        return registry().names(kind)

    def get(self, kind: str, name: str) -> Component:
        return COMPONENT if (kind, name) == ("task", "toy") else registry().get(kind, name)


def toy_config(*overrides: str, **sections: Any) -> Config:
    """A run of the toy."""
    tree = {
        "task": {"name": "toy"},
        "model": {"width": 16, "heads": 2, "layers": 2},
        "train": {"steps": 12, "batch_size": 8, "warmup": 2, "eval_every": 4, "save_every": 5, "log_every": 3},
        **sections,
    }
    return load_config(tree, overrides=["train.precision=fp32", *overrides], registry=ToyRegistry())  # type: ignore[arg-type]
