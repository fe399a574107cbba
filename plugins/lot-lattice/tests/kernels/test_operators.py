"""The operators, in both forms: compiled (skipped where nothing can be compiled) and in PyTorch.

The file is long because every form runs the same sizes, which the fixtures at its head choose.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lot_lattice.kernels import lattice_scan, mean_field, toolchain
from lot_lattice.kernels.build import built
from lot_lattice.ops.dynamics import lattice_scan_eager, lattice_scan_reference, mean_field_eager, mean_field_reference

compiled_only = pytest.mark.skipif(
    toolchain.cxx() is None and built(toolchain.levels()[-1]) is None,
    reason="there is no C++ compiler, and no library in the cache",
)
LEVELS = [pytest.param(level, marks=compiled_only) for level in toolchain.LEVELS]
FORMS = ["torch", pytest.param("float64", marks=compiled_only), *LEVELS]


@pytest.fixture(params=FORMS)
def form(request, monkeypatch) -> torch.dtype:
    """Each form of the operators that this machine can run; the dtype to try it with, float64 but for instruction sets."""
    use(request.param, monkeypatch)
    return torch.float32 if request.param in toolchain.LEVELS else torch.float64


@pytest.fixture(params=["torch", *LEVELS])
def single(request, monkeypatch) -> None:
    """Each form of the operators in float32."""
    use(request.param, monkeypatch)


@pytest.fixture(params=LEVELS)
def compiled(request, monkeypatch) -> None:
    """Each instruction set of the compiled form, in float32."""
    use(request.param, monkeypatch)


@pytest.fixture(params=["torch", pytest.param("best", marks=compiled_only)])
def either(request, monkeypatch) -> None:
    """The form in PyTorch, and the compiled one as it runs here: for what no instruction set can change."""
    use(request.param, monkeypatch)


def use(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOT_KERNELS", "off" if name == "torch" else "require")
    if name in toolchain.LEVELS:
        if name not in toolchain.levels():
            pytest.skip(f"this processor has no {name}")
        monkeypatch.setattr(toolchain, "levels", lambda: (name,))


def scan_arguments(
    make, B: int, H: int, T: int, dtype=torch.float64, inside: str = "time", shared: bool = False
) -> list[Tensor]:
    """Arguments of a scan: a stencil with zeros in it, heads or time inside, omega and theta0 with or without a batch."""
    drive = make.normal(B, H, T) if inside == "time" else make.normal(B, T, H).transpose(1, 2)
    row = (H,) if shared else (B, H)
    stencil = torch.rand(H, H, generator=make.generator) < 0.6
    weights = torch.rand(H, H, generator=make.generator, dtype=torch.float64) * stencil
    arguments = [drive, make.normal(*row), 0.5 * make.normal(H), weights, math.pi * make.normal(*row)]
    return [tensor.to(dtype) for tensor in arguments]


def calm(arguments: list[Tensor]) -> list[Tensor]:
    """Coupling that attracts, and weakly: else the dynamics is chaotic, and any two ways to round drift apart."""
    arguments[2].abs_().mul_(0.3)
    return arguments


def field_arguments(
    make, B: int, H: int, T: int, N: int, dtype=torch.float64, inside: str = "time", shared: bool = False
) -> list[Tensor]:
    """Arguments of a mean field; N oscillators; the phases laid out as (B, H, T, N) or, with heads inside time, as (B, T, H, N)."""
    theta0 = make.normal(B, H, T, N) if inside == "time" else make.normal(B, T, H, N).transpose(1, 2)
    omega = make.normal(H, N) if shared else make.normal(B, H, N)
    return [tensor.to(dtype) for tensor in (2 * theta0, omega, make.normal(H))]


def gradients(function, arguments: list[Tensor], grad: Tensor) -> list[Tensor]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in arguments]
    return list(torch.autograd.grad(function(*leaves), leaves, grad.to(leaves[0].dtype)))


def assert_same(got: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    """Equal up to `tolerance`, relative to the largest entry of what is wanted (or to 1)."""
    for n, (a, b) in enumerate(zip(got, wanted, strict=True)):
        error = (a.double() - b.double()).abs().max().item() / max(1.0, b.abs().max().item())
        assert a.shape == b.shape
        assert error <= tolerance, f"result {n} differs by {error:.1e}"


SCANS = [
    (1, 1, 1),
    (1, 16, 37),
    (3, 5, 17),
    (2, 12, 130),
    (33, 3, 9),
    (5, 40, 21),
    (17, 1, 3),
    (40, 8, 33),
    (2, 256, 3),
]
FIELDS = [(1, 1, 1, 1), (2, 3, 70, 5), (1, 2, 150, 33), (1, 1, 130, 1), (9, 4, 40, 32)]


# --------------------------------------------------------------------------------- values and gradients


@pytest.mark.parametrize("inside", ["time", "heads"])
@pytest.mark.parametrize("size", SCANS, ids=str)
def test_lattice_scan_and_its_gradients_equal_the_reference(form, make, size, inside) -> None:
    arguments = calm(scan_arguments(make, *size, dtype=form, inside=inside))
    exact, grad = [tensor.double() for tensor in arguments], make.normal(*size)
    to_value, to_gradient = (1e-11, 1e-9) if form == torch.float64 else (5e-5, 5e-4)
    assert_same([lattice_scan(*arguments, 0.1)], [lattice_scan_reference(*exact, 0.1)], to_value)
    got = gradients(lambda *a: lattice_scan(*a, 0.1), arguments, grad)
    assert_same(got, gradients(lambda *a: lattice_scan_eager(*a, 0.1), exact, grad), to_gradient)


@pytest.mark.parametrize("substeps", [2, 5])
def test_substeps_equal_the_reference(either, make, substeps) -> None:
    arguments = scan_arguments(make, 3, 4, 11, inside="heads", shared=True)
    grad = make.normal(3, 4, 11)
    wanted = gradients(lambda *a: lattice_scan_reference(*a, 0.3, substeps), arguments, grad)
    assert_same([lattice_scan(*arguments, 0.3, substeps)], [lattice_scan_reference(*arguments, 0.3, substeps)], 1e-11)
    assert_same(gradients(lambda *a: lattice_scan(*a, 0.3, substeps), arguments, grad), wanted, 1e-9)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("iterations", [1, 3, 20])
@pytest.mark.parametrize("size", FIELDS, ids=str)
def test_mean_field_and_its_gradients_equal_the_reference(form, make, size, iterations, causal) -> None:
    inside = "heads" if iterations == 3 else "time"
    arguments = field_arguments(make, *size, dtype=form, inside=inside, shared=causal)
    exact, grad = [tensor.double() for tensor in arguments], make.normal(*size)
    to_value, to_gradient = (1e-11, 1e-9) if form == torch.float64 else (5e-5, 5e-4)
    wanted = mean_field_eager(*exact, 0.1, iterations, causal)
    assert_same([mean_field(*arguments, 0.1, iterations, causal)], [wanted], to_value)
    got = gradients(lambda *a: mean_field(*a, 0.1, iterations, causal), arguments, grad)
    assert_same(got, gradients(lambda *a: mean_field_eager(*a, 0.1, iterations, causal), exact, grad), to_gradient)


def test_the_prefix_sum_form_equals_all_pairs_of_tokens(either, make) -> None:
    arguments = field_arguments(make, 2, 2, 19, 3)
    for causal in (True, False):
        wanted = mean_field_reference(*arguments, 0.2, 4, causal)
        assert_same([mean_field(*arguments, 0.2, 4, causal)], [wanted], 1e-11)


def test_gradients_pass_gradcheck(either, make) -> None:
    scan = [tensor.requires_grad_() for tensor in scan_arguments(make, 2, 3, 5)]
    field = [tensor.requires_grad_() for tensor in field_arguments(make, 2, 2, 40, 2)]
    assert torch.autograd.gradcheck(lambda *a: lattice_scan(*a, 0.2, 2), scan)
    for causal in (True, False):
        assert torch.autograd.gradcheck(lambda *a, c=causal: mean_field(*a, 0.2, 3, c), field)


# --------------------------------------------------------------------------------------------- float32


@pytest.mark.parametrize("together", [1, 32])
@pytest.mark.parametrize("H", [8, 12, 40])
def test_float32_scan_is_within_2e_5_of_float64(single, make, H, together) -> None:
    """In nine of ten sequences at least: some phases sit where any two ways to round drift apart."""
    drive, omega, coupling, weights, theta0 = calm(scan_arguments(make, 32, H, 64, dtype=torch.float32))
    weights *= 6 / H
    exact = lattice_scan_eager(*(x.double() for x in (drive, omega, coupling, weights, theta0)), 0.1)
    pieces = [slice(n, n + together) for n in range(0, 32, together)]
    got = torch.cat([lattice_scan(drive[n], omega[n], coupling, weights, theta0[n], 0.1) for n in pieces])
    assert (got - exact).abs().amax((1, 2)).quantile(0.9).item() <= 2e-5


def test_over_many_tokens_float32_errs_at_most_twice_as_much_as_an_eager_loop(single, make) -> None:
    arguments = [
        0.3 * make.normal(32, 6, 1000),
        0.3 * make.normal(6),
        torch.full((6,), 0.5),
        torch.ones(6, 6),
        make.normal(6),
    ]
    single = [tensor.float() for tensor in arguments]
    exact = lattice_scan_eager(*(tensor.double() for tensor in single), 0.1)
    plain = (lattice_scan_eager(*single, 0.1) - exact).square().mean().sqrt().item()
    assert (lattice_scan(*single, 0.1) - exact).square().mean().sqrt().item() <= max(1e-5, 2 * plain)


def test_float32_mean_field_stays_accurate_over_many_tokens(compiled, make) -> None:
    arguments = field_arguments(make, 1, 1, 9000, 2, dtype=torch.float32)
    arguments[2].abs_()
    exact = mean_field_eager(*(tensor.double() for tensor in arguments), 0.1, 5)
    plain = (mean_field_eager(*arguments, 0.1, 5) - exact).abs().max().item()
    assert (mean_field(*arguments, 0.1, 5) - exact).abs().max().item() <= max(2e-5, 2 * plain)
    grad = make.normal(*arguments[0].shape)
    wanted = gradients(lambda *a: mean_field_eager(*a, 0.1, 5), [tensor.double() for tensor in arguments], grad)
    assert_same(gradients(lambda *a: mean_field(*a, 0.1, 5), arguments, grad), wanted, 2e-5)


def test_float32_gradients_of_a_mean_field_that_scatters_are_those_of_float64(compiled, make) -> None:
    """The walk back takes tokens out of sums again; where phases repel each other, its errors would grow."""
    arguments = field_arguments(make, 1, 4, 256, 16, dtype=torch.float32)
    arguments[2].fill_(-2.0)
    grad = make.normal(1, 4, 256, 16)
    exact = gradients(lambda *a: mean_field_eager(*a, 0.1, 20), [tensor.double() for tensor in arguments], grad)
    assert_same(gradients(lambda *a: mean_field(*a, 0.1, 20), arguments, grad), exact, 2e-4)


@pytest.mark.parametrize("size", [1e3, 6.5e4, 1e6, 1e12, 3e38])
def test_angles_of_any_size_stay_angles(compiled, make, size) -> None:
    """One step without drive moves a phase by no more than its coupling, however many turns it has made."""
    theta0 = (size * (0.5 + 0.5 * torch.rand(20, 6, generator=make.generator, dtype=torch.float64))).float()
    zero = torch.zeros(20, 6, 1)
    got = lattice_scan(zero, torch.zeros(6), torch.ones(6), torch.ones(6, 6), theta0, 1.0)
    exact = lattice_scan_reference(
        *(x.double() for x in (zero, torch.zeros(6), torch.ones(6), torch.ones(6, 6), theta0)), 1.0
    )
    rounding = 2 * (theta0.nextafter(torch.tensor(math.inf)) - theta0).max().item()
    assert (got - exact).abs().max().item() <= (1e-5 if size <= 1e9 else 12.0) + rounding


# --------------------------------------------------------------------------------- what must hold besides values


def test_nothing_before_a_changed_token_changes_a_bit(form, make) -> None:
    for size in ((1, 16, 40), (20, 4, 40)):
        arguments = scan_arguments(make, *size, dtype=form)
        other = [arguments[0].clone(), *arguments[1:]]
        other[0][..., 23:] = 1000 * make.normal(*size)[..., 23:]
        a, b = lattice_scan(*arguments, 0.1), lattice_scan(*other, 0.1)
        assert torch.equal(a[..., :23], b[..., :23])
        assert not torch.equal(a[..., 23:], b[..., 23:])
    arguments = field_arguments(make, 2, 3, 140, 5, dtype=form)
    other = [arguments[0].clone(), *arguments[1:]]
    other[0][:, :, 71:] = make.normal(2, 3, 69, 5)
    a, b = mean_field(*arguments, 0.1, 3), mean_field(*other, 0.1, 3)
    assert torch.equal(a[:, :, :71], b[:, :, :71])
    assert not torch.equal(a[:, :, 71:], b[:, :, 71:])


def test_no_gradient_reaches_back_from_earlier_outputs(either, make) -> None:
    grad = make.normal(3, 4, 30)
    grad[..., 12:] = 0
    drive = gradients(lambda *a: lattice_scan(*a, 0.1), scan_arguments(make, 3, 4, 30), grad)[0]
    assert drive[..., 12:].abs().max() == 0
    assert drive[..., :12].abs().min() > 0
    grad = make.normal(2, 2, 100, 3)
    grad[:, :, 37:] = 0
    theta0 = gradients(lambda *a: mean_field(*a, 0.1, 2), field_arguments(make, 2, 2, 100, 3), grad)[0]
    assert theta0[:, :, 37:].abs().max() == 0


def test_a_sequence_does_not_depend_on_its_neighbors_in_the_batch(single, make) -> None:
    arguments = scan_arguments(make, 20, 5, 12, dtype=torch.float32, shared=True)
    other = [arguments[0].clone(), *arguments[1:]]
    other[0][3] = math.nan
    a, b = lattice_scan(*arguments, 0.1), lattice_scan(*other, 0.1)
    keep = torch.arange(20) != 3
    assert torch.equal(a[keep], b[keep])
    assert b[3].isnan().all()


@pytest.mark.parametrize("poison", [math.nan, math.inf])
@pytest.mark.parametrize("which", range(5))
def test_nan_in_gives_nan_out_of_the_scan(single, make, which, poison) -> None:
    arguments = scan_arguments(make, 2, 3, 20, dtype=torch.float32)
    arguments[3][:] = 1.0
    arguments[which].view(-1)[0] = poison
    grad = gradients(lambda *a: lattice_scan(*a, 0.1), arguments, torch.ones(2, 3, 20))
    assert lattice_scan(*arguments, 0.1)[0, :, -1].isnan().all()
    assert grad[0][0].isnan().any()


def test_nan_in_gives_nan_out_of_the_mean_field(single, make) -> None:
    for causal in (True, False):
        arguments = field_arguments(make, 1, 2, 70, 3, dtype=torch.float32)
        arguments[0][0, 1, 5, 2] = math.nan
        theta = mean_field(*arguments, 0.1, 2, causal)
        assert theta[0, 1, 5:, 2].isnan().all()
        assert theta[0, 0].isfinite().all()
        assert theta[0, 1, :, :2].isfinite().all()


@compiled_only
def test_both_forms_give_the_same(make, monkeypatch) -> None:
    scan, field = (
        calm(scan_arguments(make, 3, 6, 20, dtype=torch.float32)),
        field_arguments(make, 2, 2, 90, 4, dtype=torch.float32),
    )
    found = []
    for value in ("off", "require"):
        monkeypatch.setenv("LOT_KERNELS", value)
        found.append(
            [
                lattice_scan(*scan, 0.1),
                mean_field(*field, 0.1, 3),
                *torch.ops.lot_lattice.mean_field(*field, 0.1, 3, True),
            ]
        )
    assert_same(found[0], found[1], 1e-5)


def test_saved_memory_is_below_1_2_of_the_phases_whatever_the_iterations(either, make) -> None:
    for T, iterations in ((256, 10), (256, 50), (64, 10), (300, 1), (2000, 3)):
        arguments = [tensor.requires_grad_() for tensor in field_arguments(make, 2, 4, T, 32, dtype=torch.float32)]
        saved: dict[int, int] = {}

        def keep(tensor: Tensor, saved=saved) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            theta = mean_field(*arguments, 0.1, iterations)
        assert sum(saved.values()) <= 1.2 * theta.untyped_storage().nbytes(), (T, iterations)


def test_a_second_derivative_is_refused(either, make) -> None:
    scan = [tensor.requires_grad_() for tensor in scan_arguments(make, 2, 3, 4)]
    field = [tensor.requires_grad_() for tensor in field_arguments(make, 1, 1, 4, 2)]
    for name, theta, leaf in (
        ("lattice_scan", lattice_scan(*scan, 0.1), scan[0]),
        ("mean_field", mean_field(*field, 0.1, 2), field[0]),
    ):
        (first,) = torch.autograd.grad(theta.square().sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match=f"^{name} is differentiable once"):
            first.sum().backward()


def test_autocast_computes_in_float32(either, make) -> None:
    scan, field = scan_arguments(make, 2, 3, 6), field_arguments(make, 1, 2, 6, 2)
    halves = [tensor.bfloat16() for tensor in scan], [tensor.bfloat16() for tensor in field]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        a, b = lattice_scan(*halves[0], 0.1), mean_field(*halves[1], 0.1, 2)
    assert torch.equal(a, lattice_scan(*(tensor.float() for tensor in halves[0]), 0.1))
    assert torch.equal(b, mean_field(*(tensor.float() for tensor in halves[1]), 0.1, 2))


# ------------------------------------------------------------------------------- as operators of torch


def test_the_operators_pass_opcheck(either, make) -> None:
    scan, field = torch.ops.lot_lattice.lattice_scan.default, torch.ops.lot_lattice.mean_field.default
    arguments = [t.requires_grad_() for t in calm(scan_arguments(make, 2, 3, 5, dtype=torch.float32, inside="heads"))]
    torch.library.opcheck(scan, (*arguments, 0.1, 1))
    torch.library.opcheck(scan, (*(t.detach() for t in arguments), 0.1, 3))
    arguments = [t.requires_grad_() for t in field_arguments(make, 2, 3, 90, 4, dtype=torch.float32, inside="heads")]
    torch.library.opcheck(field, (*arguments, 0.1, 2, True))
    torch.library.opcheck(field, (*(t.detach() for t in arguments), 0.1, 2, False))


def both(drive: Tensor, omega: Tensor, coupling: Tensor, weights: Tensor, theta0: Tensor) -> Tensor:
    """A model in small: both operators, and something before and after them."""
    phases = lattice_scan(2 * drive, omega, coupling, weights, theta0, 0.1)
    field = mean_field(torch.stack((phases, drive), -1), torch.stack((omega, coupling), -1), coupling, 0.1, 2)
    return field.cos().sum(-1)


def test_torch_compile_takes_them_whole_with_any_number_of_tokens(either, make) -> None:
    torch._dynamo.reset()
    run = torch.compile(both, fullgraph=True, dynamic=True, backend="aot_eager")
    for T in (7, 30, 90):
        arguments = scan_arguments(make, 2, 4, T, dtype=torch.float32, shared=True)
        grad = make.normal(2, 4, T)
        assert_same([run(*arguments)], [both(*arguments)], 1e-6)
        assert_same(gradients(run, arguments, grad), gradients(both, arguments, grad), 1e-6)


def test_torch_export_takes_them_with_any_number_of_tokens(either, make) -> None:
    class Both(torch.nn.Module):
        def forward(self, drive, omega, coupling, weights, theta0):
            return both(drive, omega, coupling, weights, theta0)

    arguments = tuple(scan_arguments(make, 2, 4, 30, dtype=torch.float32, shared=True))
    tokens = torch.export.Dim("tokens", min=2, max=4096)
    program = torch.export.export(Both(), arguments, dynamic_shapes=({2: tokens}, None, None, None, None))
    longer = scan_arguments(make, 2, 4, 77, dtype=torch.float32, shared=True)
    assert_same([program.module()(*longer)], [both(*longer)], 1e-6)
