"""Phase attention against its reference, and what it promises beyond."""

from __future__ import annotations

import pytest
import torch

from lot import BadInput, Context
from lot.circular import order_parameter
from lot.random import initialize, isolated
from lot_lattice.attention.phase import PhaseAttention
from lot_lattice.attention.reference import phase_attention_reference
from lot_lattice.config import PhaseConfig

PUBLISHED = {"causal": False, "coupling": -1.0, "readout": "angle"}
FORMS = [{}, {"readout": "angle"}, {"oscillators": 1, "iterations": 1}, PUBLISHED]
CAUSAL = FORMS[:3]


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_equals_reference_in_values_and_gradients(make, options):
    module = make.phase(**options)
    x = make.normal(2, 6, 16).requires_grad_()
    module.want = frozenset({"phase"})
    y, signals = module(x, Context())
    expected, theta = phase_attention_reference(module, x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(signals["phase"], theta)
    cotangent = make.normal(*y.shape)
    inputs = [x, *module.parameters()]
    got = torch.autograd.grad((y * cotangent).sum(), inputs)
    torch.testing.assert_close(got, torch.autograd.grad((expected * cotangent).sum(), inputs), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("options", CAUSAL, ids=str)
def test_nothing_comes_from_later_tokens(make, options):
    module = make.phase(**options)
    x = make.normal(2, 9, 16).requires_grad_()
    y, _ = module(x, Context())
    for t in (1, 5, 8):
        (gradient,) = torch.autograd.grad(y[:, :t].sum(), x, retain_graph=True)
        assert (gradient[:, t:] == 0).all()
        changed = x.detach().clone()
        changed[:, t:] = 1000 * make.normal(2, 9 - t, 16)
        assert torch.equal(module(changed, Context())[0][:, :t], y[:, :t])


def test_the_published_form_leaks_and_says_so(make):
    module = make.phase(**PUBLISHED)
    assert not module.causal
    assert not module.can_decode()
    x = make.normal(1, 6, 16)
    changed = x.clone()
    changed[:, -1] += 1
    assert (module(changed, Context())[0] - module(x, Context())[0])[:, :-1].abs().max() > 1e-6
    with pytest.raises(BadInput, match="non-causal"):
        module.init_cache(1, "cpu", torch.float64)


def test_positive_coupling_synchronizes_and_the_published_sign_scatters(make):
    x = make.normal(1, 64, 16)

    def R(coupling: float) -> float:
        config = PhaseConfig(causal=False, coupling=coupling, iterations=100, natural_freq_std=0.0, oscillators=8)
        module = PhaseAttention(config, make.dims(max_len=64)).double()
        initialize(module, 0)
        module.want = frozenset({"phase"})
        return order_parameter(module(x, Context())[1]["phase"], dim=2).mean().item()

    assert R(-1.0) < 0.01 < R(0.0) < R(1.0)
    assert R(1.0) > 0.99


def test_the_circular_readout_does_not_jump_where_the_angle_does(make):
    for readout, smooth in (("circular", True), ("angle", False)):
        module = make.phase(readout=readout, iterations=1, coupling=0.0)
        with torch.no_grad():
            module.coupling.zero_()
            module.to_phase.weight.zero_()
            module.to_phase.bias.fill_(10.0)  # pi tanh(10): theta0 within 2e-8 of pi
            x = make.normal(1, 1, 16)
            jumps = []
            for turn in (-1e-3, 1e-3):
                module.frequency.fill_(turn / module.config.dt)
                jumps.append(module(x, Context())[0])
        assert ((jumps[1] - jumps[0]).abs().max() < 0.1) == smooth


@pytest.mark.parametrize("options", CAUSAL, ids=str)
def test_decoding_equals_the_forward_pass(make, options):
    module = make.phase(**options)
    x = make.normal(2, 9, 16)
    decoded, _ = make.decoded(module, x)
    torch.testing.assert_close(decoded, module(x, Context())[0])


def test_the_cache_holds_two_sums_per_iteration_and_oscillator_at_any_length(make):
    module = make.phase()
    cache = module.init_cache(2, "cpu", torch.float64)
    _, cache = module.prefill(make.normal(2, 20, 16), Context(), cache)
    assert cache.sum_sin.shape == cache.sum_cos.shape == (4, 2, 4, 3)


def test_what_padding_holds_reaches_no_token(make):
    module = make.phase()
    x = make.normal(2, 8, 16)
    padding = torch.zeros(2, 8, dtype=torch.bool)
    padding[0, :3] = padding[1, 6:] = True
    y, _ = module(x, Context(padding=padding))
    other = torch.where(padding[..., None], make.normal(2, 8, 16), x)
    torch.testing.assert_close(module(other, Context(padding=padding))[0][~padding], y[~padding], rtol=0, atol=0)


@pytest.mark.parametrize("noise", [{"phase_noise": 0.1}, {"frequency_jitter": 0.1}], ids=str)
def test_noise_acts_in_training_only_and_follows_the_default_generator(make, noise):
    module = make.phase(**noise)
    x = make.normal(2, 6, 16)
    assert torch.equal(module(x, Context())[0], module(x, Context())[0])
    module.train()
    drawn = []
    for seed in (1, 1, 2):
        with isolated(seed, "test"):
            drawn.append(module(x, Context())[0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_phase_noise_has_the_given_size(make):
    module = make.phase(make.dims(max_len=256), phase_noise=0.03, iterations=1, oscillators=16).train()
    with torch.no_grad():
        module.coupling.zero_()
    module.want = frozenset({"phase"})
    x = make.normal(4, 256, 16)
    noisy = module(x, Context())[1]["phase"]
    difference = noisy - module.eval()(x, Context())[1]["phase"]
    assert difference.std().item() == pytest.approx(0.03, rel=0.05)


def test_frequency_jitter_is_relative_and_of_the_given_size(make):
    module = make.phase(frequency_jitter=0.1, iterations=1, oscillators=256).train()
    with torch.no_grad():
        module.coupling.zero_()
    module.want = frozenset({"phase"})
    x = make.normal(1, 1, 16)
    turn = module(x, Context())[1]["phase"] - module.eval()(x, Context())[1]["phase"]
    share = turn[0, :, 0] / (module.config.dt * module.frequency)
    assert share.std().item() == pytest.approx(0.1, rel=0.12)  # of 1024: over five standard deviations


def test_initial_values_are_drawn_as_stated(make):
    config = PhaseConfig(oscillators=64, natural_freq_std=0.3, coupling=0.7)
    module = PhaseAttention(config, make.dims(width=64, layers=8))
    initialize(module, 0)
    stated = {"to_phase.weight": 0.02, "from_phase.weight": 0.02 / 4, "frequency": 0.3}
    for name, std in stated.items():
        values = module.get_parameter(name).detach()
        assert values.std().item() == pytest.approx(std, rel=0.15)
        assert abs(values.mean().item()) < 0.2 * std
    assert (module.coupling == 0.7).all()
    assert not module.to_phase.bias.any()
    assert not module.from_phase.bias.any()


def test_the_published_form_has_to_be_asked_for(make):
    config = PhaseConfig()
    assert config.coupling > 0
    assert config.readout == "circular"
    assert config.causal is None
    assert PhaseAttention(config, make.dims(causal=True)).causal
    assert not PhaseAttention(config, make.dims(causal=False)).causal


def test_ablation_moves_the_output(make):
    module = make.phase()
    x = make.normal(2, 6, 16)
    y, _ = module(x, Context())
    with module.ablate(make.generator):
        assert (module(x, Context())[0] - y).abs().max() > 1e-3
    assert torch.equal(module(x, Context())[0], y)


def test_phases_are_float32_under_autocast(make):
    module = make.phase().float()
    module.want = frozenset({"phase"})
    x = make.normal(2, 9, 16, dtype=torch.float32)
    expected = module(x, Context())[1]["phase"]
    with torch.autocast("cpu", torch.bfloat16):
        y, signals = module(x, Context())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(signals["phase"], expected, rtol=0, atol=0)


def test_compiled_equals_eager(make):
    module = make.phase().float()
    module.want = frozenset({"phase"})
    x = make.normal(2, 9, 16, dtype=torch.float32).requires_grad_()
    y, signals = module(x, Context())
    again, compiled_signals = torch.compile(module, fullgraph=True, backend="aot_eager")(x, Context())
    torch.testing.assert_close(again, y)
    torch.testing.assert_close(compiled_signals["phase"], signals["phase"])
    torch.testing.assert_close(torch.autograd.grad(again.sum(), x), torch.autograd.grad(y.sum(), x))


def test_signals_are_those_asked_for(make):
    module = make.phase()
    x = make.normal(2, 6, 16)
    assert module(x, Context())[1] == {}
    module.want = frozenset({"phase", "natural_frequency", "attention"})
    shapes = {name: tuple(value.shape) for name, value in module(x, Context())[1].items()}
    assert shapes == {"phase": (2, 4, 6, 3), "natural_frequency": (4, 3)}
