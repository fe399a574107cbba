"""What the operators accept; everything else is refused in one line that names the argument."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_HEADS = 256
MOST_STEPS = 2**31 - 1


def check_lattice_scan(
    drive: Tensor, omega: Tensor, coupling: Tensor, weights: Tensor, theta0: Tensor, dt: float, substeps: int
) -> None:
    """Raises ValueError or TypeError unless these are arguments of `lattice_scan`."""
    name = "lattice_scan"
    _check_array(name, "drive", drive, ("B", "H", "T"))
    B, H, _ = drive.shape
    if H > MOST_HEADS:
        raise ValueError(f"{name}: drive: expected at most {MOST_HEADS} heads, got {H}")
    _check_shape(name, "omega", omega, (H,), (B, H))
    _check_shape(name, "coupling", coupling, (H,))
    _check_shape(name, "weights", weights, (H, H))
    _check_shape(name, "theta0", theta0, (H,), (B, H))
    _check_alike(name, "drive", drive, omega=omega, coupling=coupling, weights=weights, theta0=theta0)
    _check_numbers(name, dt, substeps=substeps)
    if drive.shape[2] * substeps > MOST_STEPS:
        raise ValueError(
            f"{name}: substeps: expected at most {MOST_STEPS} in all tokens, got {drive.shape[2]} x {substeps}"
        )


def check_mean_field(theta0: Tensor, omega: Tensor, coupling: Tensor, dt: float, iterations: int) -> None:
    """Raises ValueError or TypeError unless these are arguments of `mean_field`."""
    name = "mean_field"
    _check_array(name, "theta0", theta0, ("B", "H", "T", "O"))
    B, H, _, O = theta0.shape  # noqa: E741
    _check_shape(name, "omega", omega, (H, O), (B, H, O))
    _check_shape(name, "coupling", coupling, (H,))
    _check_alike(name, "theta0", theta0, omega=omega, coupling=coupling)
    _check_numbers(name, dt, iterations=iterations)


def _check_array(name: str, argument: str, tensor: Tensor, axes: tuple[str, ...]) -> None:
    wanted = f"({', '.join(axes)})"
    if tensor.layout != torch.strided:
        raise TypeError(f"{name}: {argument}: expected a dense tensor, got {tensor.layout}")
    if tensor.dim() != len(axes):
        raise ValueError(f"{name}: {argument}: expected {wanted}, got {_shape(tensor)}")
    for axis, size in zip(axes, tensor.shape, strict=True):
        if size < 1:
            raise ValueError(f"{name}: {argument}: expected {wanted} with {axis} >= 1, got {_shape(tensor)}")
    if tensor.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name}: {argument}: expected float32 or float64, got {_name(tensor.dtype)}")


def _check_shape(name: str, argument: str, tensor: Tensor, *allowed: tuple[int, ...]) -> None:
    if not any(
        tensor.dim() == len(shape) and all(a == b for a, b in zip(tensor.shape, shape, strict=True))
        for shape in allowed
    ):
        wanted = " or ".join(str(tuple(shape)) for shape in allowed)
        raise ValueError(f"{name}: {argument}: expected {wanted}, got {_shape(tensor)}")


def _check_alike(name: str, leader: str, first: Tensor, **others: Tensor) -> None:
    for argument, tensor in others.items():
        if tensor.layout != torch.strided:
            raise TypeError(f"{name}: {argument}: expected a dense tensor, got {tensor.layout}")
        if tensor.dtype != first.dtype:
            raise TypeError(
                f"{name}: {argument}: expected {_name(first.dtype)} like {leader}, got {_name(tensor.dtype)}"
            )
        if tensor.device != first.device:
            raise ValueError(
                f"{name}: {argument}: expected a tensor on {first.device} like {leader}, got one on {tensor.device}"
            )


def _check_numbers(name: str, dt: float, **counts: int) -> None:
    if not math.isfinite(dt):
        raise ValueError(f"{name}: dt: expected a finite number, got {dt}")
    for argument, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}: {argument}: expected 1 or more, got {count}")


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
