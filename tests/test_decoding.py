"""Decoding through the decoder: what `lot generate` computes is what a full pass computes, for every attention."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import lot
from lot.random import torch_generator
from lot_cli.main import cli

MAX_LEN = 24
FORMS: dict[str, list[dict[str, Any]]] = {
    "hybrid": [{"inner": {"name": "lattice"}}],
    "interference": [{"evolution": "pairwise", "normalize": form} for form in ("row", "energy", "softmax")],
    "lattice": [{"score": "neighbors"}, {"substeps": 2}],
    "phase": [{"iterations": 2}],
    "pure_wave": [{"kernel_on": "scores"}],
}
"""Options beside the defaults that decode by another way."""
CASES = [(name, options) for name in lot.registry().names("attention") for options in [{}, *FORMS.get(name, [])]]


def model(name: str, options: dict[str, Any], positions: str = "learned") -> lot.Decoder:
    """A decoder of two layers, in float64, whose parameters have all moved away from their initial values."""
    config = lot.load_config(
        {
            "task": {"name": "copy_reverse", "vocab_size": 12, "seq_len": 16},
            "model": {"width": 16, "heads": 2, "layers": 2, "max_len": MAX_LEN, "positions": positions},
            "attn": {"name": name, **options},
        }
    )
    made = lot.build_model(config).double().eval()
    with torch.no_grad():
        for key, parameter in made.named_parameters():
            generator = torch_generator(3, "moved", key)
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made


def pieces(length: int, first: int) -> Iterator[slice]:
    """A prompt of `first` tokens in two pieces, then token by token."""
    yield slice(0, first - 2)
    yield slice(first - 2, first)
    yield from (slice(t, t + 1) for t in range(first, length))


@pytest.mark.parametrize("gradients", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_cached_logits_are_those_of_the_full_pass(
    name: str, options: dict[str, Any], batch: int, gradients: bool
) -> None:
    made = model(name, options)
    if not made.can_decode():
        pytest.skip(f"{name} does not decode with a cache here")
    ids = torch.randint(12, (batch, MAX_LEN), generator=torch_generator(0, "ids", batch))
    with torch.set_grad_enabled(gradients):
        full = made(ids).logits
        caches = made.init_cache(batch, "cpu", torch.float64)
        parts = []
        for part in pieces(MAX_LEN, 7):
            logits, caches = made.extend(ids[:, part], lot.Context(start=part.start), caches)
            parts.append(logits)
    tolerance = max(1e-5, *(attention.tolerance for attention in made.attentions.values()))
    error = (torch.cat(parts, dim=1) - full).abs().max() / full.abs().max()
    assert error <= tolerance


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_generation_is_that_of_full_passes_over_the_last_tokens(name: str, options: dict[str, Any]) -> None:
    made = model(name, options)
    ids = torch.randint(12, (2, 9), generator=torch_generator(1, "ids"))
    for step in lot.generate(made, ids, MAX_LEN, generator=torch.Generator(), temperature=0):
        expected = made(ids[:, -MAX_LEN:]).logits[:, -1].float().softmax(-1)
        torch.testing.assert_close(step.probability, expected, rtol=1e-4, atol=1e-5)
        ids = torch.cat((ids, step.ids[:, None]), dim=1)


@pytest.mark.parametrize("name", ["lattice", "phase", "hybrid", "interference"])
def test_the_command_continues_as_the_model_does(name: str, tmp_path: Path) -> None:
    """A run is trained and asked by commands; the answer is compared with full passes of the model that it recorded."""
    run = tmp_path / "run"
    options = [
        "--set",
        "model.width=16",
        "--set",
        "model.heads=4",
        "--set",
        "train.steps=3",
        "--set",
        "task.seq_len=16",
    ]
    options += ["--set", "model.max_len=20", "--set", "optim.lr=0.05", "--set", "train.warmup=0"]
    done = CliRunner().invoke(cli, ["run", "--attn", name, "--task", "copy_reverse", *options, "--run-dir", str(run)])
    assert done.exit_code == 0, done.output
    asked = ["generate", str(run), "--prompt", "3 1 4 1 5", "--tokens", "12", "--temperature", "0", "--json"]
    answer = CliRunner().invoke(cli, asked)
    assert answer.exit_code == 0, answer.output
    recorded = lot.load_run(run, device="cpu")
    ids = torch.tensor([recorded.task.encode("3 1 4 1 5")])
    with torch.no_grad():
        for _ in range(12):
            logits = recorded.model(ids[:, -20:], lot.Context(step=torch.tensor(recorded.step))).logits
            ids = torch.cat((ids, logits[:, -1:].argmax(-1)), dim=1)
    assert recorded.task.decode(ids[0, -12:]) in json.dumps(json.loads(answer.stdout))
