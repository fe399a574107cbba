"""What every process of a ring checks, in one start: the ring of all, of two and of one, against dense attention.

    torchrun --nproc-per-node 4 ring_worker.py

The first process prints one JSON object: largest errors by case.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json

import torch
import torch.distributed as dist
from torch import Tensor

from lot import Context, Dims
from lot.devices.processes import leave
from lot.plugins.hookspecs import HOOKS
from lot_toroidal import plugin
from lot_toroidal.ops.layout import Members, plan
from lot_toroidal.ops.reference import dense_attention
from lot_toroidal.ops.ring import ring_attention
from lot_toroidal.ops.torus import Torus

LENGTH, PERIOD = 24, 32


def whole(name: str, *shape: int, dtype: torch.dtype) -> Tensor:
    """The same random tensor in every process."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(name) + shape[0]), dtype=torch.float64).to(
        dtype
    )


def operator_error(
    group: dist.ProcessGroup, causal: bool, window: int | None, balance: bool, padded: bool, dtype: torch.dtype
) -> float:
    """Largest error of values and gradients on this process's part of a sequence."""
    torus = Torus(PERIOD, 2, 0.7, window, causal)
    generator = torch.Generator().manual_seed(5)
    q, k, v, cotangent = (torch.randn(2, 3, LENGTH, 2, 4, generator=generator, dtype=dtype) for _ in range(4))
    padding = torch.rand(2, LENGTH, generator=generator) < 0.3 if padded else None
    inputs = [x.requires_grad_() for x in (q, k, v)]
    dense = dense_attention(*inputs, torus, padding=padding)
    expected = [dense, *torch.autograd.grad(dense, inputs, cotangent)]
    members = Members.of(group)
    size = LENGTH // members.world
    mine = slice(members.rank * size, (members.rank + 1) * size)
    parts = [x.detach()[:, :, mine].requires_grad_() for x in inputs]
    layout = plan(size, members, torus, balance)
    o = ring_attention(*parts, torus, layout, padding=None if padding is None else padding[:, mine], block=5)
    found = [o, *torch.autograd.grad(o, parts, cotangent[:, :, mine])]
    return max(float((a - b[:, :, mine]).detach().abs().max()) for a, b in zip(found, expected, strict=True))


def part(x: Tensor, members: Members) -> Tensor:
    """This process's positions of x (B, T, ...)."""
    return x.chunk(members.world, dim=1)[members.rank]


def module_error(group: dist.ProcessGroup, *, neutral: bool = False) -> float:
    """Largest error of a module: outputs of this part, and gradients of the parameters summed over the group.

    neutral: whether both are held neutral; fusions then get no gradient.
    """
    component = next(c for c in getattr(plugin, HOOKS["attention"])() if c.name == "toroidal_ring")
    dims = Dims(width=32, heads=2, max_len=PERIOD, vocab_size=8)
    alone, spread = (component.build(dims, block=5).double() for _ in range(2))
    held = contextlib.ExitStack()
    for module in (alone, spread) if neutral else ():
        held.enter_context(module.neutral())
    generator = torch.Generator().manual_seed(7)
    x, cotangent = (torch.randn(2, LENGTH, 32, generator=generator, dtype=torch.float64) for _ in range(2))
    y, _ = alone(x, Context())
    y.backward(cotangent)
    members = Members.of(group)
    z, _ = spread(part(x, members), Context(start=members.rank * LENGTH // members.world, group=group))
    z.backward(part(cotangent, members))
    error = float((z - part(y, members)).detach().abs().max())
    for p, p_spread in zip(alone.parameters(), spread.parameters(), strict=True):
        if p.grad is None and p_spread.grad is None:
            continue
        dist.all_reduce(p_spread.grad, group=group)
        error = max(error, float((p.grad - p_spread.grad).abs().max()))
    return error


def main() -> None:
    """Run all cases in every group and print the worst error over the processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    atexit.register(leave)
    rank, world = dist.get_rank(), dist.get_world_size()
    sizes = [size for size in (1, 2, 4) if size <= world]
    errors: dict[str, float] = {}
    for size in sizes:
        groups = [dist.new_group(list(range(first, first + size))) for first in range(0, world, size)]
        group = groups[rank // size]
        cases = itertools.product((True, False), (None, 5), (True, False), (False, True))
        for causal, window, balance, padded in cases:
            name = f"{size}: causal={causal} window={window} balance={balance} padded={padded}"
            errors[name] = operator_error(group, causal, window, balance, padded, torch.float32)
        errors[f"{size}: float64"] = operator_error(group, True, None, True, True, torch.float64)
        errors[f"{size}: module"] = module_error(group)
        errors[f"{size}: neutral module"] = module_error(group, neutral=True)
    worst = torch.tensor(list(errors.values()), dtype=torch.float64)
    dist.all_reduce(worst, op=dist.ReduceOp.MAX)
    if rank == 0:
        print(json.dumps(dict(zip(errors, worst.tolist(), strict=True))))


if __name__ == "__main__":
    main()
