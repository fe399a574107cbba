"""Every attention and embedding as a program of torch's own operators that serves every batch size and length."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lot import Context, Dims, registry
from lot.nn.export_forms import decomposed, foreign_operators
from lot.testing.draws import perturb

DIMS = Dims(width=16, heads=2, max_len=24, vocab_size=11)
BOTH_WAYS = Dims(width=16, heads=2, max_len=24, vocab_size=11, causal=False)
EXAMPLE = (3, 12)
SIZES = ((1, 1), (2, 24), (5, 17), (4, 2))

ATTENTIONS: list[tuple[str, dict[str, Any], Dims]] = [
    ("vanilla", {}, DIMS),
    ("lattice", {"substeps": 2}, DIMS),
    ("lattice", {"score": "neighbors"}, DIMS),
    ("lattice", {"dynamics": "relax", "steps": 3}, DIMS),
    ("phase", {"oscillators": 3}, DIMS),
    ("phase", {"oscillators": 3, "readout": "angle"}, BOTH_WAYS),
    ("hybrid", {"inner": {"name": "lattice"}, "phase": {"oscillators": 2}}, DIMS),
    ("toroidal", {}, DIMS),
    ("toroidal", {"window": 4, "fusion": "attention"}, DIMS),
    ("toroidal", {"window": 4, "fusion": "learned"}, BOTH_WAYS),
    ("toroidal", {"form": "published"}, DIMS),
    ("toroidal", {"form": "published", "window": 4}, DIMS),
    ("toroidal", {"backend": "flex"}, DIMS),
    ("toroidal", {"backend": "flash", "depth": 1, "lambda_distance": 0.0}, DIMS),
    ("toroidal_ring", {"block": 5}, DIMS),
    ("toroidal_ring", {"window": 4}, BOTH_WAYS),
    ("toroidal_fft", {}, DIMS),
    ("toroidal_fft", {}, BOTH_WAYS),
    ("toroidal_fft", {"lags": "content"}, BOTH_WAYS),
    ("toroidal_latent", {"update": "linear"}, DIMS),
    ("toroidal_latent", {"update": "min_gru"}, DIMS),
    ("toroidal_latent", {"update": "gru"}, DIMS),
    ("toroidal_latent", {"update": "gru_per_head"}, DIMS),
    ("toroidal_adaptive", {"depths": [1, 4]}, DIMS),
    ("toroidal_adaptive", {"depths": [1, 2], "route": True, "window": 4}, DIMS),
    *(
        ("interference", {"waves": 3, "evolution": evolution, "normalize": normalize}, DIMS)
        for evolution in ("evolved", "pairwise")
        for normalize in ("row", "energy", "softmax")
    ),
    ("interference", {"waves": 3, "evolution": "pairwise", "own_keys": True}, BOTH_WAYS),
    ("pure_wave", {"waves": 3}, DIMS),
    ("pure_wave", {"waves": 3, "kernel": "exp", "kernel_on": "scores"}, DIMS),
    ("pure_wave", {"waves": 3, "kernel_on": "scores"}, BOTH_WAYS),
    ("pure_wave", {"waves": 3, "form": "published", "kernel_on": "scores"}, DIMS),
]
EMBEDDINGS: list[dict[str, Any]] = [{}, {"learn_amplitudes": True}, {"anneal_steps": 10}, {"form": "published"}]


class Alone(nn.Module):
    """What a component gives, without its signals."""

    def __init__(self, kind: str, name: str, options: dict[str, Any], dims: Dims) -> None:
        super().__init__()
        self.module = registry().get(kind, name).build(dims, **options)
        perturb(self.module)
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.module(inputs, Context())[0]
        return found


def draw(kind: str, batch: int, length: int, key: int) -> Tensor:
    generator = torch.Generator().manual_seed(key)
    if kind == "embedding":
        return torch.randint(DIMS.vocab_size, (batch, length), generator=generator)
    return torch.randn(batch, length, DIMS.width, generator=generator)


def program_of(module: Alone, example: Tensor) -> torch.export.ExportedProgram:
    auto = torch.export.Dim.AUTO
    with torch.no_grad():
        return torch.export.export(module, (example,), dynamic_shapes={"inputs": {0: auto, 1: auto}})


def names(kind: str) -> set[str]:
    return {component.name for component in registry().components(kind)}


def test_every_attention_is_tried() -> None:
    assert {name for name, _, _ in ATTENTIONS} == names("attention")
    assert {"token", "wave_packet"} == names("embedding")


CASES = [
    *(("attention", *case) for case in ATTENTIONS),
    ("embedding", "token", {}, DIMS),
    *(("embedding", "wave_packet", options, DIMS) for options in EMBEDDINGS),
]


@pytest.mark.parametrize(("kind", "name", "options", "dims"), CASES, ids=lambda value: "" if value is DIMS else None)
def test_a_program_of_torch_takes_every_size(kind: str, name: str, options: dict[str, Any], dims: Dims) -> None:
    module = Alone(kind, name, options, dims)
    program = decomposed(program_of(module, draw(kind, *EXAMPLE, 0)))
    assert foreign_operators(program) == []
    run = program.module()
    with torch.no_grad():
        for key, (batch, length) in enumerate(SIZES, 1):
            inputs = draw(kind, batch, length, key)
            torch.testing.assert_close(run(inputs), module(inputs), atol=2e-5, rtol=1e-4)


ONNX = [
    ("lattice", {"substeps": 2}, DIMS),
    ("phase", {"oscillators": 3}, DIMS),
    ("toroidal", {"window": 4}, DIMS),
    ("toroidal", {"form": "published"}, DIMS),
    ("toroidal_ring", {}, DIMS),
    ("toroidal_fft", {}, DIMS),
    ("toroidal_fft", {"lags": "content"}, BOTH_WAYS),
    ("toroidal_latent", {"update": "min_gru"}, DIMS),
    ("toroidal_latent", {"update": "gru_per_head"}, DIMS),
    ("toroidal_adaptive", {"depths": [1, 2], "route": True}, DIMS),
    ("interference", {"waves": 3, "evolution": "pairwise", "normalize": "softmax"}, DIMS),
    ("interference", {"waves": 3, "normalize": "energy"}, DIMS),
    ("pure_wave", {"waves": 3, "form": "published", "kernel_on": "scores"}, DIMS),
]


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs onnx, onnxscript and onnxruntime",
)
@pytest.mark.parametrize(("name", "options", "dims"), ONNX, ids=lambda value: "" if value is DIMS else None)
def test_onnx_runtime_gives_the_same_at_every_size(
    name: str, options: dict[str, Any], dims: Dims, tmp_path: Path
) -> None:
    import onnxruntime

    module = Alone("attention", name, options, dims)
    program = decomposed(program_of(module, draw("attention", *EXAMPLE, 0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = torch.onnx.export(program, dynamo=True, verbose=False, input_names=["inputs"])
    assert converted is not None
    converted.save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        for key, (batch, length) in enumerate(SIZES, 1):
            inputs = draw("attention", batch, length, key)
            (found,) = session.run(None, {"inputs": inputs.numpy()})
            torch.testing.assert_close(torch.from_numpy(found), module(inputs), atol=2e-5, rtol=1e-4)
