"""From defaults, file, flags and overrides to one configuration that replays itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from lot.config.load import load_config
from lot.errors import BadInput
from lot.options.declare import option
from lot.plugins.component import Component
from lot.plugins.registry import registry


@attrs.frozen(kw_only=True)
class WavesConfig:
    depth: int = option(1, ge=1, help="depth")
    speed: float = option(0.5, help="speed")


EXTRA = {
    "attention": [
        Component(name="waves", summary="s", factory="m:n", config=WavesConfig, emits="phase", watch=["order"])
    ],
    "task": [Component(name="toy", summary="s", factory="m:n"), Component(name="other", summary="s", factory="m:n")],
    "loss": [
        Component(name="sync", summary="s", factory="m:n", weight=0.02, needs="phase"),
        Component(name="whole", summary="s", factory="m:n", replaces="cross_entropy"),
    ],
    "diagnostic": [Component(name="order", summary="s", factory="m:n", every=20, needs="phase")],
}


class WithExtra:
    """The core's registry and a few components more."""

    def names(self, kind: str) -> list[str]:
        return sorted([*registry().names(kind), *(c.name for c in EXTRA.get(kind, []))])

    def get(self, kind: str, name: str) -> Component:
        return next((c for c in EXTRA.get(kind, []) if c.name == name), None) or registry().get(kind, name)


def load(source: Any = None, **options: Any) -> Any:
    return load_config(source, registry=WithExtra(), **options)  # type: ignore[arg-type]


TOY = {"task": {"name": "toy"}}


def test_defaults() -> None:
    config = load(TOY)
    assert config.attn.name == "vanilla"
    assert config.optim.options.lr == 1e-3
    assert list(config.losses) == ["cross_entropy"]
    assert config.title == "toy-vanilla"


def test_the_warmup_is_recorded_as_the_number_that_it_is() -> None:
    assert load(TOY).to_dict()["train"]["warmup"] == 50
    assert load(TOY, overrides=["train.steps=20"]).to_dict()["train"]["warmup"] == 2
    assert load(TOY, overrides=["train.steps=20", "train.warmup=50"]).train.warmup == 50
    assert load({**TOY, "train": {"warmup": 7}}, overrides=["train.warmup=null"]).train.warmup == 50


def test_precedence_is_file_then_flags_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("task: {name: toy}\nattn: {name: waves, depth: 3}\noptim: {lr: 0.1}\nseed: 1\n")
    assert load(file).attn.options.depth == 3
    assert load(file, select={"attn": "waves"}).attn.options.depth == 3, "the same component keeps its table"
    assert load(file, select={"attn": "vanilla"}).attn.table() == {"name": "vanilla", "causal": None}
    changed = load(file, select={"attn": "waves"}, overrides=["attn.depth=4", "optim.lr=3e-4", "seed=2"])
    assert (changed.attn.options.depth, changed.optim.options.lr, changed.seed) == (4, 3e-4, 2)
    assert load(file, overrides=["attn.name=vanilla"]).attn.name == "vanilla", "naming another one replaces the table"


def test_naming_what_is_chosen_anyway_keeps_its_options() -> None:
    file = {**TOY, "optim": {"lr": 0.1}, "embed": {}}
    assert load(file, select={"optim": "adamw"}).optim.options.lr == 0.1
    assert load(file, overrides=["optim.name=adamw"]).optim.options.lr == 0.1
    assert load(file, select={"optim": "muon"}).optim.options.lr != 0.1


@pytest.mark.parametrize("first", [0, 1])
def test_the_order_of_overrides_does_not_matter(first: int) -> None:
    named = ["attn.depth=4", "attn.name=waves"]
    assert load(TOY, overrides=[named[first], named[1 - first]]).attn.options == WavesConfig(depth=4)
    layer = ["attn.layers.1.depth=4", "attn.layers.1.name=waves"]
    chosen = load(TOY, overrides=[layer[first], layer[1 - first]])
    assert chosen.attention_of(1).options == WavesConfig(depth=4)
    table = ["train.steps=7", "train={batch_size: 3}"]
    train = load(TOY, overrides=[table[first], table[1 - first]]).train
    assert (train.steps, train.batch_size) == (7, 3)


def test_the_resolved_file_replays() -> None:
    config = load(
        {**TOY, "attn": {"name": "waves", "layers": {1: {"depth": 2}, 0: {"name": "vanilla"}}}},
        losses=["sync"],
        overrides=["losses.sync.schedule.kind=linear", "losses.sync.schedule.over=30", "diagnostics.grad_norm.every=7"],
    )
    again = load(config.to_dict())
    assert again == config
    assert again.to_yaml() == config.to_yaml()
    from lot.config.yaml import parse_yaml

    assert load(parse_yaml(config.to_yaml(), "x")) == config


def test_layers_inherit_unless_they_name_a_component() -> None:
    config = load({**TOY, "attn": {"name": "waves", "speed": 2.0, "layers": {1: {"depth": 2}, 0: {"name": "waves"}}}})
    assert config.attention_of(1).options == WavesConfig(depth=2, speed=2.0)
    assert config.attention_of(0).options == WavesConfig()
    over = load(TOY, overrides=["attn.layers.1.name=waves", "attn.layers.1.depth=5"])
    assert over.attention_of(1).options.depth == 5
    assert over.attention_of(0).name == "vanilla"


def test_losses_are_added_weighted_removed_and_replaced() -> None:
    assert load(TOY, losses=["sync"]).losses["sync"].weight == 0.02
    assert list(load(TOY, losses=["sync"]).losses) == ["cross_entropy", "sync"]
    assert list(load(TOY, losses=["whole"]).losses) == ["whole"]
    removed = load({**TOY, "losses": {"cross_entropy": None, "sync": {}}})
    assert list(removed.losses) == ["sync"]
    assert load(removed.to_dict()) == removed
    with pytest.raises(BadInput, match=r"losses\.whole already contains cross_entropy"):
        load({**TOY, "losses": {"cross_entropy": {}, "whole": {}}})
    with pytest.raises(BadInput, match="at least one loss"):
        load({**TOY, "losses": {"cross_entropy": None}})


def test_an_attention_is_watched_unless_told_otherwise() -> None:
    waves = {**TOY, "attn": {"name": "waves"}}
    assert load(waves).diagnostics["order"].every == 20
    assert load(waves, overrides=["diagnostics.order.every=3"]).diagnostics["order"].every == 3
    silent = load(waves, overrides=["diagnostics.order=null"])
    assert silent.diagnostics == {}
    assert load(silent.to_dict()) == silent
    assert load(TOY).diagnostics == {}


@pytest.mark.parametrize(
    ("source", "overrides", "message"),
    [
        ({}, [], r"task\.name: required, but not given; installed: .*toy"),
        ({"tsk": {}}, [], r"tsk: unknown option; did you mean 'task'\?"),
        ([1], [], "expected a table of sections"),
        (
            {"base": TOY, "arms": {}},
            [],
            "configuration: expected the configuration of a run, got a study; lot study takes it",
        ),
        (TOY, ["model.width=0"], r"model\.width: expected a number >= 1 and <= 1,048,576, got 0"),
        (
            TOY,
            ["model.mlp_ratio=0.001"],
            r"model\.mlp_ratio: expected at least 0\.00781, one channel of the MLP at width 128",
        ),
        (
            TOY,
            ["losses.sync.schedule={to: 9}"],
            r"losses\.sync\.schedule\.to: expected no value where the kind is constant",
        ),
        (TOY, ["model=3"], r"model: expected a table, got 3"),
        (TOY, ["attn=waves"], r"attn: expected a table, got 'waves'; as in attn\.name=waves"),
        (TOY, [f"optim.lr=1{'0' * 400}"], r"optim\.lr: expected float, got 1000.*\.\.\."),
        (TOY, [f"model.width=1{'0' * 400}"], r"model\.width: expected a number of at most 63 bits"),
        (TOY, [f"seed=1{'0' * 400}"], r"seed: expected a number of at most 63 bits"),
        (TOY, ["attn.layers.\N{SUPERSCRIPT TWO}.name=waves"], r"attn\.layers\."),
        (TOY, ["model.width"], "expected PATH=VALUE"),
        (TOY, ["train.clip="], r"^--set train\.clip: empty value; write null for none$"),
        (TOY, ["train.clip=  "], r"^--set train\.clip: empty value; write null for none$"),
        (TOY, ["train.clip=#1"], r"^--set train\.clip: empty value; .* is a comment, unless it is quoted$"),
        (TOY, ["model..width=3"], "expected PATH=VALUE"),
        (TOY, ["model.width.deep=3"], r"model\.width: expected int"),
        (TOY, ["attn.layers=3"], r"attn\.layers: expected a table"),
        (TOY, ["attn.layers.2.name=waves"], r"attn\.layers\.2: expected a layer from 0 to 1, got 2"),
        (TOY, ["attn.layers.1.name=wave"], "wave"),
        (TOY, ["losses.sync.weight=-1"], r"losses\.sync\.weight: expected a number >= 0, got -1"),
        (TOY, ["losses.sync.wait=1"], r"losses\.sync\.wait: unknown option"),
        (TOY, ["losses.sync.schedule.kind=sometimes"], r"losses\.sync\.schedule\.kind: expected 'constant'"),
        (TOY, ["diagnostics.order.every=0"], r"diagnostics\.order\.every: expected a number >= 1"),
        (TOY, ["seed=-1"], r"seed: expected a number >= 0"),
        (TOY, ["train.keep=1"], r"train\.keep: expected a number >= 2"),
        (TOY, ["optim.name=3"], r"optim\.name: expected the name of a component"),
        (TOY, ["optim.betas=[0.9]"], r"optim\.betas: expected list of 2 float"),
    ],
)
def test_mistakes_are_named(source: Any, overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        load(source, overrides=overrides)
    assert len(str(caught.value).splitlines()) <= 3
