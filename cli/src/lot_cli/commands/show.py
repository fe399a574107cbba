"""`lot show`: everything about a component that is known without building it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import attrs
import click

from lot.errors import BadInput
from lot.options.declare import OptionInfo, describe
from lot.plugins.component import KINDS, Component
from lot.plugins.registry import Registry, registry
from lot_cli.terminal.names import ComponentName
from lot_cli.terminal.text import BOLD, DIM, GOOD, NAME, PLAIN, columns, wrapped

TABLES = {
    "attention": "attn",
    "embedding": "embed",
    "optimizer": "optim",
    "loss": "losses.{}",
    "task": "task",
    "diagnostic": "diagnostics.{}",
}
"""Where the options of a kind stand in the configuration."""
FLAGS = {"attention": "--attn", "embedding": "--embed", "optimizer": "--optim", "loss": "--loss", "task": "--task"}


@click.command()
@click.argument("name", type=ComponentName())
@click.option("--kind", type=click.Choice(KINDS), help="Only the component of this kind.")
@click.option("--example", is_flag=True, help="Also print an example of a task.")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def show(name: str, kind: str | None, example: bool, as_json: bool) -> None:
    """Show the component NAME: what it is, where it comes from, every option, and its signals."""
    reg = registry()
    found = reg.find(name) if kind is None else [reg.get(kind, name)]
    examples = _examples(name, found) if example else {}
    if as_json:
        facts = [component_facts(item, reg) for item in found]
        for item, each in zip(found, facts, strict=True):
            if item in examples:
                each["example"] = examples[item]
        click.echo(json.dumps({"components": facts}, indent=2))
        return
    for index, item in enumerate(found):
        if index:
            click.echo("")
        for line in _page(item, reg):
            click.echo(line)
        if item in examples:
            click.echo(_color_example(examples[item]))


def component_facts(component: Component, reg: Registry) -> dict[str, Any]:
    """A component as plain data. `weight`, `replaces`, `every` and `watch` are there for the kinds that have them."""
    facts: dict[str, Any] = {
        "name": component.name,
        "use": reg.name_of(component),
        "kind": component.kind,
        "distribution": component.distribution,
        "version": _version(component, reg),
        "summary": component.summary,
        "reference": component.reference,
        "emits": sorted(component.emits),
        "needs": sorted(component.needs),
        "notes": list(component.notes),
        "options": [
            {
                "name": option.name,
                "type": option.type,
                "required": option.required,
                "default": _plain(option.default),
                "bounds": option.bounds,
                "help": option.help,
            }
            for option in describe(component.config_class)
        ],
    }
    if component.kind == "loss":
        facts.update(weight=component.weight, replaces=sorted(component.replaces))
    if component.kind == "diagnostic":
        facts["every"] = component.every
    if component.kind == "attention":
        facts["watch"] = list(component.watch)
    return facts


def _page(component: Component, reg: Registry) -> Iterator[str]:
    """A component for people."""
    from lot.options.declare import describe

    owner = f"{component.kind} of {component.distribution} {_version(component, reg)}"
    yield f"{click.style(reg.name_of(component), **BOLD)}  {click.style(owner, **DIM)}"
    yield from wrapped(component.summary)
    yield ""
    options = describe(component.config_class)
    yield from columns(list(_facts(component, reg, options)), (DIM, PLAIN), indent=0)
    if options:
        yield ""
        yield click.style(f"options{_how_to_set(component, options)}", **BOLD)
        rows = [(option.name, _default(option), f"{_type(option)}\n{option.help}") for option in options]
        yield from columns(rows, (NAME, PLAIN, DIM, PLAIN))
    if component.notes:
        yield ""
        yield click.style("notes", **BOLD)
        yield from columns([("-", note) for note in component.notes], (DIM, PLAIN), gap=1)


def _facts(component: Component, reg: Registry, options: list[OptionInfo]) -> Iterator[tuple[str, str]]:
    """What there is to say beside options and notes: a label and a text each."""
    if component.reference:
        yield "source", component.reference
    if component.emits:
        yield "emits", ", ".join(sorted(component.emits))
    for signal in sorted(component.needs):
        givers = [reg.name_of(giver) for giver in _givers(signal, reg)]
        yield "needs", f"{signal} (given by {', '.join(givers) or 'nothing that is installed'})"
    if component.kind == "loss":
        yield "weight", f"{component.weight:g}, unless --set losses.{component.name}.weight=... or .schedule=..."
        if component.replaces:
            yield "contains", f"{', '.join(sorted(component.replaces))}, so that it takes their place"
    if component.kind == "diagnostic":
        yield "measured", f"every {component.every} steps, unless --set diagnostics.{component.name}.every=..."
    if component.watch:
        yield "watched", f"by {', '.join(component.watch)}, unless the configuration says otherwise"
    if component.kind in FLAGS:
        yield "use", f"lot run {FLAGS[component.kind]} {reg.name_of(component)}"
    elif component.kind == "diagnostic":
        yield "use", f"lot run --set diagnostics.{component.name}.every={component.every}"
    else:
        yield "use", f"lot plugins build {component.name}"
    if not options:
        yield "options", "it has none"


def _givers(signal: str, reg: Registry) -> list[Component]:
    return [item for kind in ("attention", "embedding") for item in reg.components(kind) if signal in item.emits]


def _how_to_set(component: Component, options: list[OptionInfo]) -> str:
    """How an option is set from the command line."""
    if component.kind not in TABLES:
        return ""
    table = TABLES[component.kind].format(component.name)
    known = [f"{option.name}={_default(option)}" for option in options if option.default is not None]
    return f", as in --set {table}.{known[0] if known else 'OPTION=VALUE'}"


def _default(option: OptionInfo) -> str:
    """The default as the command line would take it."""
    if option.required:
        return "required"
    value = _plain(option.default)
    return value if isinstance(value, str) else json.dumps(value)


def _type(option: OptionInfo) -> str:
    return f"{option.type}, {option.bounds}" if option.bounds else option.type


def _plain(value: Any) -> Any:
    """A default as JSON has it."""
    if attrs.has(type(value)):
        return _plain(attrs.asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _version(component: Component, reg: Registry) -> str:
    return next(plugin.version for plugin in reg.plugins() if plugin.distribution == component.distribution)


def _examples(name: str, found: list[Component]) -> dict[Component, str]:
    """An example of each task among `found`: of seed 0, and the same every time. Imports torch."""
    tasks = [item for item in found if item.kind == "task"]
    if not tasks:
        kinds = " and ".join(item.kind for item in found)
        raise BadInput("--example shows a task", expected="the name of a task", got=f"{name}, of kind {kinds}")
    from lot.random import numpy_generator

    return {task: task.build(0).example(numpy_generator(0, "example")) for task in tasks}


def _color_example(text: str) -> str:
    """An example, input and target in a color each; labels and positions that are not scored (`.`) are dim."""
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
