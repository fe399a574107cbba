"""Phases and features in one step of autograd, against their formula."""

from __future__ import annotations

import pytest
import torch

from lot_lattice.ops.dynamics import lattice_scan_reference
from lot_lattice.ops.features import Oscillators, phase_features
from lot_lattice.ops.geometry import neighbor_distances


def arguments(make, heads: int = 4) -> tuple[torch.Tensor, Oscillators]:
    """A drive (2, H, 6), heads inside time, and oscillators on a row; float64, all to be differentiated."""
    drive = make.normal(2, 6, heads).requires_grad_()
    learned = [make.normal(heads).requires_grad_() for _ in range(5)]
    distance, neighbor = neighbor_distances((heads,), "moore", 2, "open")
    return drive, Oscillators(*learned, distance.square().round().float(), neighbor)


@pytest.mark.parametrize("asked", ["query", "key", "both"])
@pytest.mark.parametrize("substeps", [1, 3])
def test_values_and_gradients_equal_the_formula(make, substeps, asked):
    drive, heads = arguments(make)
    weights = torch.exp(-heads.squared_distance.double().sqrt() / heads.log_spacing.exp()[:, None]) * heads.neighbor
    theta = lattice_scan_reference(
        drive.transpose(1, 2), heads.frequency, heads.coupling, weights, heads.start_phase, 0.1, substeps
    )
    points = torch.stack((theta.cos(), theta.sin()), dim=-1)
    wanted = (heads.alpha[:, None, None] * points, points)
    got = phase_features(drive.transpose(1, 2), heads, 0.1, substeps)
    torch.testing.assert_close(got, wanted)

    cotangents = [make.normal(*points.shape) for _ in wanted]
    chosen = [n for n, name in enumerate(("query", "key")) if asked in (name, "both")]
    inputs = [drive, *heads[:5]]
    found, expected = (
        torch.autograd.grad(sum((pair[n] * cotangents[n]).sum() for n in chosen), inputs, allow_unused=True)
        for pair in (got, wanted)
    )
    for left, right, tensor in zip(found, expected, inputs, strict=True):
        zero = torch.zeros_like(tensor)
        torch.testing.assert_close(zero if left is None else left, zero if right is None else right)


def test_second_derivatives_are_refused_by_name(make):
    drive, heads = arguments(make)
    on_query, on_key = phase_features(drive.transpose(1, 2), heads, 0.1, 1)
    gradients = torch.autograd.grad((on_query * on_key.square()).sum(), [drive, *heads[:5]], create_graph=True)
    for gradient in (gradients[0], *gradients[1:5]):
        with pytest.raises(RuntimeError, match="lattice_scan is differentiable once"):
            torch.autograd.grad(gradient.sum(), drive, retain_graph=True)
