"""`lot show`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from lot.plugins.component import KINDS
from lot.plugins.registry import Registry
from lot_cli.commands.show import FLAGS, TABLES, _color_example
from lot_cli.terminal.text import DIM, GOOD, NAME, columns


def test_a_page_for_people(lot: Callable, site: Path) -> None:
    done = lot("show", "calm", "--kind", "attention")
    assert done.code == 0
    assert done.out.splitlines() == [
        "calm  attention of lot-calm 1.2",
        "Calm attention.",
        "",
        "source   A book",
        "emits    phase",
        "watched  by stir, unless the configuration says otherwise",
        "use      lot run --attn calm",
        "",
        "options, as in --set attn.strength=0.5",
        "  strength  0.5       float, >= 0 and < 2",
        "                      how calm",
        "  shape     [2, 4]    list of int, >= 1",
        "                      sizes",
        "  seed      required  int",
        "                      which draw",
        "",
        "notes",
        "  - Published without a mask.",
        "  - Here with one.",
    ]


def test_a_name_of_two_kinds_shows_both(lot: Callable, site: Path) -> None:
    done = lot("show", "calm")
    attention, loss = done.out.split("\ncalm  loss of")
    assert "Calm attention." in attention
    assert "needs     phase (given by calm)" in loss
    assert "needs     storm (given by nothing that is installed)" in loss
    assert "weight    0.25, unless --set losses.calm.weight=..." in loss
    assert "contains  cross_entropy, so that it takes their place" in loss


def test_a_diagnostic_says_how_often(lot: Callable, site: Path) -> None:
    done = lot("show", "stir")
    assert "measured  every 7 steps" in done.out
    assert "lot run --set diagnostics.stir.every=7" in done.out
    assert "options   it has none" in done.out


def test_as_data(lot: Callable, site: Path) -> None:
    done = lot("show", "calm", "--json")
    attention, loss = json.loads(done.out)["components"]
    assert (attention["kind"], attention["distribution"], attention["version"]) == ("attention", "lot-calm", "1.2")
    assert (attention["emits"], attention["watch"]) == (["phase"], ["stir"])
    strength, shape, seed = attention["options"]
    assert strength == {
        "name": "strength",
        "type": "float",
        "required": False,
        "default": 0.5,
        "bounds": ">= 0 and < 2",
        "help": "how calm",
    }
    assert shape["default"] == [2, 4]
    assert (seed["required"], seed["default"]) == (True, None)
    assert (loss["weight"], loss["needs"], loss["replaces"]) == (0.25, ["phase", "storm"], ["cross_entropy"])


@pytest.mark.parametrize("item", [item for kind in KINDS for item in Registry().components(kind)], ids=lambda c: c.name)
def test_every_installed_component_has_a_page(lot: Callable, item: object) -> None:
    use, kind = Registry().name_of(item), item.kind  # type: ignore[arg-type, attr-defined]
    done = lot("show", use, "--kind", kind)
    assert done.code == 0
    assert item.summary[:30] in done.out  # type: ignore[attr-defined]
    assert json.loads(lot("show", use, "--kind", kind, "--json").out)["components"][0]["use"] == use


def test_an_unknown_name(lot: Callable, site: Path) -> None:
    done = lot("show", "vanila")
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'vanilla'?" in done.err
    done = lot("show", "stir", "--kind", "task")
    assert (done.code, done.out) == (2, "")
    assert "'stir' is a diagnostic (of lot-calm), not a task" in done.err


def test_only_tasks_have_examples(lot: Callable, site: Path) -> None:
    done = lot("show", "vanilla", "--example")
    assert (done.code, done.out) == (2, "")
    assert done.err == ("error: --example shows a task: expected the name of a task, got vanilla, of kind attention\n")


TASK = """
import torch
from lot import Batch, Task

class Drawn(Task):
    def __init__(self, config, seed):
        self.seed = seed
    def batch(self, split, index, size, device="cpu"): raise NotImplementedError
    def length(self, split): return 1
    def metrics(self): raise NotImplementedError
    def decode(self, ids): return ""
    def example(self, rng): return f"input:  {self.seed} {rng.integers(10**6)}\\ntarget: . 7"
"""
REGISTER = """
@hookimpl
def lot_tasks():
    return [Component(name="drawn", summary="Drawn.", factory="plug_calm.task:Drawn", reference="A book")]
"""


def test_an_example_is_the_same_every_time(lot: Callable, site: Path) -> None:
    (site / "plug_calm" / "task.py").write_text(TASK)
    with (site / "plug_calm" / "plugin.py").open("a") as file:
        file.write(REGISTER)
    done = lot("show", "drawn", "--example")
    assert "\nexample\n  input:  0 " in done.out
    assert done.out.endswith("\n  target: . 7\n")
    assert lot("show", "drawn", "--example").out == done.out
    assert json.loads(lot("show", "drawn", "--example", "--json").out)["components"][0]["example"] in done.out.replace(
        "\n  ", "\n"
    )


def test_an_example_is_colored_by_what_is_scored() -> None:
    told = _color_example("target  . 7")
    assert click.style(".", **DIM) in told
    assert click.style("7", **GOOD) in told
    assert click.style("3", **NAME) in _color_example("input: 3")
    assert click.unstyle(_color_example("anything else")) == "\nexample\n  anything else"


def test_every_kind_has_its_place() -> None:
    assert {*TABLES, "kernel"} == set(KINDS)
    assert set(FLAGS) < set(TABLES)


def test_columns_wrap_within_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = " ".join(["word"] * 20)
    row, other = map(click.unstyle, columns([("a", "bbb", text), ("aa", "b", "short\nsecond")], ({}, {}, {})))
    lines = row.splitlines()
    assert len(lines) > 2
    assert all(len(line) <= 40 for line in lines)
    assert lines[0].startswith("  a   bbb  word")
    assert lines[1].startswith(" " * 11 + "word")
    assert " ".join(" ".join(lines).split()[2:]) == text
    assert other.splitlines() == ["  aa  b    short", "           second"]
