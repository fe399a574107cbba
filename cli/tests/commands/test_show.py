"""`lot show`: a component, a section of a file, and the list of both."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import attrs
import click
import pytest

from lot.config.schema import Config
from lot.plugins.component import KINDS
from lot.plugins.registry import Registry, registry
from lot_cli.commands.show import _color_example
from lot_cli.commands.show_pages import FLAGS, TABLES
from lot_cli.reference import Section, find_section, sections
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
    assert "lot run --diagnostic stir" in done.out
    assert "options   none" in done.out


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


# Sections of files


def test_a_section_for_people(lot: Callable, site: Path) -> None:
    done = lot("show", "losses")
    assert done.code == 0
    assert done.out.splitlines() == [
        "losses  section of a run file",
        "A loss of the objective. cross_entropy is one, unless it is null or another loss contains it.",
        "",
        "path   losses.NAME",
        "takes  calm, cross_entropy",
        "see    lot show NAME, for the options of one loss",
        "",
        "keys, as in --set losses.NAME.weight=VALUE",
        "  weight    null  float or null, >= 0",
        "                  factor on the term; null: the loss's own default",
        "  schedule  null  table (lot show schedule) or null",
        "                  how the weight moves over training; null: it does not",
    ]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.name)
def test_every_section_has_a_page_with_the_keys_of_its_class(lot: Callable, section: Section) -> None:
    done = lot("show", section.name)
    assert done.code == 0
    assert section.summary[:30] in done.out
    (told,) = json.loads(lot("show", section.name, "--json").out)["sections"]
    assert (told["name"], told["path"], told["file"]) == (section.name, section.path, section.file)
    shown = [option["name"] for option in told["options"]]
    declared = [] if section.config_class is None else [field.name for field in attrs.fields(section.config_class)]
    assert shown == [option.name for option in section.keys] + declared
    assert all(f"\n  {name} " in done.out for name in shown)
    assert all(option["help"] for option in told["options"])
    assert told["components"] == (registry().names(section.kind) if section.kind else [])


def test_the_sections_of_a_run_are_those_that_a_run_has() -> None:
    told = {section.path.partition(".")[0] for section in sections("run") if section.path}
    assert told | {"seed", "allow_leak"} == {
        field.name for field in attrs.fields(Config) if not field.name.endswith("_layers")
    }
    assert {section.kind: section.path for section in sections("run") if section.kind} == {
        kind: table.format("NAME") for kind, table in TABLES.items()
    }


def test_every_table_within_a_table_is_a_section() -> None:
    for section in sections():
        for option in section.options:
            named = re.findall(r"lot show (\w+)", option.type)
            assert all(find_section(name) is not None for name in named)
            assert not re.search(r"[A-Z]", option.type.replace("NAME", ""))  # no name of a class


def test_a_path_shows_its_section_too(lot: Callable, site: Path) -> None:
    assert lot("show", "losses.NAME").out == lot("show", "losses").out


def test_a_component_that_is_called_like_a_section_is_shown_below_it(lot: Callable, site: Path) -> None:
    plugin = site / "plug_calm" / "plugin.py"
    plugin.write_text(plugin.read_text().replace('name="stir"', 'name="train"'))
    done = lot("show", "train")
    section, component = done.out.split("\n\ntrain  diagnostic of lot-calm 1.2\n")
    assert section.startswith("train  section of a run file\n")
    assert component.startswith("How stirred.\n")
    both = json.loads(lot("show", "train", "--json").out)
    assert [len(both["sections"]), len(both["components"])] == [1, 1]
    assert lot("show", "train", "--kind", "diagnostic").out == f"train  diagnostic of lot-calm 1.2\n{component}"


@pytest.mark.parametrize(
    ("name", "section"),
    [("trian", "train"), ("Model", "model"), ("loses", "losses"), ("attention", "attn"), ("studdy", "study")],
)
def test_a_misspelled_section(lot: Callable, site: Path, name: str, section: str) -> None:
    done = lot("show", name)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: unknown name {name!r}; did you mean the section {section!r}?\n       lot show lists what there is\n"
    )


def test_without_a_name_all_that_can_be_shown_is_listed(lot: Callable, site: Path) -> None:
    done = lot("show")
    assert done.code == 0
    blocks = dict(block.split("\n", 1) for block in done.out.rstrip("\n").split("\n\n"))
    files = [f"sections of a {kind} file" for kind in ("run", "study", "sweep")]
    assert list(blocks)[:4] == [*files, "components: attention"]
    assert [line.split()[0] for line in blocks["components: loss"].splitlines()] == ["calm", "cross_entropy"]
    told = json.loads(lot("show", "--json").out)
    assert [section["name"] for section in told["sections"]] == [section.name for section in sections()]
    shown = "".join(blocks.values())
    assert all(f"  {item['name']} " in shown for item in (*told["sections"], *told["components"]))
    listed = lot("show", "--kind", "diagnostic").out.splitlines()
    assert listed[0] == "components: diagnostic"
    assert [line.split()[0] for line in listed if line.startswith("  a")] == ["attention_entropy", "attention_map"]
    assert lot("show", "--kind", "task").out == "no task is installed\n"
    assert lot("show", "--example").code == 2


# Examples


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
    assert set(FLAGS) == set(TABLES)


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
