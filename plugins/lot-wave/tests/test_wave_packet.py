"""The wave-packet embedding: mass, strict harmonics, amplitudes, annealing."""

from __future__ import annotations

import math

import pytest
import torch

from lot import BadInput, Context


def at(step: int) -> Context:
    return Context(step=torch.tensor(step))


def test_common_tokens_are_heavy_and_slow(make):
    counts = torch.tensor([5, 90, 90, 0, 7, 1, 2, 3, 4, 6, 8])
    frequency = make.packets(make.dims(token_counts=counts), frequency_scale=1.0).frequency
    order = [1, 2, 10, 4, 9, 0, 8, 7, 6, 5, 3]  # by count, ties by id
    expected = torch.empty(11)
    expected[order] = torch.arange(1, 12).sqrt()
    torch.testing.assert_close(frequency, expected)


def test_published_ranks_are_token_ids(make):
    dims = make.dims(token_counts=torch.arange(11))
    frequency = make.packets(dims, rank="token_id", frequency_scale=1.0).frequency
    torch.testing.assert_close(frequency, torch.arange(1, 12).sqrt())


def test_by_default_the_lightest_token_turns_once_over_the_context(make):
    frequency = make.packets(make.dims(max_len=40)).frequency
    assert float(frequency.max()) == pytest.approx(2 * math.pi / 40)


def test_frequency_ranks_need_counts_of_the_right_size(make):
    with pytest.raises(BadInput, match="rank: expected a task that counts its tokens"):
        make.packets(make.dims(), rank="frequency")
    with pytest.raises(BadInput, match="rank: expected 11 token counts"):
        make.packets(make.dims(token_counts=torch.arange(5)))


@pytest.mark.parametrize("learn_amplitudes", [False, True])
def test_features_are_harmonics_of_one_angle(make, learn_amplitudes):
    module = make.packets(learn_amplitudes=learn_amplitudes).double()
    if learn_amplitudes:
        torch.nn.init.normal_(module.log_amplitude, generator=make.generator)
    ids, start = make.ids(11, 2, 9), 4
    found = module.features(ids, start).unflatten(-1, (5, 3, 2))
    amplitude = module.amplitude()
    for b in range(2):
        for t in range(9):
            v = ids[b, t]
            theta = module.frequency[v].double() * (start + t) + module.phase[v].double()  # (W,)
            for n in (1, 2, 3):
                A = amplitude[v, :, n - 1] / module.norm
                torch.testing.assert_close(found[b, t, :, n - 1, 0], A * torch.cos(n * theta))
                torch.testing.assert_close(found[b, t, :, n - 1, 1], A * torch.sin(n * theta))


def test_amplitudes_start_as_1_over_n_and_features_at_unit_norm(make):
    for learn in (False, True):
        module = make.packets(learn_amplitudes=learn)
        expected = (1 / torch.tensor([1.0, 2.0, 3.0])).expand(11, 5, 3)
        torch.testing.assert_close(module.amplitude().detach(), expected)
        norm = module.features(make.ids(11, 3, 20)).detach().norm(dim=-1)
        torch.testing.assert_close(norm, torch.ones(3, 20))


def test_the_signal_is_the_amplitude_and_only_learned_ones_have_gradients(make):
    for learn in (False, True):
        module = make.packets(learn_amplitudes=learn)
        ids = make.ids(11, 1, 3)
        assert module(ids, Context())[1] == {}
        module.want = frozenset({"harmonic_amplitude"})
        signal = module(ids, Context())[1]["harmonic_amplitude"]
        assert signal.shape == (11, 5, 3)
        assert signal.requires_grad == learn


def test_phases_start_anywhere_on_the_circle(make):
    phase = make.packets(waves=300).phase.detach()
    quantiles = (phase.flatten() / math.pi).quantile(torch.linspace(0, 1, 5))
    assert quantiles.tolist() == pytest.approx([-1, -0.5, 0, 0.5, 1], abs=0.1)


def test_annealing_goes_from_the_standard_embedding_to_waves(make):
    module = make.packets(anneal_steps=100)
    ids = make.ids(11, 2, 7)
    waves = module.project(module.features(ids))
    standard = module.standard(ids)
    torch.testing.assert_close(module(ids, at(0))[0], standard, rtol=0, atol=0)
    torch.testing.assert_close(module(ids, at(25))[0], 0.75 * standard + 0.25 * waves)
    for step in (100, 5000):
        torch.testing.assert_close(module(ids, at(step))[0], waves, rtol=0, atol=0)


def test_a_trained_model_used_without_its_step_is_the_one_that_was_trained(make):
    module = make.packets(anneal_steps=100)
    ids = make.ids(11, 2, 7)
    module(ids, at(40))  # training mode
    module.eval()
    expected = module(ids, at(40))[0]
    restored = make.packets(anneal_steps=100).eval()
    restored.load_state_dict(module.state_dict())
    torch.testing.assert_close(restored(ids, Context())[0], expected, rtol=0, atol=0)
    assert int(restored.trained) == 40


def test_evaluation_leaves_the_recorded_step_alone(make):
    module = make.packets(anneal_steps=100).eval()
    module(make.ids(11, 1, 2), at(60))
    assert int(module.trained) == 0


def test_without_annealing_there_is_no_standard_table(make):
    assert make.packets().standard is None
    assert not any("standard" in name for name in make.packets().state_dict())


def test_far_positions_are_exact(make):
    """float32 frequencies times positions of 8192: the angle is formed in float64."""
    module = make.packets(frequency_scale=1.0)
    ids = torch.full((1, 1), 10)
    found = module.features(ids, 8191)
    expected = module.double().features(ids, 8191)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-6)


def test_under_autocast_the_stream_keeps_its_dtype(make):
    module = make.packets(anneal_steps=10)
    with torch.autocast("cpu", torch.bfloat16):
        assert module(make.ids(11, 1, 5), at(5))[0].dtype == torch.float32


@pytest.mark.parametrize("anneal_steps", [0, 10])
def test_the_published_form_equals_its_formula(make, close, anneal_steps):
    """Angle 2 pi n sqrt(v + 1) + phi_vw + t f_w; sines over n, then cosines; mixed with the standard one; LayerNorm last."""
    W, N, start, r = 5, 3, 4, 0.7 if anneal_steps else 0.0
    module = make.packets(
        make.dims(token_counts=torch.arange(11)), form="published", anneal_steps=anneal_steps
    ).double()
    torch.testing.assert_close(module.frequency.float(), torch.arange(1, 12).sqrt())
    module.frequency.copy_(torch.arange(1, 12).double().sqrt())  # beyond the digits that the buffer keeps
    with torch.no_grad():
        for name in ("project.bias", "layer_norm.weight", "layer_norm.bias"):
            parameter = module.get_parameter(name)
            parameter.copy_(make.normal(*parameter.shape))
    phi, f = module.phase, module.positional_frequency
    ids = make.ids(11, 2, 9)
    rows = []
    for b in range(2):
        for t in range(9):
            v = int(ids[b, t])
            angle = [
                2 * math.pi * n * math.sqrt(v + 1) + phi[v, w] + (start + t) * f[w]
                for w in range(W)
                for n in range(1, N + 1)
            ]
            over = [n for _ in range(W) for n in range(1, N + 1)]
            sines = [a.sin() / n for a, n in zip(angle, over, strict=True)]
            cosines = [a.cos() / n for a, n in zip(angle, over, strict=True)]
            x = module.project.weight @ torch.stack(sines + cosines) + module.project.bias
            if anneal_steps:
                x = (1 - r) * x + r * module.standard.weight[v]
            x = (x - x.mean()) / (x.var(correction=0) + module.layer_norm.eps).sqrt()
            rows.append(x * module.layer_norm.weight + module.layer_norm.bias)
    expected = torch.stack(rows).view(2, 9, -1)
    found, _ = module(ids, Context(step=torch.tensor(3), start=start))
    close(found, expected, 1e-7 if anneal_steps else 1e-11)  # the share of the mixture is kept in float32
    upstream = make.normal(*found.shape)
    for ours, theirs in zip(
        torch.autograd.grad(found, list(module.parameters()), upstream),
        torch.autograd.grad(expected, list(module.parameters()), upstream),
        strict=True,
    ):
        close(ours, theirs, 1e-6 if anneal_steps else 1e-10)


def test_the_published_frequencies_start_at_a_tenth_of_a_radian(make):
    f = make.packets(form="published", waves=4000).positional_frequency.detach()
    assert float(f.std()) == pytest.approx(0.1, rel=0.1)
    assert abs(float(f.mean())) < 0.01


def test_the_cosines_of_each_form(make):
    ids = make.ids(11, 2, 9)
    for form in ("corrected", "published"):
        module = make.packets(form=form)
        features = module.features(ids).detach()
        cosines = module.cosines(ids).detach()
        assert cosines.shape == (2, 9, 15)
        norm = module.norm**2
        square = features.square().sum(-1) - cosines.square().sum(-1)
        sines = (1 / torch.tensor([1.0, 2.0, 3.0]).square()).sum() * 5 / norm - cosines.square().sum(-1)
        torch.testing.assert_close(square, sines)
