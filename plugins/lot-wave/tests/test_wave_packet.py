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
