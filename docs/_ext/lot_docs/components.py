"""What the registry knows about the components: where each comes from, what it gives and takes, its options, its notes."""

from __future__ import annotations

from collections.abc import Iterator

import lot
from lot.options.declare import describe
from lot_docs.markdown import anchor, code, fields, text
from lot_docs.options import listing

SECTIONS = {
    "attention": "attn",
    "embedding": "embed",
    "mlp": "mlp",
    "model": "model",
    "optimizer": "optim",
    "loss": "losses",
    "task": "task",
    "diagnostic": "diagnostics",
    "recorder": "recorders",
    "kernel": "",
}
"""Kind of component -> the section of the configuration that chooses it; kernels have none."""


def page(kind: str) -> str:
    """Every installed component of a kind, each under a heading of its own."""
    return "\n".join(_section(component) for component in lot.registry().components(kind))


def facts(kind: str, name: str, part: str = "all") -> str:
    """One component, without a heading. part: `facts`, `options`, `notes`, or `all` of them."""
    component = lot.registry().get(kind, name)
    parts = {"facts": _facts(component), "options": _options(component), "notes": _notes(component)}
    return "\n".join(parts.values()) if part == "all" else parts[part]


def _section(component: lot.Component) -> str:
    heading = [anchor(f"{component.kind}-{component.name}"), f"## {code(component.name)}", "", text(component.summary)]
    options = ["**Options**", "", _options(component)] if component.kind != "kernel" else []
    notes = ["**Notes**", "", _notes(component)] if component.notes else []
    return "\n".join([*heading, "", _facts(component), *options, *notes])


def _facts(component: lot.Component) -> str:
    return fields(_pairs(component))


def _pairs(component: lot.Component) -> Iterator[tuple[str, str]]:
    """What is known of a component beside its options: a term and its Markdown each."""
    yield "package", code(component.distribution)
    yield "source", text(component.reference)
    if component.emits:
        yield "gives the signals", _signals(component.emits)
    if component.needs:
        yield "needs the signals", _signals(component.needs)
    if component.watch:
        yield "watched by", ", ".join(code(name) for name in component.watch)
    if component.kind == "loss":
        yield "weight", f"{component.weight:g}, unless `losses.{component.name}.weight` says otherwise"
    if component.replaces:
        yield "takes the place of", ", ".join(code(name) for name in sorted(component.replaces))
    if component.kind == "diagnostic":
        yield "measured", f"every {component.every} steps, unless `diagnostics.{component.name}.every` says otherwise"
    yield "use", code(_use(component))


def _use(component: lot.Component) -> str:
    flags = {"attention": "attn", "embedding": "embed", "optimizer": "optim", "recorder": "record"}
    if component.kind in (*flags, "mlp", "model", "loss", "task"):
        return f"lot run --{flags.get(component.kind, component.kind)} {component.name}"
    if component.kind == "diagnostic":
        return f"lot run --set diagnostics.{component.name}.every={component.every}"
    return f"lot plugins build {component.name}"


def _signals(names: frozenset[str]) -> str:
    return ", ".join(code(name) for name in sorted(names))


def _options(component: lot.Component) -> str:
    return listing(describe(component.config_class), f"{SECTIONS[component.kind]}-{component.name}")


def _notes(component: lot.Component) -> str:
    return "\n".join(f"- {text(note)}" for note in component.notes) + "\n"
