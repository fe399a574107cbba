"""Names of components as the command line takes them, completed by the shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lot.plugins.component import KINDS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class ComponentName(click.types.StringParamType):
    """The name of an installed component of a kind, or of any kind.

    Whether it exists is left to what uses it, which says what is missing and how to get it.
    """

    name = "name"

    def __init__(self, kind: str | None = None) -> None:
        self.kind = kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The installed names that begin with `incomplete`, each with its summary."""
        from click.shell_completion import CompletionItem

        from lot.plugins.registry import registry

        found: dict[str, str] = {}
        for kind in KINDS if self.kind is None else (self.kind,):
            for component in registry().components(kind):
                found.setdefault(registry().name_of(component), component.summary)
        return [CompletionItem(name, help=line) for name, line in sorted(found.items()) if name.startswith(incomplete)]
