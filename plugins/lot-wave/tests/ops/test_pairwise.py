"""The pairwise operator equals the plain formula, in values and gradients, whatever its tiles are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lot.nn import attention_mask
from lot.random import isolated
from lot_wave.ops import tiles
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


def test_the_operator_works_in_float32_under_autocast(make):
    waves, v = make.waves(1, 1, 50, 2, dtype=torch.float32), make.normal(1, 1, 50, 2).float().requires_grad_()
    y = pairwise_attention(waves, waves, v, normalize="softmax", causal=True)
    expected = torch.autograd.grad(y.sum(), [*waves, v])
    with torch.autocast("cpu", torch.bfloat16):
        z = pairwise_attention(waves, waves, v, normalize="softmax", causal=True)
        found = torch.autograd.grad(z.sum(), [*waves, v])
    for a, b in zip((z, *found), (y, *expected), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
