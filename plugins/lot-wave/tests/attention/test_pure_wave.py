"""Pure wave attention, and the linear attention under it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lot import Context
from lot_wave.ops.linear import CHUNK, LinearState, linear_attention
from lot_wave.ops.positive_kernels import EPSILON, apply_kernel

KERNELS = ("elu_plus_one", "sigmoid", "exp")


def quadratic(query, key, v, allowed):
    weights = (query @ key.transpose(-1, -2)).masked_fill(~allowed, 0.0)
    return weights @ v / (weights.sum(-1, keepdim=True) + EPSILON)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("T", [1, CHUNK - 1, CHUNK, 3 * CHUNK + 5])
@pytest.mark.parametrize("causal", [True, False])
def test_the_linear_form_equals_the_quadratic_one(make, close, kernel, T, causal):
    sq, sk = (make.normal(2, 2, T, 4).requires_grad_() for _ in range(2))
    v = make.normal(2, 2, T, 3).requires_grad_()
    fq, fk = apply_kernel(sq, kernel), apply_kernel(sk, kernel)
    allowed = torch.ones(T, T, dtype=torch.bool)
    expected = quadratic(fq, fk, v, allowed.tril() if causal else allowed)
    found = linear_attention(fq, fk, v, causal=causal)
    close(found, expected, 1e-11)
    upstream = make.normal(*found.shape)
    for ours, theirs in zip(
        torch.autograd.grad(found, (sk, v), upstream, retain_graph=True),
        torch.autograd.grad(expected, (sk, v), upstream, retain_graph=True),
        strict=True,
    ):
        # A single token weighs 1 whatever it is, up to epsilon: compared as it stands.
        assert float((ours - theirs).abs().max()) <= 1e-10 * max(1.0, float(theirs.abs().max()))


def test_padded_keys_weigh_nothing_in_the_linear_form(make, close):
    T = 100
    query, key = make.normal(2, 1, T, 4).exp(), make.normal(2, 1, T, 4).exp()
    v = make.normal(2, 1, T, 3)
    padding = torch.zeros(2, T, dtype=torch.bool)
    padding[0, :70] = True
    found = linear_attention(query, key, v, causal=True, padding=padding)
    alone = linear_attention(query[:1, :, 70:], key[:1, :, 70:], v[:1, :, 70:], causal=True)
    close(found[:1, :, 70:], alone, 1e-12)
    assert float(found[0, :, :70].abs().max()) == 0.0


def test_the_state_takes_any_pieces(make, close):
    T = 3 * CHUNK
    query, key, v = make.normal(1, 2, T, 4).exp(), make.normal(1, 2, T, 4).exp(), make.normal(1, 2, T, 3)
    expected = linear_attention(query, key, v, causal=True)
    state, found, start = LinearState(), [], 0
    for n in (5, 1, CHUNK + 7, 1, T - CHUNK - 14):
        rows = slice(start, start + n)
        found.append(state.extend(query[:, :, rows], key[:, :, rows], v[:, :, rows]))
        start += n
    assert start == T
    close(torch.cat(found, dim=2), expected, 1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kernel_on", ["features", "scores"])
@pytest.mark.parametrize("own_keys", [False, True])
def test_the_module_equals_its_weights_times_values(make, close, kernel, kernel_on, own_keys):
    module = make.pure_wave(make.dims(max_len=150), kernel=kernel, kernel_on=kernel_on, own_keys=own_keys)
    module.want = frozenset({"attention"})
    x = make.normal(2, 140, 16).requires_grad_()
    y, signals = module(x, Context(start=2))
    _, _, v = module._split(x)
    torch.testing.assert_close(
        signals["attention"].sum(-1), torch.ones(2, 2, 140, dtype=torch.float64), atol=1e-4, rtol=0
    )
    expected = module._merge(signals["attention"] @ v)
    close(y, expected, 1e-10)
    leaves, upstream = [x, *module.parameters()], make.normal(*y.shape)
    for ours, theirs in zip(
        torch.autograd.grad(y, leaves, upstream, retain_graph=True),
        torch.autograd.grad(expected, leaves, upstream),
        strict=True,
    ):
        close(ours, theirs, 1e-9)


def test_kernels_are_what_their_names_say():
    x = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0], dtype=torch.float64)
    torch.testing.assert_close(apply_kernel(x, "elu_plus_one"), torch.where(x > 0, x + 1, x.exp()))
    torch.testing.assert_close(apply_kernel(x, "sigmoid"), 1 / (1 + (-x).exp()))
    torch.testing.assert_close(apply_kernel(x, "exp"), x.exp())


@pytest.mark.parametrize("kernel_on", ["features", "scores"])
@pytest.mark.parametrize("own_keys", [False, True])
def test_weights_are_those_of_sines_that_are_linear_in_the_token(make, close, kernel_on, own_keys):
    module = make.pure_wave(kernel="sigmoid", kernel_on=kernel_on, own_keys=own_keys)
    module.want = frozenset({"attention"})
    x, start = make.normal(2, 6, 16), 3
    time = torch.arange(start, start + 6, dtype=torch.float64)[:, None]

    def sines(waves):
        amplitude, frequency, phase = (x @ waves.linear.weight.T).view(2, 6, 3, 2, 3).permute(2, 0, 3, 1, 4)
        return F.softplus(amplitude) * torch.sin(phase + frequency * time)  # (B, H, T, W)

    query, key = sines(module.token_waves), sines(module.key_waves or module.token_waves)
    if kernel_on == "features":
        weights = torch.sigmoid(query) @ torch.sigmoid(key).mT
    else:
        weights = torch.sigmoid(query @ key.mT / math.sqrt(3))
    weights = weights.tril() / (weights.tril().sum(-1, keepdim=True) + EPSILON)
    close(module(x, Context(start=start))[1]["attention"], weights, 1e-10)


def test_scores_and_features_are_two_models(make):
    """The two of the source, from equal parameters."""
    module = make.pure_wave(kernel="elu_plus_one", kernel_on="features")
    other = make.pure_wave(kernel="elu_plus_one", kernel_on="scores")
    other.load_state_dict(module.state_dict())
    x = make.normal(1, 20, 16)
    assert float((module(x, Context())[0] - other(x, Context())[0]).detach().abs().max()) > 1e-3


def test_exp_of_large_features_stays_finite_over_a_long_sequence(make):
    T = 2048
    sine = 200 * make.normal(1, 1, T, 4).float().sin().requires_grad_()
    y = linear_attention(
        apply_kernel(sine, "exp"), apply_kernel(sine, "exp"), make.normal(1, 1, T, 2).float(), causal=True
    )
    (gradient,) = torch.autograd.grad(y.sum(), sine)
    assert torch.isfinite(y).all()
    assert torch.isfinite(gradient).all()


def test_memory_of_the_linear_form_grows_with_t_and_not_with_its_square(make):
    """What autograd keeps, in numbers: twice the tokens, twice as many."""

    def saved(T: int) -> int:
        query = make.normal(1, 1, T, 4).exp().requires_grad_()
        v = make.normal(1, 1, T, 3).requires_grad_()
        kept: dict[int, int] = {}

        def pack(x):
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            y = linear_attention(query, query, v, causal=True)
        assert y.requires_grad
        return sum(kept.values())

    assert saved(32 * CHUNK) < 2.2 * saved(16 * CHUNK)


def test_the_decoding_state_does_not_grow(make):
    module = make.pure_wave()
    cache = module.init_cache(1, "cpu", torch.float64)
    for t in range(10):
        _, cache = module.decode(make.normal(1, 1, 16), Context(start=t), cache)
    assert cache.sums.shape == (1, 2, 3, 8 + 1)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kernel_on", ["features", "scores"])
def test_the_published_form_equals_its_formula(make, close, kernel, kernel_on):
    """s = sin(f t + g), of unit norm over the waves, times W^(1/4); a query at t sees t + 1 keys."""
    B, H, T, W = 2, 2, 13, 3
    module = make.pure_wave(form="published", kernel=kernel, kernel_on=kernel_on)
    x = make.normal(B, T, 16).requires_grad_()
    positive = {"elu_plus_one": lambda s: F.elu(s) + 1, "sigmoid": torch.sigmoid, "exp": torch.exp}[kernel]
    t = torch.arange(T, dtype=torch.float64)[:, None]

    def sines(linear):
        f, g = (x @ linear.weight.T + linear.bias).chunk(2, dim=-1)  # (B, T, H W) each
        s = (f.unflatten(-1, (H, W)) * t[:, None] + g.unflatten(-1, (H, W))).sin().transpose(1, 2)  # (B, H, T, W)
        return s / s.square().sum(-1, keepdim=True).sqrt() * W**0.25

    q, k = sines(module.token_waves.linear), sines(module.key_waves.linear)
    v = (x @ module.value.weight.T + module.value.bias).unflatten(-1, (H, -1)).transpose(1, 2)
    rows = []
    for i in range(T):
        if kernel_on == "features":
            phi_q, phi_k = positive(q[:, :, i]), positive(k[:, :, : i + 1])
            above = torch.einsum("bhw,bhtw,bhtd->bhd", phi_q, phi_k, v[:, :, : i + 1])
            rows.append(above / ((phi_q * phi_k.sum(2)).sum(-1, keepdim=True) + 1e-6))
        else:
            score = module.scale[:, None] * torch.einsum("bhw,bhtw->bht", q[:, :, i], k[:, :, : i + 1])
            rows.append(torch.einsum("bht,bhtd->bhd", positive(score), v[:, :, : i + 1]) / math.sqrt(i + 1))
    y = torch.stack(rows, 1).flatten(2)  # (B, T, H d)
    expected = y @ module.out.weight.T + module.out.bias
    found, _ = module(x, Context())
    close(found, expected, 1e-11)
    inputs = [x, *module.parameters()]
    upstream = make.normal(*found.shape)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        close(ours, theirs, 1e-9)


def test_the_published_scale_starts_at_1(make):
    module = make.pure_wave(form="published", kernel_on="scores")
    module.reset_parameters(lambda name: make.generator)
    assert module.scale.tolist() == [1.0, 1.0]
    assert make.pure_wave(form="published").scale is None


@pytest.mark.parametrize("kernel_on", ["features", "scores"])
def test_the_published_weights_times_values_are_the_output(make, close, kernel_on):
    module = make.pure_wave(form="published", kernel_on=kernel_on)
    module.want = frozenset({"attention"})
    padding = torch.zeros(2, 30, dtype=torch.bool)
    padding[1, 20:] = True
    x = make.normal(2, 30, 16)
    y, signals = module(x, Context(padding=padding))
    _, _, v = module._split(x)
    expected = module._merge(signals["attention"] @ v)
    close(y[0], expected[0], 1e-11)
    close(y[1, :20], expected[1, :20], 1e-11)
