"""`lot show`: what there is to know about a component or a section of a file before anything runs."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import click

from lot.errors import BadInput
from lot.options.declare import OptionInfo, describe
from lot.plugins.component import KINDS, Component
from lot.plugins.registry import Registry, registry
from lot_cli.reference import FILES, Section, find_section, sections
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
        click.echo(json.dumps({"sections": told, "components": facts}, indent=2))
        return
    pages = [] if section is None else ["\n".join(_section_page(section, reg))]
    for item in found:
        page = "\n".join(_page(item, reg))
        pages.append(f"{page}\n{_color_example(examples[item])}" if item in examples else page)
    click.echo("\n\n".join(pages))


def _list(reg: Registry, kind: str | None, as_json: bool) -> None:
    """Print the names that `lot show` takes: the sections of each file, and the components (of `kind` only, if given)."""
    wanted = [] if kind else sections()
    components = [item for each in KINDS if kind in (None, each) for item in reg.components(each)]
    if as_json:
        told = [{"name": s.name, "path": s.path, "file": s.file, "summary": s.summary} for s in wanted]
        listed = [{"kind": i.kind, "name": i.name, "use": reg.name_of(i), "summary": i.summary} for i in components]
        click.echo(json.dumps({"sections": told, "components": listed}, indent=2))
        return
    headed = {f"sections of a {file} file": [(s.name, s.summary) for s in wanted if s.file == file] for file in FILES}
    for each in KINDS:
        headed[f"components: {each}"] = [(reg.name_of(i), i.summary) for i in components if i.kind == each]
    aligned = columns([row for rows in headed.values() for row in rows], (NAME, PLAIN))
    blocks = [
        [click.style(heading, **BOLD), *(next(aligned) for _ in rows)] for heading, rows in headed.items() if rows
    ]
    click.echo("\n\n".join("\n".join(block) for block in blocks) or f"no {kind} is installed")


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


def section_facts(section: Section, reg: Registry) -> dict[str, Any]:
    """A section as plain data; `components` are the names that can be given there."""
    return {
        "name": section.name,
        "path": section.path,
        "file": section.file,
        "summary": section.summary,
        "kind": section.kind or None,
        "components": reg.names(section.kind) if section.kind else [],
        "options": _option_facts(section.options),
    }


def component_facts(component: Component, reg: Registry) -> dict[str, Any]:
    """A component as plain data, with `weight`, `replaces`, `every` and `watch` for the kinds that have them."""
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
        "options": _option_facts(describe(component.config_class)),
    }
    if component.kind == "loss":
        facts.update(weight=component.weight, replaces=sorted(component.replaces))
    if component.kind == "diagnostic":
        facts["every"] = component.every
    if component.kind == "attention":
        facts["watch"] = list(component.watch)
    return facts


def _option_facts(options: Iterable[OptionInfo]) -> list[dict[str, Any]]:
    return [
        {
            "name": option.name,
            "type": option.type,
            "required": option.required,
            "default": _plain(option.default),
            "bounds": option.bounds,
            "help": option.help,
        }
        for option in options
    ]


def _section_page(section: Section, reg: Registry) -> Iterator[str]:
    """A section for people."""
    where = f"section of a {section.file} file" if section.path else f"keys of a {section.file} file"
    yield f"{click.style(section.name, **BOLD)}  {click.style(where, **DIM)}"
    yield from wrapped(section.summary)
    facts = []
    if section.path not in ("", section.name):
        facts.append(("path", section.path))
    if not section.path:
        facts.append(("sections", ", ".join(each.name for each in sections(section.file) if each.path)))
    if section.kind:
        facts.append(("takes", ", ".join(reg.names(section.kind)) or f"nothing yet: no {section.kind} is installed"))
        facts.append(("see", f"lot show NAME, for the options of one {section.kind}"))
    if facts:
        yield ""
        yield from columns(facts, (DIM, PLAIN), indent=0)
    yield ""
    options = section.options
    heading = "keys"
    if section.file == "run":
        prefix = f"{section.path}." if section.path else ""
        heading += f", as in --set {prefix}{_example(options)}"
    yield from _option_rows(heading, options)


def _page(component: Component, reg: Registry) -> Iterator[str]:
    """A component for people."""
    owner = f"{component.kind} of {component.distribution} {_version(component, reg)}"
    yield f"{click.style(reg.name_of(component), **BOLD)}  {click.style(owner, **DIM)}"
    yield from wrapped(component.summary)
    yield ""
    options = describe(component.config_class)
    yield from columns(list(_facts(component, reg, options)), (DIM, PLAIN), indent=0)
    if options:
        yield ""
        yield from _option_rows(f"options{_how_to_set(component, options)}", options)
    if component.notes:
        yield ""
        yield click.style("notes", **BOLD)
        yield from columns([("-", note) for note in component.notes], (DIM, PLAIN), gap=1)


def _option_rows(heading: str, options: Iterable[OptionInfo]) -> Iterator[str]:
    """A heading, and each option with its default, type, bounds and help."""
    yield click.style(heading, **BOLD)
    rows = [(option.name, _default(option), f"{_type(option)}\n{option.help}") for option in options]
    yield from columns(rows, (NAME, PLAIN, DIM, PLAIN))


def _facts(component: Component, reg: Registry, options: list[OptionInfo]) -> Iterator[tuple[str, str]]:
    """What the page says beside options and notes, as pairs of label and text."""
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
        yield "options", "none"


def _givers(signal: str, reg: Registry) -> list[Component]:
    return [item for kind in ("attention", "embedding") for item in reg.components(kind) if signal in item.emits]


def _how_to_set(component: Component, options: list[OptionInfo]) -> str:
    """How an option is set from the command line."""
    if component.kind not in TABLES:
        return ""
    return f", as in --set {TABLES[component.kind].format(component.name)}.{_example(options)}"


def _example(options: Sequence[OptionInfo]) -> str:
    """An option as `--set` takes it, with its default."""
    known = (f"{option.name}={_default(option)}" for option in options if option.default is not None)
    return next(known, f"{next(iter(options)).name}=VALUE")


def _default(option: OptionInfo) -> str:
    """The default as the command line would take it."""
    if option.required:
        return "required"
    value = _plain(option.default)
    return value if isinstance(value, str) and value else json.dumps(value)


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
