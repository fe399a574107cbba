"""The generated reference is complete: every name, hook, component, option and command of LOT is on a page."""

from __future__ import annotations

import importlib
import inspect
import re

import attrs
import pytest
from lot_docs import GENERATORS, commands, components, expand, options, pictures, python, signals
from lot_docs.markdown import text
from support import ROOT

import lot
import lot_cli.commands.plugins
import lot_cli.main
from lot.config import schedule, schema
from lot.plugins.component import KINDS
from lot.signals import SIGNALS
from lot_cli.study.design import file as study_file
from lot_cli.sweep import file as sweep_file

DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
ASKED = {words for page in PAGES.values() for words in re.findall(r"^<!-- lot: (.+?) -->$", page, flags=re.MULTILINE)}
COMPONENTS = [component for kind in KINDS for component in lot.registry().components(kind)]


def test_every_public_name_of_lot_is_documented() -> None:
    page = python.public_names()
    documented = set(re.findall(r"^\.\. \S+:: lot\.(\w+)$", page, flags=re.MULTILINE))
    assert documented == set(lot.__all__) - {"__version__"}
    assert "lot.__version__" in page
    assert "public-names" in ASKED


@pytest.mark.parametrize("name", [path for path in python.MODULES if python.is_public(path)])
def test_every_name_of_the_public_modules_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    page = python.public_modules()
    defined = [
        each
        for each, value in vars(module).items()
        if not each.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]
    for each in {*defined, *getattr(module, "__all__", ())}:
        assert re.search(rf"^\.\. \S+:: {re.escape(name)}\.{each}$", page, flags=re.MULTILINE), each
    assert "public-modules" in ASKED


def test_the_modules_that_authors_import_are_among_them() -> None:
    named = set(re.findall(r"`(lot\.\w+)`", (lot.__doc__ or "").split("Beside it:")[1].split("All else")[0]))
    assert {"lot.nn", "lot.testing"} <= named <= set(python.MODULES)


def test_constants_come_with_their_value_and_docstring() -> None:
    assert ".. py:data:: lot.IGNORED\n   :value: -100" in python.public_names()
    assert "Color map for angles" in python.public_modules()


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: f"{component.kind}-{component.name}")
def test_every_component_is_on_the_page_of_its_kind_with_every_option(component: lot.Component) -> None:
    assert f"components {component.kind}" in ASKED
    section = components.page(component.kind).split(f"({component.kind}-{component.name})=")[1].split("\n## ")[1]
    for field in attrs.fields(component.config_class):
        assert f"[`{field.name}`]" in section, field.name
    for note in component.notes:
        assert text(note) in section


@pytest.mark.parametrize("component", lot.registry().components("attention"), ids=lambda component: component.name)
def test_every_attention_has_a_page_with_its_formula_facts_notes_and_picture(component: lot.Component) -> None:
    page = PAGES[f"mechanisms/{component.name}.md"]
    assert "$$" in page
    assert f"<!-- lot: picture {component.name} -->" in page
    assert f"<!-- lot: component attention {component.name} options -->" in page
    if component.notes:
        assert f"<!-- lot: component attention {component.name} notes -->" in page
    assert f"(mechanisms/{component.name}.md)" in PAGES["mechanisms.md"]


def option_classes() -> list[type]:
    """Every class that declares options of a run, a study file or a sweep file and is no component's."""
    return [
        value
        for module in (schema, schedule, study_file, sweep_file)
        for value in vars(module).values()
        if inspect.isclass(value) and attrs.has(value) and value.__module__ == module.__name__
        if any("help" in field.metadata for field in attrs.fields(value))
    ]


@pytest.mark.parametrize("config", option_classes(), ids=lambda config: config.__name__)
def test_every_option_of_a_run_a_study_file_and_a_sweep_file_is_on_a_page(config: type) -> None:
    tables = [options.page(words.split()[1]) for words in ASKED if words.startswith("options ")]
    names = [field.name for field in attrs.fields(config)]
    page = next(page for page in tables if all(f"[`{name}`]" in page for name in names))
    for field in attrs.fields(config):
        assert text(field.metadata["help"]) in page


def test_an_option_shows_type_bounds_and_default() -> None:
    assert (
        "[`heads`]{#model-decoder-heads .option} [int, \\>= 1 and \\<= 65,536; default 8]{.facts}\n"
        ": attention heads; must divide the width\n"
    ) in components.facts("model", "decoder", "options")
    assert "default \\[0.25, 2.0\\]" in components.facts("attention", "lattice", "options")


def test_every_command_is_on_the_page_with_every_option() -> None:
    page = commands.page()
    paths = [f"lot {name}" for name in lot_cli.main.COMMANDS]
    paths += [f"lot plugins {name}" for name in lot_cli.commands.plugins.COMMANDS]
    for path in paths:
        assert f"\n## `{path}`\n" in page
    for ctx in commands.walk():
        section = page.split(f"## `{ctx.command_path}`\n")[1].split("\n## ")[0]
        for parameter in ctx.command.params:
            names = parameter.opts if parameter.param_type_name == "option" else parameter.get_usage_pieces(ctx)
            assert all(name in section for name in names)
    assert "commands" in ASKED
    headings = [line for line in re.sub(r"```.*?```", "", page, flags=re.DOTALL).splitlines() if line.startswith("#")]
    assert all(line.startswith("## `lot") for line in headings), "a comment in an example is no heading"


def test_every_signal_is_on_the_page_with_who_gives_and_needs_it() -> None:
    page = signals.page()
    for name in {*SIGNALS, *(each for item in COMPONENTS for each in item.emits | item.needs)}:
        assert f"## `{name}`" in page
    phase = page.split("## `phase`")[1].split("\n## ")[0]
    assert "`lattice` (attention)" in phase.split(":given by:")[1].split(":needed by:")[0]
    assert "`sync` (loss)" in phase.split(":needed by:")[1]
    assert "signals" in ASKED


def test_the_pages_ask_for_generators_that_exist() -> None:
    assert {words.split()[0] for words in ASKED} == set(GENERATORS)
    assert {f"picture {name}" for name in pictures.PICTURES} <= ASKED


def test_a_generator_takes_the_place_of_its_comment() -> None:
    page = expand("before\n\n<!-- lot: component loss sync options -->\n\nafter <!-- another comment -->\n")
    assert page == "before\n\nIt has no options.\n\n\nafter <!-- another comment -->\n"


def test_a_generator_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError, match="optoins"):
        expand("<!-- lot: optoins model -->\n")
