"""The dynamics against their references, in float64, values and gradients."""

from __future__ import annotations

import math

import pytest
import torch

from lot_lattice.ops import dynamics

SCANS = [dynamics.lattice_scan, dynamics.lattice_scan_eager]


def scan_inputs(make, B=2, H=5, T=7, batched=False, dtype=torch.float64):
    per_head = (B, H) if batched else (H,)
    weights = make.normal(H, H, dtype=dtype).abs().fill_diagonal_(0.0)
    inputs = (
        make.normal(B, H, T, dtype=dtype),
        make.normal(*per_head, dtype=dtype),
        make.normal(H, dtype=dtype),
        weights,
        make.normal(*per_head, dtype=dtype),
    )
    return [tensor.requires_grad_() for tensor in inputs]


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("shape", [(2, 5, 7), (1, 1, 1), (3, 1, 4), (1, 4, 1)])
@pytest.mark.parametrize("substeps", [1, 3])
@pytest.mark.parametrize("batched", [False, True])
def test_scan_equals_reference(make, scan, shape, substeps, batched):
    inputs = scan_inputs(make, *shape, batched=batched)
    cotangent = make.normal(*shape)
    expected = dynamics.lattice_scan_reference(*inputs, 0.1, substeps)
    got = scan(*inputs, 0.1, substeps)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    expected_gradients = torch.autograd.grad(expected, inputs, cotangent)
    torch.testing.assert_close(torch.autograd.grad(got, inputs, cotangent), expected_gradients, rtol=1e-10, atol=1e-10)


def test_scan_runs_free_of_neighbors_as_plain_rotation(make):
    drive, omega, coupling, weights, theta0 = scan_inputs(make)
    theta = dynamics.lattice_scan(drive, omega, coupling, torch.zeros_like(weights), theta0, 0.1)
    expected = theta0[:, None] + 0.1 * (omega[:, None] + drive).cumsum(-1)
    torch.testing.assert_close(theta, expected)


def test_attracting_neighbors_bring_phases_together(make):
    H, T = 6, 400
    theta0 = 1.2 * make.normal(H).clamp(-1.2, 1.2)  # within a half circle, where the phases must meet
    everyone = torch.ones(H, H, dtype=torch.float64)
    still, coupling = torch.zeros(1, H, T, dtype=torch.float64), torch.ones(H, dtype=torch.float64)
    spread = [
        dynamics.lattice_scan(still, torch.zeros_like(coupling), sign * coupling, everyone, theta0, 0.05)[
            0, :, -1
        ].std()
        for sign in (1, -1)
    ]
    assert spread[0] < 1e-6 < spread[1]


def test_coupling_force_is_the_sum_over_pairs(make):
    theta, coupling, weights = make.normal(2, 4, 3), make.normal(4), make.normal(4, 4)
    force = dynamics.coupling_force(theta, coupling, weights)
    for b, i, t in [(0, 0, 0), (1, 3, 2), (0, 2, 1)]:
        expected = coupling[i] * sum(weights[i, j] * math.sin(theta[b, j, t] - theta[b, i, t]) for j in range(4))
        torch.testing.assert_close(force[b, i, t], expected)


def field_inputs(make, B=2, H=3, T=6, N=4, batched=False):
    omega = (B, H, N) if batched else (H, N)
    inputs = (make.normal(B, H, T, N), make.normal(*omega), make.normal(H))
    return [tensor.requires_grad_() for tensor in inputs]


@pytest.mark.parametrize("field", [dynamics.mean_field, dynamics.mean_field_eager])
@pytest.mark.parametrize("shape", [(2, 3, 6, 4), (1, 1, 1, 1), (1, 2, 5, 1)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("batched", [False, True])
def test_mean_field_equals_reference(make, field, shape, causal, batched):
    inputs = field_inputs(make, *shape, batched=batched)
    cotangent = make.normal(*shape)
    expected = dynamics.mean_field_reference(*inputs, 0.1, 3, causal)
    got = field(*inputs, 0.1, 3, causal)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    expected_gradients = torch.autograd.grad(expected, inputs, cotangent)
    torch.testing.assert_close(torch.autograd.grad(got, inputs, cotangent), expected_gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("causal", [True, False])
def test_mean_field_leaves_padding_out(make, causal):
    inputs = field_inputs(make)
    padding = torch.zeros(2, 6, dtype=torch.bool)
    padding[0, :2] = padding[1, 4:] = True
    got = dynamics.mean_field_eager(*inputs, 0.1, 3, causal, padding)
    torch.testing.assert_close(got, dynamics.mean_field_reference(*inputs, 0.1, 3, causal, padding))
    alone = [inputs[0][:1, :, 2:], *inputs[1:]]
    torch.testing.assert_close(got[:1, :, 2:], dynamics.mean_field_reference(*alone, 0.1, 3, causal))


@pytest.mark.parametrize("padded", [False, True])
def test_extending_the_mean_field_piece_by_piece_equals_the_whole(make, padded):
    theta0, omega, coupling = (tensor.detach() for tensor in field_inputs(make, T=7))
    padding = torch.zeros(2, 7, dtype=torch.bool)
    if padded:
        padding[0, :3] = padding[1, 4:6] = True
    nothing = torch.zeros(3, 2, 3, 4, dtype=torch.float64)
    state = dynamics.MeanFieldState(nothing, nothing, torch.zeros(2, 1, dtype=torch.float64))
    pieces = []
    for start, end in [(0, 3), (3, 4), (4, 7)]:
        piece = padding[:, start:end] if padded else None
        theta, state = dynamics.mean_field_extend(theta0[:, :, start:end], omega, coupling, 0.1, state, piece)
        pieces.append(theta)
    whole = dynamics.mean_field_reference(theta0, omega, coupling, 0.1, 3, True, padding if padded else None)
    torch.testing.assert_close(torch.cat(pieces, dim=2), whole)


def test_mean_field_of_all_tokens_attracts_for_positive_coupling_and_scatters_for_negative(make):
    from lot.circular import order_parameter

    theta0, still = make.normal(1, 1, 16, 3), torch.zeros(1, 3, dtype=torch.float64)
    R = [
        order_parameter(dynamics.mean_field(theta0, still, torch.tensor([K], dtype=torch.float64), 0.1, 300, False), 2)
        for K in (1.0, 0.0, -1.0)
    ]
    assert (R[0] > 0.99).all()
    assert (R[2] < 0.05).all()
    assert ((R[1] > R[2]) & (R[1] < R[0])).all()
