"""`lot plugins`: what is installed, and what is wrong with it, so that a broken plugin is seen before it is missed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from lot.plugins.registry import Registry, registry
from lot_cli.terminal.echo import echo
from lot_cli.terminal.group import LazyGroup
from lot_cli.terminal.text import BAD, BOLD, DIM, NAME, PLAIN, columns, wrapped

if TYPE_CHECKING:
    from lot.plugins.discovery import Plugin

COMMANDS = {
    "new": ("lot_cli.commands.plugins_new:new", "Write a package with a component of yours, or add one to a package."),
    "check": (
        "lot_cli.commands.plugins_check:check",
        "Run the test kit on a component or on a distribution.",
    ),
    "build": ("lot_cli.commands.plugins_build:build", "Compile the kernels of a plugin for this machine."),
}


@click.group("plugins", cls=LazyGroup, table=COMMANDS, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List the installed plugins: their components and, where one is broken, its error."""
    if ctx.invoked_subcommand is not None:
        return
    reg = registry()
    if as_json:
        echo(json.dumps({"plugins": [plugin_facts(plugin, reg) for plugin in reg.plugins()]}, indent=2))
        return
    for line in _listing(reg.plugins(), reg):
        echo(line)


def plugin_facts(plugin: Plugin, reg: Registry) -> dict[str, Any]:
    """A plugin as plain data; `use` is the name that a command takes for a component."""
    return {
        "distribution": plugin.distribution,
        "version": plugin.version,
        "entry_point": plugin.entry_point,
        "module": plugin.module,
        "components": [
            {"kind": item.kind, "name": item.name, "use": reg.name_of(item), "summary": item.summary}
            for item in plugin.components
        ],
        "failure": plugin.failure,
        "imports_torch": plugin.imports_torch,
    }


def _listing(found: Sequence[Plugin], reg: Registry) -> Iterator[str]:
    """The plugins for people: under each heading its components, in the order of kinds, and its failure."""
    if not found:
        yield "no plugin is installed, not even lot-core: pip install lot-core"
        return
    # All rows in one call, so that the columns of all plugins line up.
    rows = [(item.kind, reg.name_of(item), item.summary) for plugin in found for item in plugin.components]
    aligned = columns(rows, (DIM, NAME, PLAIN))
    for index, plugin in enumerate(found):
        if index:
            yield ""
        yield click.style(f"{plugin.distribution} {plugin.version}", **BOLD)
        yield from itertools.islice(aligned, len(plugin.components))
        if plugin.failure is not None:
            yield from wrapped(plugin.failure, indent=2, style=BAD)
        if plugin.imports_torch:
            yield from wrapped(f"{plugin.module} imports torch, which slows down every command", indent=2, style=BAD)
