"""The lattice scan, forward and backward, against a fair eager PyTorch loop.

The baseline splits sin(a - b), unbinds the drive (indexing it would make the backward pass O(T^2)) and leaves the rest to
autograd. Claims on a CPU: 20x at B=32, H=16, T=2048 and 200x at B=1, T=4096; on an H200: 300x at the former.

A bound for the device at B=32, H=16, T=2048, from instruction latencies (4 cycles for arithmetic, about 33 for a store to
shared memory and the load that answers it), at 1.98 GHz. The steps form a chain: only their number times the chain of one
step counts, since 16 warps sit alone on 16 multiprocessors and move 12 MB, 3 microseconds of bandwidth.

    forward   sine and cosine: 2 to the quadrant, 3 reduction, 4 polynomial, 3 selection and sign    12 x 4 = 48
              exchange                                                                                        33
              32 multiply-adds, one a cycle, and their last additions                                    32 + 8
              c S - s C onto the phase                                                                        8
                                                                              129 cycles, 0.13 ms for T = 2048
    backward  lambda c, lambda s: 4; exchange: 33; 64 multiply-adds of both products: 64 + 8; update: 12;
              next sine and cosine, loads and addresses share the issue slots: about 40 more
                                                                              161 cycles, 0.17 ms for T = 2048

0.30 ms together; 2x of it is 0.60 ms. No GPU was at hand when this was written: the figures are estimates. nvcc 13 makes
114 instructions per step of the forward loop for sm_90 and 203 of the backward loop, none of them on local memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import torch

from lot_cli.bench import Case
from lot_lattice.kernels import lattice_scan
from lot_lattice.ops.dynamics import lattice_scan_eager
from lot_lattice.ops.geometry import resolve_shape


def lattice_weights(heads: int) -> torch.Tensor:
    """(H, H) weights exp(-distance) of the most square lattice, Moore neighbors at radius 1, open boundary."""
    rows, columns = resolve_shape(None, heads)
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double()
    steps = (places[:, None] - places[None]).abs()
    near = (steps.amax(-1) <= 1) & (steps.amax(-1) > 0)
    return torch.where(near, (-steps.norm(dim=-1)).exp(), 0.0).float()


def both_ways(scan: Callable[..., torch.Tensor], B: int, H: int, T: int, device: str) -> Callable[[], None]:
    """One forward and backward pass to all five tensors; the same inputs for every `scan`."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    inputs = [draw(B, H, T), draw(H), torch.full((H,), 0.3), lattice_weights(H), draw(H)]
    grad = draw(B, H, T).to(device)
    leaves = [tensor.to(device).requires_grad_() for tensor in inputs]

    def run() -> None:
        torch.autograd.grad(scan(*leaves, 0.1), leaves, grad)

    return run


def cases() -> Iterator[Case]:
    """The sizes of the claims; on the CPU, and on a GPU where there is one."""
    os.environ["LOT_KERNELS"] = "require"  # without a compiler there is nothing to measure
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        for (B, H, T), claim in (((32, 16, 2048), 20 if device == "cpu" else 300), ((1, 16, 4096), 200)):
            yield Case(
                name=f"lattice scan, {device}, B={B}, H={H}, T={T}",
                candidate=both_ways(lattice_scan, B, H, T, device),
                baseline=both_ways(lattice_scan_eager, B, H, T, device),
                baseline_name="eager loop",
                speedup=claim,
                device=device,
            )
