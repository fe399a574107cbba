"""Standard and wave parts in every combination: each builds, trains, and resumes to the same bits."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lot import Batch, Context, Decoder, load_config, registry, train
from lot.random import initialize

ATTENTION = ["vanilla", "interference", "pure_wave"]
EMBEDDING = [("token", {}), ("wave_packet", {"learn_amplitudes": True, "anneal_steps": 3})]
OPTIMIZER = [("adamw", {}), ("wave_native", {"rank": 4, "refresh": 2})]
LOSS = ["cross_entropy", "wave_coherence"]


class Run:
    """A small model with its optimizer and loss, built from the registry."""

    def __init__(self, make: Any, attention: str, embedding: tuple, optimizer: tuple, loss: str) -> None:
        reg = registry()
        dims = make.dims(width=16, heads=2, max_len=12, layers=2, token_counts=torch.arange(11, 0, -1))
        part = reg.get("attention", attention)
        name, options = embedding
        self.model = Decoder.around(
            reg.get("embedding", name).build(dims, **options),
            [part.build(dims, **({} if attention == "vanilla" else {"waves": 3})) for _ in range(2)],
            dims,
        )
        initialize(self.model, 0)
        name, options = optimizer
        self.optimizer = reg.get("optimizer", name).build(self.model, **options)
        self.loss = reg.get("loss", loss).build()
        self.model.set_want(self.loss.needs | getattr(self.loss, "optional", frozenset()))

    def step(self, number: int, batch: Batch) -> dict[str, torch.Tensor]:
        ctx = Context(torch.tensor(number))
        terms = self.loss(self.model(batch.inputs, ctx), batch, ctx)
        self.optimizer.zero_grad()
        sum(terms.values()).backward()
        self.optimizer.step()
        return terms


@pytest.mark.parametrize(
    ("attention", "embedding", "optimizer", "loss"),
    itertools.product(ATTENTION, EMBEDDING, OPTIMIZER, LOSS),
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_it_trains_and_resumes(make, attention, embedding, optimizer, loss):
    choice = (attention, embedding, optimizer, loss)
    batches = [Batch(make.ids(11, 2, 12), make.ids(11, 2, 12)) for _ in range(4)]
    whole = Run(make, *choice)
    start = {name: p.detach().clone() for name, p in whole.model.named_parameters()}
    for number, batch in enumerate(batches):
        terms = whole.step(number, batch)
        assert all(torch.isfinite(term) for term in terms.values())
        if number == 1:
            kept = copy.deepcopy((whole.model.state_dict(), whole.optimizer.state_dict()))
    moved = [name for name, p in whole.model.named_parameters() if not torch.equal(p, start[name])]
    assert moved == list(start)
    if loss == "wave_coherence":
        assert (float(terms["harmonic"].detach()) > 0) == (embedding[0] == "wave_packet")

    resumed = Run(make, *choice)
    resumed.model.load_state_dict(kept[0])
    resumed.optimizer.load_state_dict(kept[1])
    for number in (2, 3):
        resumed.step(number, batches[number])
    for (name, p), q in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(p, q), name


class Stopped(Exception):
    pass


@pytest.mark.skipif("char_lm" not in registry().names("task"), reason="needs lot-tasks")
def test_a_run_that_is_cut_off_while_annealing_resumes_to_the_same_bits(tmp_path):
    config = load_config(
        {
            "task": {"name": "char_lm", "corpus": "pydoc", "seq_len": 16},
            "model": {"width": 16, "heads": 2, "layers": 2},
            "embed": {"name": "wave_packet", "anneal_steps": 5, "learn_amplitudes": True, "waves": 4},
            "attn": {"name": "interference", "waves": 3},
            "losses": {"wave_coherence": {}},
            "optim": {"name": "wave_native", "rank": 4, "refresh": 2},
            "train": {
                "steps": 6, "batch_size": 2, "warmup": 1, "log_every": 1, "eval_every": 3, "eval_examples": 2,
                "save_every": 2, "test": False, "compile": "off",
            },
        }
    )  # fmt: skip

    def stop(event: str, facts: dict[str, Any]) -> None:
        if event == "log" and facts.get("step") == 5:
            raise Stopped

    train(config, tmp_path / "whole", device="cpu")
    with pytest.raises(Stopped):
        train(config, tmp_path / "cut", device="cpu", report=stop)
    train(config, tmp_path / "cut", device="cpu", resume=True)
    whole, cut = (weights(tmp_path / name) for name in ("whole", "cut"))
    assert whole.keys() == cut.keys()
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the last checkpoint."""
    last = max((run / "checkpoints").glob("step_*"))
    return {f"{file.name}: {k}": v for file in sorted(last.glob("*.safetensors")) for k, v in load_file(file).items()}
