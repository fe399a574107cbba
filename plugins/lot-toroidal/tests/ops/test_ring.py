"""Ring attention: one, two and four processes over gloo equal dense attention, and share the work evenly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lot import BadInput, Component, Context, Dims
from lot_toroidal.ops.layout import Layout, Members, plan
from lot_toroidal.ops.reference import dense_attention
from lot_toroidal.ops.ring import ring_attention, tiles_of
from lot_toroidal.ops.torus import Torus

WORKER = Path(__file__).with_name("ring_worker.py")
DIMS = Dims(width=32, heads=2, max_len=24, vocab_size=8)


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    """Largest errors by case, from one start of four processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4", str(WORKER)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_ring_equals_dense_attention(processes: int, errors: dict[str, float]) -> None:
    mine = {name: error for name, error in errors.items() if name.startswith(f"{processes}: causal")}
    assert len(mine) == 16  # causal, window, balance and padding, on and off
    assert max(mine.values()) < 1e-5, mine


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_ring_is_exact_in_float64(processes: int, errors: dict[str, float]) -> None:
    assert errors[f"{processes}: float64"] < 1e-12


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_module_over_parts_gives_the_outputs_and_gradients_of_one_alone(
    processes: int, errors: dict[str, float]
) -> None:
    assert errors[f"{processes}: module"] < 1e-12
    assert errors[f"{processes}: neutral module"] < 1e-12, "spread over processes, vanilla attention is so too"


@pytest.mark.parametrize("block", [1, 5, 64])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("causal", [True, False])
def test_blocks_alone_equal_dense(causal: bool, window: int | None, block: int, draw: Callable[..., Tensor]) -> None:
    torus = Torus(20, 2, 0.7, window, causal)
    q, k, v = (draw(2, 2, 17, 2, 4, grad=True) for _ in range(3))
    padding = draw(2, 17) < -0.5
    for hidden in (None, padding):
        o, dense = (
            ring_attention(q, k, v, torus, Layout(17), padding=hidden, block=block),
            dense_attention(q, k, v, torus, padding=hidden),
        )
        torch.testing.assert_close(o, dense, atol=1e-12, rtol=0)
        g = draw(*o.shape)
        for a, b in zip(torch.autograd.grad(o, (q, k, v), g), torch.autograd.grad(dense, (q, k, v), g), strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


@pytest.mark.parametrize("world", [2, 4, 8])
def test_balance_gives_every_process_the_same_work(world: int) -> None:
    torus = Torus(1024, 1, causal=True)
    members = Members(0, world)
    balanced = [tiles_of(plan(1024 // world, members, torus, True), torus, rank, 8) for rank in range(world)]
    lopsided = [tiles_of(plan(1024 // world, members, torus, False), torus, rank, 8) for rank in range(world)]
    assert len(set(balanced)) == 1
    assert sum(balanced) == sum(lopsided)
    assert max(lopsided) > 1.4 * max(balanced)


def test_balance_needs_an_even_share(attention: Callable[[str], Component]) -> None:
    module = attention("toroidal_ring").build(DIMS)
    module.check_spread(4, 2)
    with pytest.raises(
        BadInput, match=r"^balance: expected an even number of positions per process, got 5; or set it to"
    ):
        module.check_spread(5, 2)
    attention("toroidal_ring").build(DIMS, balance=False).check_spread(5, 2)


def test_what_a_ring_cannot_do_gets_one_clear_line(
    attention: Callable[[str], Component], draw: Callable[..., Tensor]
) -> None:
    with pytest.raises(BadInput, match=r"model.dropout: expected 0 with toroidal_ring"):
        attention("toroidal_ring").build(Dims(width=32, heads=2, max_len=24, vocab_size=8, dropout=0.1))
    module = attention("toroidal_ring").build(DIMS)
    x = draw(1, 8, 32, dtype=torch.float32)
    with pytest.raises(BadInput, match="toroidal_ring takes padding, but no mask of the batch"):
        module(x, Context(), torch.ones(8, 8, dtype=torch.bool))
    module.want = frozenset({"attention"})
    with pytest.raises(BadInput, match="each process sees a part of the sequence only"):
        module(x, Context(group=object()))
