"""What the operators count as, against the operations of their forms in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lot.model.operations import OperationCounter
from lot_lattice.kernels import lattice_scan, mean_field, operators
from lot_lattice.ops.dynamics import lattice_scan_eager, mean_field_eager

FORMS = {"lattice_scan": (lattice_scan, lattice_scan_eager), "mean_field": (mean_field, mean_field_eager)}


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


def counted(function: Callable[[], object]) -> int:
    with OperationCounter() as counter:
        function()
    assert not counter.uncounted
    return counter.total


def both(form: Callable[..., Tensor], inputs: tuple[object, ...]) -> tuple[int, int]:
    """Operations of forward and of backward."""
    with OperationCounter() as counter:
        y = form(*inputs)
    ones = torch.ones_like(y)
    return counter.total, counted(lambda: y.backward(ones))


@pytest.mark.parametrize("substeps", [1, 3])
@pytest.mark.parametrize(("B", "H", "T"), [(2, 4, 16), (3, 9, 70)])
def test_the_scan_counts_what_its_form_in_pytorch_does(
    B: int, H: int, T: int, substeps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOT_KERNELS", "off")
    inputs = (draw(B, H, T), draw(H), draw(H), draw(H, H), draw(H), 0.1, substeps)
    y = lattice_scan(*inputs)
    plain = [x.detach() if isinstance(x, Tensor) else x for x in inputs]
    saved = (y.detach(), plain[0] if substeps > 1 else None, *plain[1:])
    forward = counted(lambda: operators._scan(*plain))
    backward = counted(lambda: operators._scan_backward(torch.ones_like(y), *saved))
    assert both(lattice_scan, inputs) == (forward, backward)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("iterations", [1, 4])
def test_the_mean_field_counts_what_its_form_in_pytorch_does(
    iterations: int, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To 2 %: what is done once for each head or token is left out."""
    monkeypatch.setenv("LOT_KERNELS", "off")
    inputs = (draw(2, 4, 48, 8), draw(4, 8), draw(4), 0.1, iterations, causal)
    plain = [x.detach() if isinstance(x, Tensor) else x for x in inputs]
    y, sums = operators._field(*plain)
    forward = counted(lambda: operators._field(*plain))
    backward = counted(lambda: operators._field_backward(torch.ones_like(y), *plain[:3], sums, *plain[3:]))
    assert both(mean_field, inputs) == (pytest.approx(forward, rel=0.02), pytest.approx(backward, rel=0.02))


@pytest.mark.parametrize("name", FORMS)
def test_forward_agrees_with_an_independent_form_and_backward_is_of_its_size(name: str) -> None:
    inputs = (
        (draw(2, 8, 40), draw(8), draw(8), draw(8, 8), draw(8), 0.1, 1)
        if name == "lattice_scan"
        else (draw(2, 4, 48, 8), draw(4, 8), draw(4), 0.1, 4, True)
    )
    (forward, backward), (eager_forward, eager_backward) = (both(form, inputs) for form in FORMS[name])
    assert forward == pytest.approx(eager_forward, rel=0.05)
    assert 0.5 < backward / eager_backward < 2, "autograd keeps what the operator computes again, and adds up more"


def test_torchs_own_counter_sees_the_operators() -> None:
    inputs = (draw(2, 8, 40), draw(8), draw(8), draw(8, 8), draw(8), 0.1, 1)
    with FlopCounterMode(display=False) as counter:
        lattice_scan(*inputs).sum().backward()
    assert counter.get_total_flops() == sum(
        counted_by(name) for name in ("lot_lattice.lattice_scan", "lot_lattice.lattice_scan_backward")
    )


def counted_by(name: str) -> int:
    with OperationCounter() as counter:
        lattice_scan(draw(2, 8, 40), draw(8), draw(8), draw(8, 8), draw(8), 0.1, 1).sum().backward()
    return counter.by_operator[name]
