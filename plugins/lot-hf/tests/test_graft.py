"""An attention in a pretrained layer: what it takes over, where it begins, and what the run says of both."""

from __future__ import annotations

import math

import pytest
import torch

import lot
from lot.nn import find_projections

NEUTRAL = {
    "lattice": {},
    "hybrid": {"inner": {"name": "vanilla"}},
    "toroidal": {"depth": 2},
    "toroidal_adaptive": {"depths": [1, 2]},
}


def attention(name: str) -> None:
    """Skips the test where the package of an attention is not installed."""
    if name not in lot.registry().names("attention"):
        pytest.skip(f"{name} is not installed")


@pytest.fixture(params=["llama", "gpt2"])
def folder(request, write, configs):
    return write(configs[request.param])


@torch.no_grad()
@pytest.mark.parametrize("name", NEUTRAL)
def test_a_neutral_graft_is_the_pretrained_function(name, folder, build, ids):
    attention(name)
    plain = build(folder).double()
    other = {"attn": {"name": name, **NEUTRAL[name]}}
    model = build(folder, layers=[0, 2], other=other).double()
    assert not torch.allclose(model(ids()).logits, plain(ids()).logits, atol=1e-3)
    held = build(folder, layers=[0, 2], other={**other, "train": {"neutral": True}}).double()
    torch.testing.assert_close(held(ids()).logits, plain(ids()).logits, atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_a_lattice_without_strength_begins_as_the_pretrained_model_and_learns_its_strength(folder, build, ids):
    attention("lattice")
    plain = build(folder).double()
    model = build(folder, layers=[1], other={"attn": {"name": "lattice", "alpha": 0.0}}).double()
    torch.testing.assert_close(model(ids()).logits, plain(ids()).logits, atol=1e-9, rtol=1e-9)
    assert "begins as the pretrained attention" in model.describe()
    with torch.enable_grad():
        model(ids()).logits.square().mean().backward()
    assert model.attentions[1].alpha.grad.abs().max() > 0


@torch.no_grad()
def test_layers_that_are_not_chosen_stay_vanilla(folder, build):
    attention("lattice")
    model = build(folder, layers=[1], other={"attn": {"name": "lattice"}})
    kinds = [type(block.attention).__name__ for block in model.layers]
    assert kinds == ["Vanilla", "LatticeAttention", "Vanilla"]
    assert list(model.attentions) == [1]


def test_different_layers_can_have_different_attentions(folder, build):
    attention("lattice")
    table = {"name": "vanilla", "layers": {2: {"name": "lattice"}}}
    model = build(folder, layers=[0, 2], other={"attn": table})
    assert [type(one).__name__ for one in model.attentions.values()] == ["Vanilla", "LatticeAttention"]


def test_a_layer_that_is_not_chosen_has_no_attention_to_choose(folder, build):
    with pytest.raises(lot.BadInput, match=r"attn\.layers\.1: expected one of the layers 0, 2"):
        build(folder, layers=[0, 2], other={"attn": {"name": "vanilla", "layers": {1: {"name": "vanilla"}}}})


def test_only_what_is_new_is_not_loaded(folder, build):
    attention("lattice")
    model = build(folder, layers=[1], other={"attn": {"name": "lattice"}})
    new = {name for name, _ in model.named_parameters()} - model.loaded
    own = {"alpha", "coupling", "drive.weight", "frequency", "log_spacing", "start_phase"}
    assert new == {f"blocks.1.attention.{name}" for name in own}


@torch.no_grad()
def test_weights_are_where_the_mechanism_keeps_them(write, configs, values, build):
    attention("hybrid")
    weights = values(configs["llama"])
    model = build(write(configs["llama"], weights), layers=[2], other={"attn": {"name": "hybrid"}})
    path, found = find_projections(model.attentions[2])
    names = [f"model.layers.2.self_attn.{name}_proj.weight" for name in "qkv"]
    assert path == "inner.heads."
    assert torch.equal(found.qkv.weight, torch.cat([weights[name] for name in names]))
    assert torch.equal(found.out.weight, weights["model.layers.2.self_attn.o_proj.weight"])


def test_the_distance_from_the_pretrained_attention_is_told(folder, build):
    attention("lattice")
    model = build(folder, layers=[1], other={"attn": {"name": "lattice", "alpha": 2.0}})
    told = model.describe()
    percent = float(told.partition("begins ")[2].partition(" %")[0])
    assert 0 < percent < math.inf
    assert "its neutral form (train.neutral) is the pretrained attention" in told


@torch.no_grad()
def test_a_mechanism_without_projections_takes_over_nothing_and_says_so(folder, build, ids):
    attention("interference")
    model = build(folder, layers=[1], other={"attn": {"name": "interference"}})
    assert "takes over nothing" in model.describe()
    assert "it has no neutral form" in model.describe()
    assert not any(name.startswith("blocks.1.attention.") for name in model.loaded)
    assert torch.isfinite(model(ids()).logits).all()


@torch.no_grad()
@pytest.mark.parametrize("name", ["lattice", "toroidal"])
def test_a_graft_decodes_with_a_cache_what_it_computes_at_once(name, folder, build, ids):
    attention(name)
    model = build(folder, layers=[1, 2], other={"attn": {"name": name}}).double()
    prompt = ids(2, 5)
    drawn = lot.generate(model, prompt, 12, generator=torch.Generator(), temperature=0.0)
    text = prompt
    for one in drawn:
        assert torch.equal(one.ids, model(text).logits[:, -1].argmax(-1))
        text = torch.cat((text, one.ids[:, None]), dim=1)


def test_training_moves_what_train_only_says(folder, build, ids):
    attention("lattice")
    from lot.training.trained_part import train_only

    model = build(folder, layers=[1], other={"attn": {"name": "lattice"}})
    train_only(model, ["attn"])
    moved = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert moved
    assert all(name.startswith("blocks.1.attention.") for name in moved)
    train_only(model, ["new"])
    moved = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert moved == {name for name, _ in model.named_parameters()} - model.loaded


def test_recomputed_activations_give_the_same_gradients(folder, build, ids):
    attention("lattice")
    found = []
    for recompute in (False, True):
        other = {"attn": {"name": "lattice"}}
        model = build(folder, layers=[1], recompute=recompute, other=other).double().train()
        model(ids()).logits.square().mean().backward()
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    plain, again = found
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-12, rtol=1e-9)
