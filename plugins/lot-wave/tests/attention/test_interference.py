"""Interference attention: every form of the module equals its own weights, in values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lot import BadInput, Context
from lot.nn import attention_mask
from lot.random import initialize
from lot_wave.attention.interference import InterferenceAttention
from lot_wave.config import InterferenceConfig
from lot_wave.ops.pairwise import pairwise_attention
from lot_wave.ops.reference import interference_weights
from lot_wave.ops.waves import Waves

NORMALIZE = ("row", "energy", "softmax")


def causal(T: int) -> Tensor:
    return torch.ones(T, T, dtype=torch.bool).tril()


def test_rows_sum_to_1_but_for_energy_whose_sums_grow_with_the_keys(make):
    for evolution in ("pairwise", "evolved"):
        for normalize in NORMALIZE:
            module = make.interference(evolution=evolution, normalize=normalize)
            module.want = frozenset({"attention"})
            sums = module(make.normal(1, 40, 16), Context())[1]["attention"].sum(-1)
            if normalize == "energy":
                assert (sums[..., 39] > 4 * sums[..., 0]).all()
            else:
                torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-5, rtol=0)


@pytest.mark.parametrize("evolution", ["pairwise", "evolved"])
@pytest.mark.parametrize("normalize", NORMALIZE)
@pytest.mark.parametrize("own_keys", [False, True])
def test_the_module_equals_its_weights_times_values(make, close, evolution, normalize, own_keys):
    module = make.interference(make.dims(max_len=150), evolution=evolution, normalize=normalize, own_keys=own_keys)
    module.want = frozenset({"attention"})
    x = make.normal(2, 140, 16).requires_grad_()
    ctx = Context(start=3)
    y, signals = module(x, ctx)
    _, _, v = module._split(x)
    expected = module._merge(signals["attention"] @ v)
    close(y, expected, 1e-10)
    upstream = make.normal(*y.shape)
    leaves = [x, *module.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad(y, leaves, upstream, retain_graph=True),
        torch.autograd.grad(expected, leaves, upstream),
        strict=True,
    ):
        close(ours, theirs, 1e-8)


FORMS = [
    *(
        ("interference", {"evolution": evolution, "normalize": normalize})
        for evolution in ("pairwise", "evolved")
        for normalize in NORMALIZE
    ),
    *(
        ("pure_wave", {"kernel": kernel, "kernel_on": on})
        for kernel in ("sigmoid", "exp")
        for on in ("features", "scores")
    ),
]


@pytest.mark.parametrize(("name", "options"), FORMS, ids=str)
def test_padding_is_left_out_as_in_the_weights(make, close, name, options):
    module = getattr(make, name)(make.dims(max_len=150), **options)
    module.want = frozenset({"attention"})
    x, padding = make.normal(2, 140, 16), torch.zeros(2, 140, dtype=torch.bool)
    padding[0, :60] = padding[1, 100:] = padding[1, 5:9] = True
    y, signals = module(x, Context(padding=padding))
    expected = module._merge(signals["attention"] @ module._split(x)[2])
    close(y[~padding], expected[~padding], 1e-10)
    assert not signals["attention"][1, :, 50, 5:9].any()


@pytest.mark.parametrize(("name", "options"), FORMS, ids=str)
def test_weights_are_dropped_in_training_where_there_are_any(make, name, options):
    module = getattr(make, name)(make.dims(dropout=0.5), **options)
    x = make.normal(1, 12, 16)
    plain = module(x, Context())[0]
    assert torch.equal(module.train()(x, Context())[0], plain) == module.linear


@pytest.mark.parametrize("evolution", ["pairwise", "evolved"])
def test_energy_weights_lie_between_0_and_1(make, evolution):
    module = make.interference(evolution=evolution, normalize="energy", waves=6).float()
    module.want = frozenset({"attention"})
    weights = module(3 * make.normal(3, 40, 16).float(), Context())[1]["attention"].detach()
    assert float(weights.min()) >= -1e-6
    assert float(weights.max()) <= 1 + 1e-6
    assert float(weights.diagonal(dim1=-2, dim2=-1).min()) > 1 - 1e-4  # a token is in phase with itself


def test_fast_energy_weights_lie_between_0_and_1(make):
    """With the identity for values, the output of the fast forms is the weights themselves."""
    T = 200
    waves = Waves(*(part.detach() for part in make.waves(1, 2, T, 6, dtype=torch.float32)))
    v = torch.eye(T).expand(1, 2, T, T)
    evolved = make.interference(make.dims(max_len=T), normalize="energy", waves=6)
    for weights in (
        pairwise_attention(waves, waves, v, normalize="energy", causal=True),
        evolved.mix(waves, waves, v, 0, None),
    ):
        assert float(weights.min()) >= -1e-6
        assert float(weights.max()) <= 1 + 1e-6


@pytest.mark.parametrize("evolution", ["pairwise", "evolved"])
@pytest.mark.parametrize("normalize", NORMALIZE)
def test_vanishing_amplitudes_give_no_nan(make, evolution, normalize):
    module = make.interference(evolution=evolution, normalize=normalize).float()
    x = make.normal(2, 20, 16).float()
    with torch.no_grad():
        # Large negative pre-activations: softplus underflows to exactly 0 for every token.
        module.token_waves.linear.weight[:6] = 0.0
        module.token_waves.linear.weight[:6, 0] = -300.0
        x[..., 0] = 1.0
    assert float(module.token_waves(x).amplitude.detach().max()) == 0.0
    x.requires_grad_()
    y, _ = module(x, Context())
    gradients = torch.autograd.grad(y.square().sum(), [x, *module.parameters()])
    assert torch.isfinite(y).all()
    assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("evolution", ["pairwise", "evolved"])
def test_long_sequences_stay_finite_and_accurate(make, close, evolution):
    """Frequency times position up to 8192, for the last queries of a long context."""
    T, n = 8192, 4
    module = make.interference(make.dims(max_len=T), evolution=evolution, normalize="energy", waves=2)
    x, v = make.normal(1, T, 16), make.normal(1, 2, T, 8)
    key = Waves(*(part.detach() for part in module.token_waves(x)))
    query = key.select(slice(T - n, T))
    allowed = attention_mask(n, T, True, None, v.device)
    expected = interference_weights(query, key, allowed, evolution=evolution, normalize="energy") @ v
    module.float()
    narrow_query, narrow_key = (Waves(*(part.float() for part in waves)) for waves in (query, key))
    # The frequencies themselves are rounded to float32, which at t = 8192 alone is an angle of 1e-3.
    close(module.mix(narrow_query, narrow_key, v.float(), 0, None), expected, 2e-3)
    with torch.no_grad():
        y, _ = module(x.float(), Context())
        with torch.autocast("cpu", torch.bfloat16):
            z, _ = module(x.float(), Context())
    assert torch.isfinite(y).all()
    # Values and output in bfloat16 differ by its rounding; angles in bfloat16 would give other weights altogether.
    close(z, y, 2e-2)


def test_randomized_phases_lie_anywhere_on_the_circle(make):
    module = make.interference()
    x = make.normal(1, 400, 16)
    with module.ablate(make.generator):
        shift = module.token_waves(x).phase - module.token_waves(x).phase  # of two draws: triangular over two turns
    quantiles = (shift.detach().flatten() / (2 * torch.pi)).quantile(torch.linspace(0, 1, 5, dtype=torch.float64))
    assert quantiles.tolist() == pytest.approx([-1, -(1 - 0.5**0.5), 0, 1 - 0.5**0.5, 1], abs=0.1)


def test_phases_ignore_autocast(make, close):
    module = make.interference().float()
    x = make.normal(1, 30, 16).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = module.token_waves(x)
    for a, b in zip(inside, module.token_waves(x), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_what_leaves_the_attention_starts_scaled_by_depth(make):
    module = InterferenceAttention(InterferenceConfig(), make.dims(width=64, layers=8))
    initialize(module, 0)
    assert module.value.weight.detach().std().item() == pytest.approx(0.02, rel=0.1)
    assert module.out.weight.detach().std().item() == pytest.approx(0.02 / 4, rel=0.1)


def test_the_published_form_has_to_be_asked_for():
    config = InterferenceConfig()
    assert (config.evolution, config.normalize, config.causal) == ("evolved", "row", None)


@pytest.mark.parametrize("evolution", ["pairwise", "evolved"])
def test_only_pairwise_is_blind_to_absolute_positions(make, evolution):
    module = make.interference(evolution=evolution)
    x = make.normal(1, 12, 16)
    shift = float((module(x, Context())[0] - module(x, Context(start=20))[0]).detach().abs().max())
    assert (shift < 1e-12) == (evolution == "pairwise")


def test_own_keys_break_the_symmetry_of_a_pair(make):
    for own_keys in (False, True):
        module = make.interference(own_keys=own_keys, normalize="energy", causal=False)
        module.want = frozenset({"attention"})
        weights = module(make.normal(1, 10, 16), Context())[1]["attention"].detach()
        asymmetry = float((weights - weights.mT).abs().max())
        assert (asymmetry < 1e-12) == (not own_keys)


def test_the_decoding_state_of_row_does_not_grow(make):
    module = make.interference(make.dims(max_len=64))
    cache = module.init_cache(1, "cpu", torch.float64)
    sizes = []
    for t in range(20):
        _, cache = module.decode(make.normal(1, 1, 16), Context(start=t), cache)
        sizes.append(cache.sums.numel())
    assert len(set(sizes)) == 1


def test_a_full_cache_and_a_leaking_one_are_refused(make):
    module = make.interference(make.dims(max_len=4), evolution="pairwise")
    cache = module.init_cache(1, "cpu", torch.float64)
    with pytest.raises(BadInput, match="holds 4 tokens; 5 were given"):
        module.prefill(make.normal(1, 5, 16), Context(), cache)
    with pytest.raises(BadInput, match="cannot decode"):
        make.interference(causal=False).init_cache(1, "cpu", torch.float64)


def test_with_biases_the_published_form_equals_its_formula(make, close):
    """A = softplus(x W_a + b_a), w = x W_f + b_f, p = x W_p + b_p; I over the energy, summed over the earlier tokens."""
    B, H, T, W = 2, 2, 7, 3
    module = make.interference(evolution="pairwise", normalize="energy", bias=True)
    x = make.normal(B, T, 16).requires_grad_()
    linear = module.token_waves.linear
    a, w, p = (part.unflatten(-1, (H, W)) for part in (x @ linear.weight.T + linear.bias).chunk(3, dim=-1))
    a = (1 + a.exp()).log()
    v = (x @ module.value.weight.T + module.value.bias).unflatten(-1, (H, -1))
    rows = []
    for i in range(T):
        total = 0.0
        for j in range(i + 1):
            angle = (w[:, i] - w[:, j]) * (i - j) + p[:, i] - p[:, j]
            above = (a[:, i] ** 2 + a[:, j] ** 2 + 2 * a[:, i] * a[:, j] * angle.cos()).sum(-1)
            below = ((a[:, i] + a[:, j]) ** 2).sum(-1)
            total = total + (above / (below + 1e-6))[..., None] * v[:, j]
        rows.append(total.flatten(1))
    expected = torch.stack(rows, 1) @ module.out.weight.T + module.out.bias
    found, _ = module(x, Context())
    close(found, expected, 1e-11)
    inputs = [x, linear.weight, linear.bias]
    upstream = make.normal(*found.shape)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        close(ours, theirs, 1e-9)
