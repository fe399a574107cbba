"""`lot show`: what there is to know about a component or a section of a file before anything runs."""

from __future__ import annotations

import difflib
import json
import re

import click

from lot.errors import BadInput
from lot.plugins.component import KINDS, Component
from lot.plugins.registry import Registry, registry
from lot_cli.commands.show_pages import component_facts, component_page, section_facts, section_page
from lot_cli.reference import FILES, Section, find_section, sections
from lot_cli.terminal.echo import echo
from lot_cli.terminal.names import ComponentName
from lot_cli.terminal.text import BOLD, DIM, GOOD, NAME, PLAIN, columns


def _section_names() -> dict[str, str]:
    """The sections of files that can be shown, each with its summary."""
    return {section.name: section.summary for section in sections()}


@click.command()
@click.argument("name", type=ComponentName(also=_section_names), required=False)
@click.option("--kind", type=click.Choice(KINDS), help="Show only components of this kind.")
@click.option("--example", is_flag=True, help="Print an example too, where NAME is a task.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def show(name: str | None, kind: str | None, example: bool, as_json: bool) -> None:
    """Show what NAME is, where it comes from, and each of its options.

    NAME is a component (vanilla) or a section of a file (train, study). Without NAME, list all names.
    """
    reg = registry()
    if name is None:
        if example:
            raise BadInput("--example shows a task", fix="lot show NAME --example, with the name of a task")
        _list(reg, kind, as_json)
        return
    section, found = _look_up(name, kind, reg)
    examples = _examples(name, found) if example else {}
    if as_json:
        facts = [component_facts(item, reg) for item in found]
        for item, each in zip(found, facts, strict=True):
            if item in examples:
                each["example"] = examples[item]
        told = [] if section is None else [section_facts(section, reg)]
        echo(json.dumps({"sections": told, "components": facts}, indent=2))
        return
    pages = [] if section is None else ["\n".join(section_page(section, reg))]
    for item in found:
        page = "\n".join(component_page(item, reg))
        pages.append(f"{page}\n{_color_example(examples[item])}" if item in examples else page)
    echo("\n\n".join(pages))


def _list(reg: Registry, kind: str | None, as_json: bool) -> None:
    """Print the names that `lot show` takes: the sections of each file, and the components (of `kind` only, if given)."""
    wanted = [] if kind else sections()
    components = [item for each in KINDS if kind in (None, each) for item in reg.components(each)]
    if as_json:
        told = [{"name": s.name, "path": s.path, "file": s.file, "summary": s.summary} for s in wanted]
        listed = [{"kind": i.kind, "name": i.name, "use": reg.name_of(i), "summary": i.summary} for i in components]
        echo(json.dumps({"sections": told, "components": listed}, indent=2))
        return
    headed = {f"sections of a {file} file": [(s.name, s.summary) for s in wanted if s.file == file] for file in FILES}
    for each in KINDS:
        headed[f"components: {each}"] = [(reg.name_of(i), i.summary) for i in components if i.kind == each]
    aligned = columns([row for rows in headed.values() for row in rows], (NAME, PLAIN))
    blocks = [
        [click.style(heading, **BOLD), *(next(aligned) for _ in rows)] for heading, rows in headed.items() if rows
    ]
    echo("\n\n".join("\n".join(block) for block in blocks) or f"no {kind} is installed")


def _look_up(name: str, kind: str | None, reg: Registry) -> tuple[Section | None, list[Component]]:
    """The section and the components that are called `name`. Raises BadInput, with the nearest names, where there is none."""
    if kind is not None:
        return None, [reg.get(kind, name)]
    section = find_section(name)
    try:
        return section, reg.find(name)
    except BadInput as error:
        if section is not None:
            return section, []
        close = _close_section(name)
        if close is None:
            raise
        raise BadInput(
            f"unknown name {name!r}", fix=f"did you mean the section {close!r}?\nlot show lists what there is"
        ) from error


def _close_section(name: str) -> str | None:
    """The section that is spelled nearly like `name`, or whose kind of component `name` is."""
    of_kind = next((section.name for section in sections() if section.kind == name), None)
    names = [section.name for section in sections()]
    return of_kind or next(iter(difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.7)), None)


def _examples(name: str, found: list[Component]) -> dict[Component, str]:
    """An example of each task among `found`, from seed 0: the same example every time. Imports torch."""
    tasks = [item for item in found if item.kind == "task"]
    if not tasks:
        kinds = " and ".join(item.kind for item in found)
        raise BadInput("--example shows a task", expected="the name of a task", got=f"{name}, of kind {kinds}")
    from lot.random import numpy_generator

    return {task: task.build(0).example(numpy_generator(0, "example")) for task in tasks}


def _color_example(text: str) -> str:
    """An example in color: one for the input, one for the target; labels and positions without a score (`.`) are dim."""
    styles = {"input": NAME, "target": GOOD}
    lines = ["", click.style("example", **BOLD)]
    for line in text.splitlines():
        parts = re.fullmatch(r"(input|target)(:?\s+)(.*)", line)
        if parts is None:
            lines.append(f"  {line}")
            continue
        words = re.split(r"(\s+)", parts[3])
        body = "".join(
            click.style(word, **(DIM if word == "." else styles[parts[1]])) if word.strip() else word for word in words
        )
        lines.append(f"  {click.style(parts[1] + parts[2], **DIM)}{body}")
    return "\n".join(lines)
