"""The losses on phases against their formulas, and the way they push."""

from __future__ import annotations

import math

import pytest
import torch

from lot import Batch, Context, NoOptions, Output
from lot_lattice.config import CoherenceConfig, PhaseRegularizationConfig
from lot_lattice.losses import Coherence, Diversity, PhaseRegularization, SpatialCoherence, Sync


def term(loss, padding=None, **signals):
    shape = next(iter(next(iter(signals.values())).values())).shape
    B, T = shape[0], shape[2] if len(shape) > 2 else 1
    ids = torch.zeros(B, T, dtype=torch.int64)
    terms = loss.terms(Output(torch.zeros(1), signals), Batch(ids, ids, padding), Context())
    (value,) = terms.values()
    return value


def pair(R: float, T: int = 3) -> torch.Tensor:
    """Phases (1, 2, T) of two heads whose order parameter is R at every token."""
    half = math.acos(R)
    return torch.tensor([-half, half], dtype=torch.float64).view(1, 2, 1).expand(1, 2, T)


def test_sync_is_one_minus_the_order_parameter_averaged_over_layers():
    assert term(Sync(NoOptions()), phase={0: pair(0.25)}).item() == pytest.approx(0.75)
    assert term(Sync(NoOptions()), phase={0: pair(0.25), 3: pair(1.0)}).item() == pytest.approx(0.375)


def test_sync_takes_the_oscillators_of_a_head_where_there_are_several():
    theta = torch.tensor([0.0, math.pi]).expand(2, 3, 4, 2)
    assert term(Sync(NoOptions()), phase={1: theta}).item() == pytest.approx(1.0, abs=1e-6)


LOSSES = [
    Sync(NoOptions()),
    Diversity(NoOptions()),
    PhaseRegularization(PhaseRegularizationConfig()),
    Coherence(CoherenceConfig(mode="center")),
    SpatialCoherence(NoOptions()),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_every_term_is_the_mean_over_layers(make, loss):
    layers = [
        {
            "phase": make.normal(2, 3, 4),
            "natural_frequency": make.normal(3),
            "neighbor_weights": make.normal(3, 3).abs(),
        }
        for _ in range(2)
    ]
    alone = [term(loss, **{name: {0: value} for name, value in layer.items()}) for layer in layers]
    both = term(loss, **{name: {0: layers[0][name], 5: layers[1][name]} for name in layers[0]})
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)


@pytest.mark.parametrize("oscillators", [(), (5,)], ids=str)
@pytest.mark.parametrize(
    "loss", [loss for loss in LOSSES if "phase" in loss.needs], ids=lambda loss: type(loss).__name__
)
def test_padding_counts_as_if_it_were_not_there(make, loss, oscillators):
    theta, weights = make.normal(2, 3, 4, *oscillators), {0: make.normal(3, 3).abs()}
    padding = torch.zeros(2, 4, dtype=torch.bool)
    padding[0, :1] = padding[1, 2:] = True
    kept = theta.transpose(1, 2)[~padding].transpose(0, 1)[None]  # (1, H, 5, ...)
    found = term(loss, padding, phase={0: theta}, neighbor_weights=weights)
    torch.testing.assert_close(found, term(loss, phase={0: kept}, neighbor_weights=weights))


@pytest.mark.parametrize("loss", [Sync(NoOptions()), Coherence(CoherenceConfig(mode="center", r_target=0.9))])
def test_descending_raises_the_order_parameter(make, loss):
    theta = make.normal(1, 6, 3).mul(2).requires_grad_()
    first = term(loss, phase={0: theta}).item()
    for _ in range(300):
        (gradient,) = torch.autograd.grad(term(loss, phase={0: theta}), theta)
        theta = (theta - gradient).detach().requires_grad_()
    assert term(loss, phase={0: theta}).item() < 0.3 * first


def test_diversity_is_exp_of_minus_the_variance():
    omega = {0: torch.tensor([1.0, 3.0]), 1: torch.tensor([2.0, 2.0])}
    assert term(Diversity(NoOptions()), natural_frequency=omega).item() == pytest.approx((math.exp(-1) + 1) / 2)


def test_phase_regularization_is_the_squared_distance_of_every_token():
    theta = torch.cat((pair(0.2, 1), pair(0.8, 1)), dim=2)
    loss = PhaseRegularization(PhaseRegularizationConfig(target=0.5))
    assert term(loss, phase={0: theta}).item() == pytest.approx(0.09)
    assert term(loss, phase={0: pair(0.5)}).item() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("mode", "R", "expected"),
    [
        ("ceiling", 0.75, 0.09),
        ("ceiling", 0.25, 0.0),
        ("center", 0.75, 0.09),
        ("center", 0.25, 0.04),
        ("band", 0.75, 0.04),
        ("band", 0.50, 0.0),
        ("band", 0.25, 0.01),
    ],
)
def test_coherence_punishes_what_its_mode_says(mode, R, expected):
    loss = Coherence(CoherenceConfig(mode=mode, r_target=0.45, r_width=0.1))
    assert term(loss, phase={0: pair(R)}).item() == pytest.approx(expected, abs=1e-9)


def test_coherence_looks_at_the_mean_and_phase_regularization_at_each_token():
    theta = torch.cat((pair(0.2, 1), pair(0.8, 1)), dim=2)
    assert term(Coherence(CoherenceConfig(mode="center", r_target=0.5)), phase={0: theta}).item() < 1e-9
    assert term(PhaseRegularization(PhaseRegularizationConfig(target=0.5)), phase={0: theta}).item() > 0.08


def test_spatial_coherence_is_the_weighted_mean_over_pairs_of_neighbors(make):
    theta, weights = make.normal(2, 3, 4), make.normal(3, 3).abs().fill_diagonal_(0)
    pairs = [weights[i, j] * (1 - (theta[:, i] - theta[:, j]).cos()) for i in range(3) for j in range(3)]
    expected = (sum(pairs) / weights.sum()).mean()
    loss = SpatialCoherence(NoOptions())
    for same in (theta, theta[..., None].expand(2, 3, 4, 5)):  # oscillators of a head are averaged
        torch.testing.assert_close(term(loss, phase={0: same}, neighbor_weights={0: weights}), expected)


def test_spatial_coherence_passes_over_layers_that_have_no_lattice(make):
    theta, weights = make.normal(2, 3, 4), torch.ones(3, 3, dtype=torch.float64)
    loss = SpatialCoherence(NoOptions())
    alone = term(loss, phase={0: theta}, neighbor_weights={0: weights})
    both = term(loss, phase={0: theta, 1: make.normal(2, 3, 4, 5)}, neighbor_weights={0: weights})
    torch.testing.assert_close(both, alone)


def test_spatial_coherence_of_a_single_head_is_zero(make):
    loss = SpatialCoherence(NoOptions())
    value = term(loss, phase={0: make.normal(2, 1, 4)}, neighbor_weights={0: torch.zeros(1, 1, dtype=torch.float64)})
    assert value.item() == 0.0
