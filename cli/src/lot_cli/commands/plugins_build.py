"""`lot plugins build`: compile the kernels of a plugin now, so that the first run does not wait for them."""

from __future__ import annotations

import click

from lot.errors import BadInput
from lot.plugins.discovery import normalize
from lot.plugins.registry import registry
from lot_cli.terminal.echo import echo
from lot_cli.terminal.names import ComponentName


@click.command()
@click.argument("name", type=ComponentName("kernel"))
def build(name: str) -> None:
    """Compile kernels for this machine. NAME is a kernel, or a plugin or distribution with all its kernels."""
    reg = registry()
    wanted = normalize(name)
    whole = [p for p in reg.plugins() if wanted in (normalize(p.distribution), normalize(p.entry_point))]
    found = [item for plugin in whole for item in plugin.components if item.kind == "kernel"]
    if whole and not found:
        raise BadInput(f"{whole[0].distribution} has no kernels; there is nothing to build")
    found = found or [reg.get("kernel", name)]
    for item in found:
        kernel = item.create(item.configure())
        echo(f"{reg.name_of(item)}: building ...", err=True)
        echo(f"{reg.name_of(item)}: {kernel.build()}")
