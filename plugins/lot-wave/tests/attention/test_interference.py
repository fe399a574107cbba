"""Interference attention: every form equals the plain formula, in values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lot import BadInput, Context
from lot.nn import attention_mask
from lot.random import initialize, isolated
from lot_wave.attention.interference import InterferenceAttention
from lot_wave.config import InterferenceConfig
from lot_wave.ops import tiles
from lot_wave.ops.blockwise import blockwise_attention
from lot_wave.ops.pairwise import pairwise_attention
from lot_wave.ops.reference import interference_weights
from lot_wave.ops.waves import Waves

NORMALIZE = ("row", "energy", "softmax")


def causal(T: int) -> Tensor:
    return torch.ones(T, T, dtype=torch.bool).tril()


@pytest.mark.parametrize("normalize", NORMALIZE)
@pytest.mark.parametrize("T", [1, 7, 150])
def test_pairwise_equals_the_formula(make, close, normalize, T):
    waves, v = make.waves(2, 2, T, 3), make.normal(2, 2, T, 5).requires_grad_()
    expected = interference_weights(waves, waves, causal(T), evolution="pairwise", normalize=normalize) @ v
    found = pairwise_attention(waves, waves, v, normalize=normalize, causal=True)
    close(found, expected, 1e-10)
    upstream = make.normal(*found.shape)
    # One token sees itself only: its weight is 1 (up to epsilon) whatever its waves are.
    leaves = [*waves, v] if T > 1 else [v]
    for ours, theirs in zip(
        torch.autograd.grad(found, leaves, upstream), torch.autograd.grad(expected, leaves, upstream), strict=True
    ):
        close(ours, theirs, 1e-9)


@pytest.mark.parametrize("normalize", NORMALIZE)
@pytest.mark.parametrize("silence", [0.0, 1e-12])
def test_pairwise_gradients_of_silent_waves_are_those_of_the_formula(make, close, normalize, silence):
    """The fast form divides by amplitudes that it multiplied with before."""
    T = 100
    waves, v = make.waves(1, 2, T, 3), make.normal(1, 2, T, 5)
    with torch.no_grad():
        waves.amplitude[..., 0] = silence
        waves.amplitude[:, 1, ::3] = silence
    upstream = make.normal(1, 2, T, 5)
    expected = interference_weights(waves, waves, causal(T), evolution="pairwise", normalize=normalize) @ v
    found = pairwise_attention(waves, waves, v, normalize=normalize, causal=True)
    for ours, theirs in zip(
        torch.autograd.grad(found, waves, upstream), torch.autograd.grad(expected, waves, upstream), strict=True
    ):
        close(ours, theirs, 1e-9)


@pytest.mark.parametrize("normalize", NORMALIZE)
def test_pairwise_in_float32_is_within_the_promise(make, close, normalize):
    T = 300
    waves, v = make.waves(1, 2, T, 4), make.normal(1, 2, T, 5).requires_grad_()
    expected = interference_weights(waves, waves, causal(T), evolution="pairwise", normalize=normalize) @ v
    narrow = Waves(*(part.detach().float().requires_grad_() for part in waves))
    u = v.detach().float().requires_grad_()
    found = pairwise_attention(narrow, narrow, u, normalize=normalize, causal=True)
    close(found, expected, 1e-5)
    upstream = make.normal(*found.shape)
    ours = torch.autograd.grad(found, [*narrow, u], upstream.float())
    for a, b in zip(ours, torch.autograd.grad(expected, [*waves, v], upstream), strict=True):
        close(a, b, 1e-4)


@pytest.mark.parametrize("normalize", NORMALIZE)
@pytest.mark.parametrize("is_causal", [True, False])
def test_pairwise_with_padding_and_separate_keys(make, close, normalize, is_causal):
    B, T, n = 2, 140, 9  # queries are the last n
    key, v = make.waves(B, 2, T, 3), make.normal(B, 2, T, 5)
    query = make.waves(B, 2, n, 3)
    padding = torch.zeros(B, T, dtype=torch.bool)
    padding[0, :130] = True
    padding[1, 135:] = True
    allowed = attention_mask(n, T, is_causal, padding, v.device)
    expected = interference_weights(query, key, allowed, evolution="pairwise", normalize=normalize) @ v
    found = pairwise_attention(query, key, v, normalize=normalize, causal=is_causal, padding=padding)
    close(found, expected, 1e-9)
    leaves, upstream = [*query, *key], make.normal(*found.shape)
    for ours, theirs in zip(
        torch.autograd.grad(found, leaves, upstream), torch.autograd.grad(expected, leaves, upstream), strict=True
    ):
        close(ours, theirs, 1e-8)


def test_tiles_of_any_size_agree(make, close, monkeypatch):
    waves, v = make.waves(3, 2, 37, 3), make.normal(3, 2, 37, 4)
    whole = pairwise_attention(waves, waves, v, normalize="softmax", causal=True)
    monkeypatch.setattr(tiles, "TILE", {"cpu": 8})
    monkeypatch.setattr(tiles, "ELEMENTS", {"cpu": 2 * 3 * 64})
    close(pairwise_attention(waves, waves, v, normalize="softmax", causal=True), whole, 1e-12)


@pytest.mark.parametrize("is_causal", [True, False])
def test_tiles_hold_every_pair_once_and_no_more_at_a_time_than_they_may(is_causal):
    """Nothing of size T x T x W is formed."""
    N, W, q_len, k_len = 8, 16, 200, 330
    q_waves, k_waves = torch.zeros(N, 3, W, q_len), torch.zeros(N, 3, W, k_len)
    held = torch.zeros(N, q_len, k_len, dtype=torch.int64)
    for block in tiles.tiles(q_waves, k_waves, is_causal):
        for tile in block:
            part = held[tile.n, tile.q, tile.k]
            part += 1
            assert part.numel() * W <= tiles.ELEMENTS["cpu"] < N * W * q_len * k_len
    assert held.max() == 1
    visible = torch.ones(q_len, k_len, dtype=torch.bool)
    assert (held[:, visible.tril(k_len - q_len) if is_causal else visible] == 1).all()


@pytest.mark.parametrize("normalize", NORMALIZE)
def test_dropout_of_pairwise_weights(make, normalize):
    """The mean over masks is the output without dropout, and backward drops what forward dropped."""
    waves, v = make.waves(1, 1, 6, 2), make.normal(1, 1, 6, 2).requires_grad_()

    def mix(values: Tensor, seed: int) -> Tensor:
        torch.manual_seed(seed)
        return pairwise_attention(waves, waves, values, normalize=normalize, causal=True, dropout=0.4)

    with torch.random.fork_rng(), torch.no_grad():
        mean = torch.stack([mix(v, seed) for seed in range(800)]).mean(0)
        exact = pairwise_attention(waves, waves, v, normalize=normalize, causal=True)
    assert float((mean - exact).abs().max()) < 0.3 * float(exact.abs().max())
    with torch.random.fork_rng():
        upstream, direction = make.normal(1, 1, 6, 2), make.normal(1, 1, 6, 2)
        (gradient,) = torch.autograd.grad(mix(v, 3), v, upstream)
        # Linear in the values, so that a difference is exact.
        change = ((mix(v + direction, 3) - mix(v, 3)) * upstream).sum()
    torch.testing.assert_close((gradient * direction).sum(), change)


def test_every_tile_drops_weights_of_its_own(make):
    """With the identity for values, the output is the weights themselves."""
    T, c = 128, tiles.TILE["cpu"]
    waves = make.waves(1, 1, T, 2)
    with isolated(0, "test"):
        eye = torch.eye(T, dtype=torch.float64)[None, None]
        dropped = pairwise_attention(waves, waves, eye, normalize="energy", causal=True, dropout=0.5)[0, 0] == 0
    for first, second in ((dropped[:c, :c], dropped[c:, :c]), (dropped[:c, :c], dropped[c:, c:])):
        agree = (first == second)[torch.ones(c, c, dtype=torch.bool).tril()].double().mean()
        assert float(agree) == pytest.approx(0.5, abs=0.08)  # of 2080: over seven standard deviations


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


def test_dropout_of_weights_in_blocks():
    """Of even weights over ones: dropping keeps the mean of 1 and no longer every row."""
    ones = torch.ones(1, 1, 400, 1)
    with isolated(0, "test"):
        y = blockwise_attention(
            lambda q, k: q @ k.mT, (ones,), (ones,), ones, causal=False, dropout=0.5, divide_by_row=0.0
        )
    assert float(y.mean()) == pytest.approx(1.0, abs=0.01)
    assert float(y.std()) == pytest.approx(1 / 20, rel=0.2)  # the root of p / (1 - p) / 400


@pytest.mark.parametrize("normalize", NORMALIZE)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_pairwise_gradients_by_finite_differences(make, normalize, dropout):
    waves, v = make.waves(1, 1, 5, 2), make.normal(1, 1, 5, 2).requires_grad_()

    def mix(a: Tensor, f: Tensor, p: Tensor, u: Tensor) -> Tensor:
        both = Waves(a, f, p)
        with isolated(0, "test"):  # the same weights are dropped each time
            return pairwise_attention(both, both, u, normalize=normalize, causal=True, dropout=dropout)

    torch.autograd.gradcheck(mix, (*waves, v))


def test_the_operator_is_well_formed(make):
    packed = make.normal(2, 3, 2, 6).abs().requires_grad_()
    arguments = (packed, packed.detach().clone(), make.normal(2, 6, 4).requires_grad_(), None, None, "row", True, 0.0)
    torch.library.opcheck(torch.ops.lot_wave.pairwise.default, arguments)


def test_a_second_derivative_raises_instead_of_being_zero(make):
    waves, v = make.waves(1, 1, 4, 2), make.normal(1, 1, 4, 2).requires_grad_()
    y = pairwise_attention(waves, waves, v, normalize="row", causal=True)
    (first,) = torch.autograd.grad(y.square().sum(), waves.amplitude, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        first.sum().backward()


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
        # Large negative pre-activations: softplus underflows to exactly 0 without endy token.
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


def test_the_operator_works_in_float32_under_autocast(make):
    waves, v = make.waves(1, 1, 50, 2, dtype=torch.float32), make.normal(1, 1, 50, 2).float().requires_grad_()
    y = pairwise_attention(waves, waves, v, normalize="softmax", causal=True)
    expected = torch.autograd.grad(y.sum(), [*waves, v])
    with torch.autocast("cpu", torch.bfloat16):
        z = pairwise_attention(waves, waves, v, normalize="softmax", causal=True)
        found = torch.autograd.grad(z.sum(), [*waves, v])
    for a, b in zip((z, *found), (y, *expected), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


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
