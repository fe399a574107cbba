"""Components: plain data that imports nothing until it is built."""

from __future__ import annotations

import sys
from typing import Any

import attrs
import pytest
import torch
from kit_specimens import leaks, mechanisms, specimen

from lot.builtin.config import AdamWConfig
from lot.contracts import Dims
from lot.errors import BadInput, PluginError
from lot.options.declare import RESERVED, option
from lot.plugins.component import Component

DIMS = Dims(width=8, heads=2, max_len=8, vocab_size=5)


def make(**fields: Any) -> Component:
    return Component(**{"name": "waves", "summary": "Waves.", "factory": "waves:Waves", **fields})


@pytest.mark.parametrize("name", ["Waves", "my-waves", "2waves", "", "waves\n", "wäves", "_waves"])
def test_names_are_lower_case_words(name):
    with pytest.raises(ValueError, match="lower-case letters, digits and underscores"):
        make(name=name)


@pytest.mark.parametrize("factory", ["waves", "waves.Waves", "waves:a:b"])
def test_a_factory_names_module_and_attribute(factory):
    with pytest.raises(ValueError, match=r"expected 'package\.module:Name'"):
        make(factory=factory)


@pytest.mark.parametrize("key", sorted(RESERVED))
def test_options_cannot_take_keys_of_the_framework(key):
    config = attrs.make_class("Config", {key: attrs.field(default=1)}, frozen=True, kw_only=True)
    with pytest.raises(ValueError, match=f"option '{key}' is a key of the framework"):
        make(config=config)


def test_a_configuration_is_an_attrs_class():
    with pytest.raises(ValueError, match="is no attrs class"):
        make(config=dict)


def test_options_have_types():
    config = attrs.make_class("Config", {"speed": option(1.0, help="speed")}, frozen=True, kw_only=True)
    with pytest.raises(ValueError, match="option 'speed' has no type, as in speed: float = option"):
        make(config=config)


def test_sets_of_names_are_taken_in_any_form():
    assert make(emits="phase").emits == make(emits=["phase"]).emits == frozenset({"phase"})


def test_making_one_imports_nothing():
    make(factory="kit_specimens_that_do_not_exist:Waves")
    assert "kit_specimens_that_do_not_exist" not in sys.modules


@pytest.mark.parametrize("factory", ["kit_specimens.nowhere:Honest", "kit_specimens.leaks:Missing"])
def test_a_factory_that_does_not_load_names_its_plugin(factory):
    broken = make(factory=factory, kind="attention", distribution="lot-waves")
    with pytest.raises(PluginError, match=r"lot-waves: attention 'waves': .* did not load") as error:
        broken.build(DIMS)
    assert isinstance(error.value.__cause__, (ModuleNotFoundError, AttributeError))


@attrs.frozen(kw_only=True)
class Config:
    coupling: float = option(0.5, ge=0, help="strength")


def test_options_are_checked_under_the_name_of_the_component():
    component = make(config=Config)
    assert component.configure(coupling=2).coupling == 2.0
    with pytest.raises(BadInput, match=r"waves\.couplng: unknown option; did you mean 'coupling'\?"):
        component.configure(couplng=2)
    with pytest.raises(BadInput, match=r"waves\.coupling: expected a number >= 0, got -1"):
        component.configure(coupling=-1.0)


def test_building_initializes_by_seed_and_leaves_the_global_generator():
    component = specimen(leaks.Honest, "attention")
    before = torch.random.get_rng_state()
    first, again, other = (component.build(DIMS, seed=seed).heads.qkv.weight for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_arms_share_the_values_of_parameters_of_one_name():
    plain = specimen(leaks.Honest, "attention").build(DIMS, seed=3)
    richer = dict(specimen(mechanisms.Oscillators, "attention").build(DIMS, seed=3).named_parameters())
    assert all(torch.equal(p, richer[name]) for name, p in plain.named_parameters())


def test_a_named_config_is_imported_when_it_is_asked_for() -> None:
    named = Component(name="x", summary="s", factory="m:n", config="lot.builtin.config:AdamWConfig")
    assert named.config_class is AdamWConfig
    assert named.configure(lr=0.5) == AdamWConfig(lr=0.5)
    lost = Component(
        name="x", summary="s", factory="m:n", config="lot.builtin.plugin:Nowhere", distribution="lot-x", kind="loss"
    )
    with pytest.raises(PluginError, match=r"lot-x: loss 'x': lot.builtin.plugin:Nowhere did not load"):
        lost.configure()
    plain = Component(
        name="x", summary="s", factory="m:n", config="lot.plugins.component:Component.load", distribution="lot-x"
    )
    with pytest.raises(PluginError, match="did not load"):
        _ = plain.config_class
    function = Component(
        name="x", summary="s", factory="m:n", config="lot.options.declare:describe", distribution="lot-x"
    )
    with pytest.raises(PluginError, match=r"lot-x: component x: config .* is no attrs class"):
        _ = function.config_class
