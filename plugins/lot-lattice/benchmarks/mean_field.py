"""The mean field over tokens, forward and backward, against PyTorch with prefix sums and against all pairs of tokens.

Claims at B=2, H=4, T=256, O=32, K=10 on a CPU: 500x the O(T^2) form and 8x the prefix sums. And a claim on memory: what
is kept for the backward pass is below 1.2 times the phases, which a test holds for every K.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import torch

from lot_cli.bench import Case
from lot_lattice.kernels import mean_field
from lot_lattice.ops.dynamics import mean_field_eager, mean_field_reference

ITERATIONS = 10


def both_ways(
    field: Callable[..., torch.Tensor], B: int, H: int, T: int, oscillators: int, causal: bool, device: str
) -> Callable[[], None]:
    """One forward and backward pass to all three tensors; the same inputs for every `field`."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    inputs = [2 * draw(B, H, T, oscillators), draw(H, oscillators), torch.ones(H)]
    grad = draw(B, H, T, oscillators).to(device)
    leaves = [tensor.to(device).requires_grad_() for tensor in inputs]

    def run() -> None:
        torch.autograd.grad(field(*leaves, 0.1, ITERATIONS, causal), leaves, grad)

    return run


def cases() -> Iterator[Case]:
    """The sizes of the claims, a longer one, and the form in which all tokens feel all."""
    os.environ["LOT_KERNELS"] = "require"  # without a compiler there is nothing to measure
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    baselines = {"all pairs": mean_field_reference, "prefix sums": mean_field_eager}
    for device in devices:
        for (B, H, T, O), name, causal, claim in (  # noqa: E741
            ((2, 4, 256, 32), "all pairs", True, 500),
            ((2, 4, 256, 32), "prefix sums", True, 8),
            ((4, 8, 1024, 32), "prefix sums", True, 8),
            ((2, 4, 256, 32), "prefix sums", False, None),
        ):
            form = "causal" if causal else "all tokens"
            yield Case(
                name=f"mean field, {device}, {form}, B={B}, H={H}, T={T}, O={O}, K={ITERATIONS}",
                candidate=both_ways(mean_field, B, H, T, O, causal, device),
                baseline=both_ways(baselines[name], B, H, T, O, causal, device),
                baseline_name=name,
                speedup=claim if device == "cpu" else None,
                device=device,
            )
