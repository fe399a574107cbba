"""The operators `lot_lattice::lattice_scan` and `lot_lattice::mean_field`, registered with torch.

Each has a kernel for CPU and CUDA tensors, a fake one (`torch.compile`, `torch.export`), a backward operator of its own,
and a rule for autocast: float32. They check what they are given. `dispatch` chooses what computes:
compiled kernels, or PyTorch.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

from lot_lattice.kernels import fallback
from lot_lattice.kernels.arguments import check_lattice_scan, check_mean_field
from lot_lattice.kernels.dispatch import kernels

SAVED_PER_PHASE = 12
"""Tokens of a segment for each iteration, at least: the sums that are saved are 2/12 of the phases, or less."""
SHORTEST_SEGMENT = 64
STEPS_PER_PART = 256
"""Steps that one block of the device sums up for the gradient of the weights."""

_library = torch.library.Library("lot_lattice", "FRAGMENT")
_library.define(
    "lattice_scan(Tensor drive, Tensor omega, Tensor coupling, Tensor weights, Tensor theta0, float dt, int substeps) -> Tensor"
)
_library.define(
    "lattice_scan_backward(Tensor grad, Tensor theta, Tensor? drive, Tensor omega, Tensor coupling, Tensor weights, "
    "Tensor theta0, float dt, int substeps) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    "mean_field(Tensor theta0, Tensor omega, Tensor coupling, float dt, int iterations, bool causal) -> (Tensor, Tensor)"
)
_library.define(
    "mean_field_backward(Tensor grad, Tensor theta0, Tensor omega, Tensor coupling, Tensor sums, float dt, int iterations, "
    "bool causal) -> (Tensor, Tensor, Tensor)"
)


# ----------------------------------------------------------------------------------------------- lattice scan


def _scan(
    drive: Tensor, omega: Tensor, coupling: Tensor, weights: Tensor, theta0: Tensor, dt: float, substeps: int
) -> Tensor:
    check_lattice_scan(drive, omega, coupling, weights, theta0, dt, substeps)
    theta = _like(drive)
    if substeps == 1:
        _run_scan(drive, omega, coupling, weights, theta0, dt, theta)
    else:
        theta.copy_(_substates(drive, omega, coupling, weights, theta0, dt, substeps)[..., substeps - 1 :: substeps])
    return theta


def _substates(
    drive: Tensor, omega: Tensor, coupling: Tensor, weights: Tensor, theta0: Tensor, dt: float, substeps: int
) -> Tensor:
    """The phases (B, H, T * substeps) after every substep: a scan of steps of dt / substeps with a drive that stays."""
    repeated = drive.repeat_interleave(substeps, dim=-1)
    states = _like(repeated)
    _run_scan(repeated, omega, coupling, weights, theta0, dt / substeps, states)
    return states


def _run_scan(
    drive: Tensor, omega: Tensor, coupling: Tensor, weights: Tensor, theta0: Tensor, step: float, theta: Tensor
) -> None:
    B, H, _ = drive.shape
    run = kernels(drive) or fallback
    omega, theta0 = omega.contiguous().expand(B, H), theta0.contiguous().expand(B, H)
    run.lattice_forward(_dense(drive), omega, coupling.contiguous(), weights.contiguous(), theta0, step, theta)


def _scan_fake(
    drive: Tensor, omega: Tensor, coupling: Tensor, weights: Tensor, theta0: Tensor, dt: float, substeps: int
) -> Tensor:
    check_lattice_scan(drive, omega, coupling, weights, theta0, dt, substeps)
    return _like(drive)


def _scan_backward(
    grad: Tensor,
    theta: Tensor,
    drive: Tensor | None,
    omega: Tensor,
    coupling: Tensor,
    weights: Tensor,
    theta0: Tensor,
    dt: float,
    substeps: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of drive, omega, coupling, weights and theta0. `drive` is needed for substeps only."""
    B, H, T = theta.shape
    states = theta
    if drive is not None:  # the states between tokens were not kept
        states = _substates(drive, omega, coupling, weights, theta0, dt, substeps)
        arriving = torch.zeros_like(states)
        arriving[..., substeps - 1 :: substeps] = grad
        grad = arriving
    pull = _like(states)
    rows = theta.new_empty(2, B, H)
    # The sums are spread over the device; on a CPU the kernel adds up its threads' parts by itself.
    parts = min(-(-B * states.shape[-1] // STEPS_PER_PART), 512) if theta.is_cuda else 1
    sines = theta.new_empty(parts, H, H)
    run = kernels(theta) or fallback
    step = dt / substeps
    first = theta0.contiguous().expand(B, H)
    run.lattice_backward(
        _dense(grad),
        _dense(states),
        coupling.contiguous(),
        weights.contiguous(),
        first,
        step,
        pull,
        rows[0],
        rows[1],
        sines,
    )
    total = sines.sum(0) if parts > 1 else sines[0]
    grad_drive = pull
    if drive is not None:
        grad_drive = _like(theta)
        torch.sum(pull.unflatten(-1, (T, substeps)), dim=-1, out=grad_drive)
    grad_omega, grad_theta0 = (
        row.sum(0) if given.dim() == 1 else row.clone() for row, given in ((rows[0], omega), (rows[1], theta0))
    )
    return grad_drive, grad_omega, (weights * total).sum(1), coupling[:, None] * total, grad_theta0


def _scan_backward_fake(
    grad: Tensor,
    theta: Tensor,
    drive: Tensor | None,
    omega: Tensor,
    coupling: Tensor,
    weights: Tensor,
    theta0: Tensor,
    dt: float,
    substeps: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    others = (tensor.new_empty(tensor.shape) for tensor in (omega, coupling, weights, theta0))
    return (_like(theta), *others)  # type: ignore[return-value]


def _scan_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    drive, omega, coupling, weights, theta0, ctx.dt, ctx.substeps = inputs
    ctx.save_for_backward(output, drive if ctx.substeps > 1 else None, omega, coupling, weights, theta0)


def _scan_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    found = torch.ops.lot_lattice.lattice_scan_backward(grad, *ctx.saved_tensors, ctx.dt, ctx.substeps)
    return (*found, None, None)


# ------------------------------------------------------------------------------------------------- mean field


def _field(
    theta0: Tensor, omega: Tensor, coupling: Tensor, dt: float, iterations: int, causal: bool
) -> tuple[Tensor, Tensor]:
    """The phases, and the prefix sums that the backward pass begins from, flat."""
    theta, flat = _field_fake(theta0, omega, coupling, dt, iterations, causal)
    run = kernels(theta0) or fallback
    run.mean_field_forward(
        _dense(theta0), _by_column(omega, theta0), coupling.contiguous(), dt, iterations, causal, theta,
        _by_segment(flat, theta0, iterations),
    )  # fmt: skip
    flat[-2:] = 0
    return theta, flat


def _field_fake(
    theta0: Tensor, omega: Tensor, coupling: Tensor, dt: float, iterations: int, causal: bool
) -> tuple[Tensor, Tensor]:
    check_mean_field(theta0, omega, coupling, dt, iterations)
    B, H, T, O = theta0.shape  # noqa: E741
    # A minimum of symbols while a program of any length is traced, of which torch makes no condition on the length.
    segments = torch.sym_min(T // (SAVED_PER_PHASE * iterations), -(-T // SHORTEST_SEGMENT)) if causal else 0
    # Flat and never of size 0 or 1, of which torch.compile and torch.export would make cases of their own.
    return _like(theta0), theta0.new_empty(B * H * O * 2 * iterations * segments + 2)


def _by_segment(flat: Tensor, theta0: Tensor, iterations: int) -> Tensor:
    """Prefix sums of sine and cosine as (B, H, segments, K, 2, O)."""
    B, H, _, O = theta0.shape  # noqa: E741
    segments = (flat.numel() - 2) // (B * H * O * 2 * iterations)
    return flat[:-2].view(B, H, segments, iterations, 2, O)


def _field_backward(
    grad: Tensor,
    theta0: Tensor,
    omega: Tensor,
    coupling: Tensor,
    sums: Tensor,
    dt: float,
    iterations: int,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of theta0, omega and coupling."""
    B, H, T, O = theta0.shape  # noqa: E741
    grad_theta0 = _like(theta0)
    columns = theta0.new_empty(2, B, H, O)
    if causal:
        trace, sums = theta0.new_empty(0), _by_segment(sums, theta0, iterations)
    else:  # the all-token form writes its phases and sums down once more
        trace, sums = theta0.new_empty(iterations, B, H, T, O), theta0.new_empty(B, H, 1, iterations, 2, O)
    run = kernels(theta0) or fallback
    run.mean_field_backward(
        _dense(grad), _dense(theta0), _by_column(omega, theta0), coupling.contiguous(), sums, dt, iterations, causal,
        grad_theta0, columns[0], columns[1], trace,
    )  # fmt: skip
    grad_omega = columns[0].sum(0) if omega.dim() == 2 else columns[0].clone()
    return grad_theta0, grad_omega, columns[1].sum((0, 2))


def _field_backward_fake(
    grad: Tensor,
    theta0: Tensor,
    omega: Tensor,
    coupling: Tensor,
    sums: Tensor,
    dt: float,
    iterations: int,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(theta0), omega.new_empty(omega.shape), coupling.new_empty(coupling.shape)


def _field_save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    theta0, omega, coupling, ctx.dt, ctx.iterations, ctx.causal = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(theta0, omega, coupling, output[1])


def _field_gradients(ctx: Any, grad: Tensor | None, _grad_sums: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 6
    found = torch.ops.lot_lattice.mean_field_backward(grad, *ctx.saved_tensors, ctx.dt, ctx.iterations, ctx.causal)
    return (*found, None, None, None)


# ----------------------------------------------------------------------------------------------------- layout


def _like(x: Tensor) -> Tensor:
    """An empty tensor of x's shape, with heads inside time where x has them so, and always on a device.

    (B, H, T) or (B, H, T, O). A lane of the device is a head or an oscillator: neighboring lanes then read neighboring numbers.
    """
    if x.stride(1) < x.stride(2) or (x.is_cuda and x.dim() == 3):
        B, H, T, *rest = x.shape
        return x.new_empty(B, T, H, *rest).transpose(1, 2)
    return x.new_empty(x.shape)


def _dense(x: Tensor) -> Tensor:
    """x laid out as the kernels read it: oscillators next to each other, or steps, or heads (on a device, heads)."""
    if x.dim() == 4:
        return x if x.stride(3) == 1 else x.contiguous()
    if x.is_cuda and x.stride(1) != 1:
        return x.transpose(1, 2).contiguous().transpose(1, 2)
    return x if 1 in (x.stride(1), x.stride(2)) else x.contiguous()


def _by_column(omega: Tensor, theta0: Tensor) -> Tensor:
    """omega as (B, H, O), with one row for all sequences where it has no batch."""
    B, H, _, O = theta0.shape  # noqa: E741
    return omega.contiguous().expand(B, H, O)


# ----------------------------------------------------------------------------------------------- registration


def _refuse(name: str) -> Any:
    def formula(ctx: Any, *grads: Tensor) -> NoReturn:
        raise RuntimeError(
            f"{name} is differentiable once; for second derivatives use its eager form in lot_lattice.ops.dynamics"
        )

    return formula


def _register(name: str, run: Any, fake: Any, save: Any, gradients: Any, run_backward: Any, fake_backward: Any) -> None:
    for operator, function, fake_function in ((name, run, fake), (f"{name}_backward", run_backward, fake_backward)):
        for key in ("CPU", "CUDA", "CompositeExplicitAutograd"):  # the last: what is refused, and other devices
            _library.impl(operator, function, key)
        torch.library.register_fake(f"lot_lattice::{operator}", fake_function, lib=_library)
        for device in ("cpu", "cuda"):
            torch.library.register_autocast(f"lot_lattice::{operator}", device, torch.float32, lib=_library)
    torch.library.register_autograd(f"lot_lattice::{name}", gradients, setup_context=save, lib=_library)
    torch.library.register_autograd(f"lot_lattice::{name}_backward", _refuse(name), lib=_library)


_register("lattice_scan", _scan, _scan_fake, _scan_save, _scan_gradients, _scan_backward, _scan_backward_fake)
_register("mean_field", _field, _field_fake, _field_save, _field_gradients, _field_backward, _field_backward_fake)
