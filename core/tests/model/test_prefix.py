"""The states below the first layer that trains: kept, they change no number, and nothing that looks into layers misses them."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from toy import toy_config

import lot
from lot.model.prefix import computed_anew, keep_prefix, prefix_of
from lot.nn import with_documents
from lot.storage import states
from lot.testing.specimens.next_token import NextToken
from lot.training.trained_part import train_only, trained

V, T, ONLY = 11, 12, ("blocks.2.*", "blocks.3.*")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def build(only=ONLY, dtype=torch.float32, **options):
    """A model of four layers that keeps its prefix."""
    model = lot.build_model(toy_config(model={"width": 16, "heads": 2, "layers": 4, **options}), NextToken(V, T))
    model = model.to(dtype)
    train_only(model, only)
    keep_prefix(model, trained(model, only))
    return model


def ids(rows=3, seed=0):
    return torch.randint(V, (rows, T), generator=torch.Generator().manual_seed(seed))


def counted(model, monkeypatch):
    """The numbers of sequences in the passes through the prefix, from here on."""
    passes: list[int] = []
    lower = model.lower

    def count(ids, ctx, layers):
        passes.append(len(ids))
        return lower(ids, ctx, layers)

    monkeypatch.setattr(model, "lower", count)
    return passes


def gradients(model, tokens, ctx):
    model.zero_grad()
    logits = model(tokens, ctx).logits
    torch.autograd.backward(
        logits, torch.randn(logits.shape, generator=torch.Generator().manual_seed(5), dtype=logits.dtype)
    )
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def padded():
    """A context with padding on the left, and the positions of the tokens."""
    padding = torch.arange(T) < torch.tensor([[0], [3], [5]])
    return lot.Context(padding=padding, positions=((~padding).cumsum(1) - 1).clamp(min=0))


def shared():
    """A context of rows that hold several documents, the second one behind padding."""
    segments = (torch.arange(T) >= torch.tensor([[4], [9], [12]])).long() + torch.tensor([[3], [0], [7]])
    return lot.Context(segments=segments, padding=torch.arange(T) < torch.tensor([[0], [2], [0]]))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("ctx", [lot.Context(), padded(), shared()], ids=["plain", "padded", "documents"])
def test_values_and_gradients_are_those_of_the_whole_model(dtype, tolerance, positions, ctx):
    model = build(dtype=dtype, positions=positions)
    with computed_anew(model):
        logits, own = gradients(model, ids(), ctx)
    for _ in ("computed", "kept"):
        again, kept = gradients(model, ids(), ctx)
        assert (again - logits).abs().max() <= tolerance * logits.abs().max()
        assert kept.keys() == own.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
        for name, gradient in own.items():
            assert (kept[name] - gradient).abs().max() <= tolerance * gradient.abs().max()


def test_a_sequence_passes_the_prefix_once(monkeypatch):
    model = build()
    passes = counted(model, monkeypatch)
    with torch.no_grad():
        model(ids())
        computed = len(passes)
        model.eval()
        model(ids().flip(0), lot.Context(step=torch.tensor(7)))
        assert len(passes) == computed
        model(torch.cat((ids()[1:], ids(1, seed=9))))
    assert passes[computed:] == [1]


def test_a_sequence_of_documents_passes_once_wherever_it_stands(monkeypatch):
    model, tokens = build(), ids()
    passes = counted(model, monkeypatch)
    segments = shared().segments
    with torch.no_grad():
        model(tokens, with_documents(lot.Context(segments=segments)))
        computed = len(passes)
        model(tokens.flip(0), with_documents(lot.Context(segments=segments.flip(0))))
        assert len(passes) == computed
        model(tokens[:1], lot.Context(segments=segments.roll(1)[:1]))  # other documents
    assert passes[computed:] == [1]


def test_bits_depend_neither_on_the_batch_nor_on_what_was_kept(cache):
    others, tokens = ids(5, seed=3), ids(1)
    with torch.no_grad():
        alone = build()(tokens).logits
        model = build()
        model(others)
        among = model(torch.cat((others[:2], tokens, others[2:])))
        states_of = prefix_of(model)._states
        assert torch.equal(states_of(torch.cat((others, tokens)), lot.Context())[-1:], states_of(tokens, lot.Context()))
        assert torch.equal(build()(tokens).logits, alone)
    assert among.logits.shape == (6, T, V)


def test_padding_and_positions_tell_sequences_apart():
    model = build()
    with torch.no_grad():
        plain = model(ids()).logits
        ctx = padded()
        with computed_anew(model):
            expected = model(ids(), ctx).logits
        assert torch.allclose(model(ids(), ctx).logits, expected, atol=1e-6)
        assert not torch.allclose(plain[1], expected[1], atol=1e-3)


def test_a_signal_or_a_hook_in_the_prefix_makes_it_compute():
    model = build()
    with torch.no_grad():
        model(ids())
        model.set_want(frozenset({"hidden", "attention"}))
        signals = model(ids()).signals
        assert signals["hidden"].shape[0] == 5
        assert list(signals["attention"]) == [0, 1, 2, 3]
        model.set_want(frozenset())
        seen: list[torch.Tensor] = []
        hook = model.layers[1].attention.register_forward_hook(lambda *given: seen.append(given[2][0]))
        model(ids())
        hook.remove()
        assert len(seen) == 1
        model(ids())
        assert len(seen) == 1


def test_gradients_that_are_asked_for_below_reach_there():
    model = build()
    model(ids())
    model.embedding.weight.requires_grad_()
    model(ids()).logits.sum().backward()
    assert model.embedding.weight.grad.abs().max() > 0


def test_other_weights_of_the_prefix_are_other_states():
    model = build()
    with torch.no_grad():
        before = model(ids()).logits
        weight = model.layers[0].attention.heads.out.weight
        kept = weight.clone()
        weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
        with computed_anew(model):
            expected = model(ids()).logits
        assert torch.allclose(model(ids()).logits, expected, atol=1e-6)
        assert not torch.allclose(before, expected, atol=1e-3)
        weight.copy_(kept)
        assert torch.equal(model(ids()).logits, before)


def test_weights_above_are_free(cache):
    model = build()
    with torch.no_grad():
        model(ids())
        (folder,) = (path for path in (cache / "prefix").iterdir() if path.is_dir())
        model.layers[2].attention.heads.out.weight.mul_(2)
        model.layers[3].mlp.up.weight.mul_(2)
        model(ids())
    assert [path for path in (cache / "prefix").iterdir() if path.is_dir()] == [folder]


def test_a_copy_has_its_own_weights():
    model = build()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        before = model(ids()).logits
        assert torch.equal(twin(ids()).logits, before)
        twin.layers[0].mlp.up.weight.mul_(3)
        assert torch.equal(model(ids()).logits, before)
        assert not torch.allclose(twin(ids()).logits, before, atol=1e-4)
    assert prefix_of(twin) is not prefix_of(model)


def test_a_model_goes_as_soon_as_nobody_holds_it():
    model = build()
    seen = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert seen() is None
    finally:
        gc.enable()


def test_compiled_it_is_the_same():
    model = build()
    with torch.no_grad():
        expected = model(ids()).logits
        torch._dynamo.reset()
        assert torch.allclose(torch.compile(model, backend="eager")(ids()).logits, expected, atol=1e-6)
        torch._dynamo.reset()


def test_damaged_states_are_computed_again(cache):
    with torch.no_grad():
        expected = build()(ids()).logits
        (file,) = cache.glob("prefix/*/states")
        raw = bytearray(file.read_bytes())
        for place in range(200, len(raw), 500):
            raw[place] ^= 255
        file.write_bytes(raw)
        model = build()
        assert torch.equal(model(ids()).logits, expected)
        assert torch.equal(build()(ids()).logits, expected)


def test_a_full_disk_is_told_once_and_costs_time_only(monkeypatch):
    told: list[str] = []
    model = build()
    prefix_of(model).warn = told.append
    with torch.no_grad():
        expected = build()(ids(seed=4)).logits
        monkeypatch.setattr(states, "LEFT_FREE", 1 << 62)
        assert torch.equal(model(ids(seed=4)).logits, expected)
        model(ids(seed=5))
        model(ids(seed=6))
    (line,) = told
    assert "no more states are kept: less than" in line


def test_a_cache_that_cannot_be_written_is_told_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "file" / "cache"))
    told: list[str] = []
    model = build()
    prefix_of(model).warn = told.append
    with torch.no_grad():
        kept = model(ids()).logits
        with computed_anew(model):
            assert torch.allclose(kept, model(ids()).logits, atol=1e-6)
        model(ids(seed=1))
    (line,) = told
    assert line.startswith("no more states are kept: Not a directory")


class _Whole(lot.Decoder):
    """A model that cannot be entered between two layers."""

    lower, upper = lot.Model.lower, lot.Model.upper


@pytest.mark.parametrize(
    ("only", "options", "told"),
    [
        ((), {}, "got a training in which layer 0 trains"),
        (("embed", "blocks.3.*"), {}, "got a training in which the embedding trains"),
        (("blocks.3.*", "positions.*"), {}, "got a parameter that trains and acts below layer 3"),
        (("blocks.3.*",), {"dropout": 0.5}, "are not always the same: they are random, or depend on the step"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_one_line(only, options, told):
    with pytest.raises(lot.BadInput, match=told) as caught:
        build(only, **options)
    assert caught.value.where == "train.cache_prefix"
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_without_the_two_halves_is_refused():
    model = build()
    model.__class__ = _Whole
    with pytest.raises(lot.BadInput, match="cannot be entered between two layers"):
        keep_prefix(model, trained(model, ONLY))
