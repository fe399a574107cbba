"""Decoding: the cache of keys and values, and what an attention gets by writing `empty_cache` and `extend`."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from lot.contracts import Context, Dims
from lot.errors import BadInput
from lot.nn import Ablatable, CachedAttention, KeyValueCache, attend


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class RunningSum(Ablatable, CachedAttention[Tensor]):
    """y_t = x_0 + ... + x_t, or noise in place of that sum while it is ablated."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        if self.scrambler is not None:
            return torch.rand(x.shape, generator=self.scrambler, dtype=x.dtype), {}
        return x.cumsum(1), {}

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> Tensor:
        return torch.zeros(batch, 1, 3, device=device, dtype=dtype)

    def extend(self, x: Tensor, ctx: Context, cache: Tensor) -> tuple[Tensor, Tensor]:
        y = cache + x.cumsum(1)
        return y, y[:, -1:]


def test_two_methods_are_enough_to_decode():
    module, x = RunningSum(), random(2, 5, 3)
    assert module.can_decode()
    cache = module.init_cache(2, "cpu", torch.float64)
    prompt, cache = module.prefill(x[:, :3], Context(), cache)
    one, cache = module.decode(x[:, 3:4], Context(start=3), cache)
    last, _ = module.decode(x[:, 4:], Context(start=4), cache)
    torch.testing.assert_close(torch.cat((prompt, one, last), dim=1), module(x, Context())[0])


def test_what_sees_the_future_cannot_decode():
    module = RunningSum()
    module.causal = False
    assert not module.can_decode()
    with pytest.raises(BadInput, match="a non-causal attention cannot decode token by token"):
        module.init_cache(1, "cpu", torch.float64)


def test_a_module_that_cannot_decode_for_another_reason_is_not_called_non_causal():
    class Refusing(RunningSum):
        def can_decode(self) -> bool:
            return False

    with pytest.raises(BadInput, match="this attention cannot decode token by token"):
        Refusing().init_cache(1, "cpu", torch.float64)


def test_decoding_goes_through_a_prefill_that_a_subclass_has_changed():
    class Doubled(RunningSum):
        def prefill(self, x: Tensor, ctx: Context, cache: Tensor) -> tuple[Tensor, Tensor]:
            return super().prefill(2 * x, ctx, cache)

    x, module = random(1, 1, 3), Doubled()
    y, _ = module.decode(x, Context(), module.init_cache(1, "cpu", torch.float64))
    assert torch.equal(y, 2 * x)


def test_ablation_lasts_as_long_as_its_context_even_if_that_ends_in_an_error():
    module, x = RunningSum(), random(1, 4, 3)
    before = module(x, Context())[0]
    with module.ablate(torch.Generator().manual_seed(0)):
        assert not torch.equal(module(x, Context())[0], before)
    assert torch.equal(module(x, Context())[0], before)
    with pytest.raises(KeyError), module.ablate(torch.Generator()):
        raise KeyError
    assert torch.equal(module(x, Context())[0], before)


def test_the_generator_of_an_ablation_is_no_part_of_the_state():
    module = nn.Sequential(RunningSum())
    with module[0].ablate(torch.Generator()):
        assert not module.state_dict()


@settings(max_examples=30)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.booleans(), st.booleans(), st.integers(0, 99))
def test_a_cache_fed_in_pieces_gives_what_the_whole_gives(pieces, with_features, with_padding, seed):
    T = sum(pieces)
    dims = Dims(width=8, heads=2, max_len=T + 2, vocab_size=5)
    q, k, v = (random(2, 2, T, 4, seed=seed + i) for i in range(3))
    fq, fk = (random(2, 2, T, 3, seed=seed + i).float() for i in (4, 5)) if with_features else (None, None)
    padding = torch.rand(2, T, generator=torch.Generator().manual_seed(seed)) < 0.3 if with_padding else None
    cache = KeyValueCache.empty(2, dims, "cpu", torch.float64, 3 if with_features else 0)
    found, start = [], 0
    for n in pieces:
        piece = slice(start, start + n)
        cache.append(
            k[:, :, piece],
            v[:, :, piece],
            None if fk is None else fk[:, :, piece],
            None if padding is None else padding[:, piece],
        )
        found.append(cache.attend(q[:, :, piece], query_features=None if fq is None else fq[:, :, piece]))
        start += n
    whole = attend(q, k, v, causal=True, padding=padding, query_features=fq, key_features=fk)
    torch.testing.assert_close(torch.cat(found, dim=2), whole, atol=1e-12, rtol=0)
    assert cache.length == T


def test_padding_that_comes_with_a_later_piece_counts_from_there():
    dims = Dims(width=4, heads=1, max_len=4, vocab_size=5)
    cache = KeyValueCache.empty(1, dims, "cpu", torch.float64)
    k, v = random(1, 1, 4, 4, seed=1), random(1, 1, 4, 4, seed=2)
    cache.append(k[:, :, :2], v[:, :, :2])
    cache.append(k[:, :, 2:3], v[:, :, 2:3], padding=torch.tensor([[True]]))
    cache.append(k[:, :, 3:], v[:, :, 3:])
    q = random(1, 1, 1, 4, seed=3)
    expected = attend(q, k, v, causal=True, padding=torch.tensor([[False, False, True, False]]))
    torch.testing.assert_close(cache.attend(q), expected)


def test_a_full_cache_says_so_and_keeps_what_it_holds():
    dims = Dims(width=4, heads=1, max_len=3, vocab_size=5)
    cache = KeyValueCache.empty(1, dims, "cpu", torch.float64)
    k = random(1, 1, 3, 4)
    cache.append(k[:, :, :2], k[:, :, :2])
    kept = cache.k.clone()
    with pytest.raises(BadInput, match="holds 3 tokens; 4 were given"):
        cache.append(k[:, :, :2], k[:, :, :2])
    assert cache.length == 2
    assert torch.equal(cache.k, kept)


def test_a_narrow_cache_serves_wide_queries():
    dims = Dims(width=8, heads=2, max_len=6, vocab_size=5)
    cache = KeyValueCache.empty(1, dims, "cpu", torch.bfloat16)
    q, k, v = (random(1, 2, 6, 4, seed=i, dtype=torch.float32) for i in range(3))
    cache.append(k, v)
    found = cache.attend(q)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, attend(q, k.bfloat16().float(), v.bfloat16().float(), causal=True))
