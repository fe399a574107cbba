"""Operations are counted by one rule: each number here is worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import flop_registry, register_flop_formula

from lot.model.operations import OperationCounter


def count(function: Callable[[], object]) -> int:
    with OperationCounter() as counter:
        function()
    assert not counter.uncounted
    return counter.total


A, B, V = torch.randn(4, 6), torch.randn(6, 5), torch.randn(6)
CASES: list[tuple[str, Callable[[], object], int]] = [
    ("matrix product", lambda: A @ B, 2 * 4 * 6 * 5),
    ("with a vector", lambda: A @ V, 2 * 4 * 6),
    ("of vectors", lambda: V @ V, 2 * 6),
    ("batched, broadcast", lambda: A.expand(3, 4, 6) @ B, 3 * 2 * 4 * 6 * 5),
    ("linear map with bias", lambda: F.linear(A, B.t(), V[:5]), 2 * 4 * 6 * 5 + 20),
    ("complex product", lambda: A.to(torch.complex64) @ B.to(torch.complex64), 8 * 4 * 6 * 5),
    ("added in place", lambda: torch.zeros(1, 4, 5).baddbmm_(A[None], B[None]), 2 * 4 * 6 * 5 + 20),
    ("elementwise, whatever it is", lambda: (A.sin() + A * A).exp(), 4 * 24),
    ("broadcast", lambda: A + V, 24),
    ("two at once", lambda: torch.addcmul(A, A, A), 2 * 24),
    ("in place, and out", lambda: torch.sin(A, out=torch.empty(4, 6)).mul_(2.0), 2 * 24),
    ("sum", lambda: A.sum(0), 24),
    ("running sum", lambda: A.cumsum(1), 24),
    ("softmax", lambda: A.softmax(-1), 5 * 24),
    ("layer norm", lambda: F.layer_norm(A, (6,), V, V), 7 * 24),
    ("FFT", lambda: torch.fft.rfft(torch.randn(3, 16)), 3 * 160),
    ("back", lambda: torch.fft.irfft(torch.randn(3, 9, dtype=torch.complex64)), 3 * 160),
    ("complex FFT", lambda: torch.fft.fft(torch.randn(3, 16, dtype=torch.complex64)), 3 * 320),
    (
        "nothing",
        lambda: (A.clone().t().reshape(-1)[:3], A > 0, A.masked_fill(A > 0, 0.0), torch.randn(3), A.double()),
        0,
    ),
]


@pytest.mark.parametrize(("function", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("inference", [False, True])
def test_each_kind_of_operation(function: Callable[[], object], expected: int, inference: bool) -> None:
    with torch.inference_mode(inference):
        assert count(function) == expected


@pytest.mark.parametrize("causal", [False, True])
def test_fused_attention_counts_as_its_parts_do(causal: bool) -> None:
    """Forward: two products and six operations for each score. Backward: five products."""
    b, h, t, d = 2, 3, 16, 8
    q, k, v = (torch.randn(b, h, t, d, requires_grad=True) for _ in range(3))

    def fused() -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def plain() -> Tensor:
        return (q @ k.transpose(-1, -2) / d**0.5).softmax(-1) @ v

    scores = b * h * t * t
    assert count(fused) == scores * (4 * d + 6) == count(plain)
    with OperationCounter() as counter:
        fused().backward(torch.ones(b, h, t, d))
    backward = sum(n for name, n in counter.by_operator.items() if name.endswith("backward"))
    assert backward == scores * (10 * d + 6)


def test_backward_of_a_linear_map_is_two_products() -> None:
    weight, x = torch.randn(6, 5, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    y = x @ weight
    assert count(lambda: y.backward(torch.ones(4, 5))) == 2 * 2 * 4 * 6 * 5


def test_an_operator_of_a_plugin_counts_what_its_formula_says_and_is_named_without_one() -> None:
    @torch.library.custom_op("lot_core_tests::twice", mutates_args=())
    def twice(x: Tensor) -> Tensor:
        return 2 * x

    with OperationCounter() as counter:
        twice(A)
    assert (counter.total, counter.uncounted) == (0, {"lot_core_tests.twice"})
    register_flop_formula(torch.ops.lot_core_tests.twice)(lambda x_shape, **_: 7 * x_shape[0])
    try:
        with OperationCounter() as counter:
            twice(A)
    finally:
        del flop_registry[torch.ops.lot_core_tests.twice]
    assert dict(counter.by_operator) == {"lot_core_tests.twice": 28}
    assert not counter.uncounted
