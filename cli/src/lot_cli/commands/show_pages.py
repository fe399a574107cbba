"""What is printed of a component and of a section of a file: as text for people, as data for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import click

from lot.options.declare import OptionInfo, describe
from lot.plugins.component import Component
from lot.plugins.registry import Registry
from lot_cli.reference import Section, sections
from lot_cli.terminal.text import BOLD, DIM, NAME, PLAIN, columns, wrapped

TABLES = {
    "attention": "attn",
    "embedding": "embed",
    "mlp": "mlp",
    "model": "model",
    "optimizer": "optim",
    "loss": "losses.{}",
    "task": "task",
    "diagnostic": "diagnostics.{}",
    "recorder": "recorders.{}",
}
"""Where the options of a kind stand in the configuration."""
FLAGS = {
    "attention": "--attn",
    "embedding": "--embed",
    "mlp": "--mlp",
    "model": "--model",
    "optimizer": "--optim",
    "loss": "--loss",
    "task": "--task",
    "diagnostic": "--diagnostic",
    "recorder": "--record",
}


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


def section_page(section: Section, reg: Registry) -> Iterator[str]:
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
    options = section.options
    if not options:
        return
    yield ""
    heading = "keys"
    if section.file == "run":
        prefix = f"{section.path}." if section.path else ""
        heading += f", as in --set {prefix}{_example(options)}"
    yield from _option_rows(heading, options)


def component_page(component: Component, reg: Registry) -> Iterator[str]:
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
    else:
        yield "use", f"lot plugins build {component.name}"
    if not options:
        yield "options", "none"


def _givers(signal: str, reg: Registry) -> list[Component]:
    return [
        item
        for kind in ("attention", "embedding", "mlp", "model")
        for item in reg.components(kind)
        if signal in item.emits
    ]


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
