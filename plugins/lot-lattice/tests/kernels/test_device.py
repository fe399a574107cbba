"""The code of the device, run by the host lane by lane in any order, and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lot_lattice.kernels import build, dispatch as native, lattice_scan, mean_field, operators, toolchain
from lot_lattice.ops.dynamics import lattice_scan_eager, mean_field_eager

SCANS = [(1, 1, 1), (5, 3, 21), (3, 12, 18), (2, 13, 9), (1, 32, 5), (35, 1, 4), (2, 40, 6), (1, 256, 2)]
FIELDS = [(1, 1, 1, 1), (2, 3, 70, 5), (1, 1, 130, 2), (1, 2, 40, 33)]


@pytest.fixture(scope="session")
def emulated() -> Any:
    """The operators of the emulated device."""
    if toolchain.cxx() is None:
        pytest.skip("there is no C++ compiler")
    torch.ops.load_library(str(build.library("emulated")))
    return torch.ops.lot_lattice_emulated


@pytest.fixture
def on_emulator(emulated, monkeypatch) -> Iterator[Any]:
    """The public operators, computing on the emulated device."""
    monkeypatch.setattr(operators, "kernels", lambda _device: emulated)
    yield emulated
    emulated.shuffle(-1)


def scan_arguments(make, B: int, H: int, T: int) -> list[Tensor]:
    weights = make.normal(H, H).abs() * (torch.rand(H, H, generator=make.generator) < 0.6)
    return [make.normal(B, H, T), make.normal(B, H), 0.15 * make.normal(H).abs(), weights, 3 * make.normal(B, H)]


def field_arguments(make, B: int, H: int, T: int, N: int) -> list[Tensor]:
    return [2 * make.normal(B, H, T, N), make.normal(B, H, N), make.normal(H)]


def values_and_gradients(function, arguments: list[Tensor], grad: Tensor) -> list[Tensor]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in arguments]
    theta = function(*leaves)
    return [theta.detach(), *torch.autograd.grad(theta, leaves, grad.to(theta.dtype))]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 3e-5)])
@pytest.mark.parametrize("size", SCANS, ids=str)
def test_the_scan_of_the_device_equals_the_eager_form(on_emulator, make, size, dtype, tolerance) -> None:
    arguments, grad = scan_arguments(make, *size), make.normal(*size)
    wanted = values_and_gradients(lambda *a: lattice_scan_eager(*a, 0.1), arguments, grad)
    got = values_and_gradients(lambda *a: lattice_scan(*a, 0.1), [tensor.to(dtype) for tensor in arguments], grad)
    for a, b in zip(got, wanted, strict=True):
        assert (a - b).abs().max() <= tolerance * max(1.0, b.abs().max().item())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 3e-5)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("iterations", [1, 3, 7])
@pytest.mark.parametrize("size", FIELDS, ids=str)
def test_the_mean_field_of_the_device_equals_the_eager_form(
    on_emulator, make, size, iterations, causal, dtype, tolerance
) -> None:
    arguments, grad = field_arguments(make, *size), make.normal(*size)
    wanted = values_and_gradients(lambda *a: mean_field_eager(*a, 0.1, iterations, causal), arguments, grad)
    single = [tensor.to(dtype) for tensor in arguments]
    got = values_and_gradients(lambda *a: mean_field(*a, 0.1, iterations, causal), single, grad)
    for a, b in zip(got, wanted, strict=True):
        assert (a - b).abs().max() <= tolerance * max(1.0, b.abs().max().item())


def test_what_tries_a_device_out_is_a_scan(emulated) -> None:
    native._try_out(emulated, torch.device("cpu"))
    with pytest.raises(RuntimeError):
        native._try_out(emulated, torch.device("meta"))


@pytest.mark.parametrize("size", SCANS, ids=str)
def test_the_order_of_the_lanes_changes_no_bit_of_the_scan(on_emulator, make, size) -> None:
    arguments, grad = [tensor.float() for tensor in scan_arguments(make, *size)], make.normal(*size)
    found = []
    for seed in (-1, 1, 2, 3):
        on_emulator.shuffle(seed)
        found.append(values_and_gradients(lambda *a: lattice_scan(*a, 0.1), arguments, grad))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("size", FIELDS, ids=str)
def test_the_order_of_the_lanes_changes_no_bit_of_the_mean_field_over_all_tokens(on_emulator, make, size) -> None:
    arguments, grad = [tensor.float() for tensor in field_arguments(make, *size)], make.normal(*size)
    found = []
    for seed in (-1, 1, 2, 3):
        on_emulator.shuffle(seed)
        found.append(values_and_gradients(lambda *a: mean_field(*a, 0.1, 3, causal=False), arguments, grad))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


# ------------------------------------------------------------------------------------------------- on a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
class TestOnAGpu:
    """What the emulated device shows, and what it cannot, on a real one."""

    @pytest.fixture(autouse=True)
    def _compiled(self, monkeypatch) -> None:
        if toolchain.nvcc() is None and build.built("cuda") is None:
            pytest.skip("there is no nvcc")
        monkeypatch.setenv("LOT_KERNELS", "require")

    # More tokens would be chaos: any two ways to round drift apart.
    @pytest.mark.parametrize("size", [*SCANS, (3, 32, 60), (40, 16, 60), (2, 100, 20), (1, 256, 5)], ids=str)
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-3)])
    def test_the_scan_equals_the_eager_form(self, make, size, dtype, tolerance) -> None:
        arguments, grad = scan_arguments(make, *size), make.normal(*size)
        wanted = values_and_gradients(lambda *a: lattice_scan_eager(*a, 0.1), arguments, grad)
        for inside in ("time", "heads"):
            on_gpu = [tensor.to("cuda", dtype) for tensor in arguments]
            if inside == "heads":
                on_gpu[0] = on_gpu[0].transpose(1, 2).contiguous().transpose(1, 2)
            got = values_and_gradients(lambda *a: lattice_scan(*a, 0.1), on_gpu, grad.cuda())
            for a, b in zip(got, wanted, strict=True):
                assert (a.cpu() - b).abs().max() <= tolerance * max(1.0, b.abs().max().item())

    @pytest.mark.parametrize("size", [*FIELDS, (9, 4, 300, 32)], ids=str)
    @pytest.mark.parametrize("iterations", [1, 2, 3, 7, 10, 16, 20])
    @pytest.mark.parametrize("causal", [True, False])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
    def test_the_mean_field_equals_the_eager_form(self, make, size, iterations, causal, dtype, tolerance) -> None:
        arguments, grad = field_arguments(make, *size), make.normal(*size)
        wanted = values_and_gradients(lambda *a: mean_field_eager(*a, 0.1, iterations, causal), arguments, grad)
        on_gpu = [tensor.to("cuda", dtype) for tensor in arguments]
        got = values_and_gradients(lambda *a: mean_field(*a, 0.1, iterations, causal), on_gpu, grad.cuda())
        for a, b in zip(got, wanted, strict=True):
            assert (a.cpu() - b).abs().max() <= tolerance * max(1.0, b.abs().max().item())

    def test_nothing_before_a_changed_token_changes_a_bit(self, make) -> None:
        for size in ((5, 12, 40), (2, 50, 40)):
            arguments = [tensor.float().cuda() for tensor in scan_arguments(make, *size)]
            other = [arguments[0].clone(), *arguments[1:]]
            other[0][..., 23:] = 1000.0
            assert torch.equal(lattice_scan(*arguments, 0.1)[..., :23], lattice_scan(*other, 0.1)[..., :23])
        arguments = [tensor.float().cuda() for tensor in field_arguments(make, 2, 3, 140, 5)]
        other = [arguments[0].clone(), *arguments[1:]]
        other[0][:, :, 71:] = 1.0
        assert torch.equal(mean_field(*arguments, 0.1, 10)[:, :, :71], mean_field(*other, 0.1, 10)[:, :, :71])

    def test_they_run_on_the_current_stream(self, make) -> None:
        scan = [tensor.float().cuda() for tensor in scan_arguments(make, 3, 12, 40)]
        field = [tensor.float().cuda() for tensor in field_arguments(make, 2, 3, 40, 5)]
        wanted = lattice_scan(2 * scan[0], *scan[1:], 0.1), mean_field(2 * field[0], *field[1:], 0.1, 3)
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(100_000_000)  # what is computed on another stream comes before the doubling
            got = lattice_scan(2 * scan[0], *scan[1:], 0.1), mean_field(2 * field[0], *field[1:], 0.1, 3)
        stream.synchronize()
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))

    def test_autocast_computes_in_float32(self, make) -> None:
        scan = [tensor.half().cuda() for tensor in scan_arguments(make, 3, 12, 20)]
        with torch.autocast("cuda", torch.float16):
            got = lattice_scan(*scan, 0.1)
        assert torch.equal(got, lattice_scan(*(tensor.float() for tensor in scan), 0.1))

    @pytest.mark.filterwarnings("ignore::UserWarning")  # torch's compiler says that it computes without TF32
    def test_torch_compile_takes_them_whole(self, make) -> None:
        def both(drive, omega, coupling, weights, theta0):
            phases = lattice_scan(2 * drive, omega, coupling, weights, theta0, 0.1)
            return mean_field(phases[..., None], omega[..., None], coupling, 0.1, 3).cos()

        arguments, grad = [t.float().cuda() for t in scan_arguments(make, 3, 12, 20)], make.normal(3, 12, 20, 1).cuda()
        got = values_and_gradients(torch.compile(both, fullgraph=True), arguments, grad)
        for a, b in zip(got, values_and_gradients(both, arguments, grad), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)

    def test_nan_in_gives_nan_out_of_that_sequence_only(self, make) -> None:
        arguments = [tensor.float().cuda() for tensor in scan_arguments(make, 6, 12, 40)]
        arguments[0][2, :, 7] = float("nan")
        theta = lattice_scan(*arguments, 0.1)
        assert theta[2, :, 7:].isnan().all()
        assert theta[:2].isfinite().all()
        assert theta[3:].isfinite().all()
