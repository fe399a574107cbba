"""Names as the command line takes them, so that the shell can complete them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from lot.plugins.component import KINDS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class ComponentName(click.types.StringParamType):
    """The name of an installed component of a kind, or of any kind.

    also: gives other names that the command takes, each with a line about it; it is called on completion only.
    This type does not check whether the name exists: the command does, and says what is missing and how to get it.
    """

    name = "name"

    def __init__(self, kind: str | None = None, *, also: Callable[[], dict[str, str]] = dict) -> None:
        self.kind, self.also = kind, also

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The installed names that begin with `incomplete`, each with its summary."""
        from click.shell_completion import CompletionItem

        from lot.plugins.registry import registry

        found = self.also()
        for kind in KINDS if self.kind is None else (self.kind,):
            for component in registry().components(kind):
                found.setdefault(registry().name_of(component), component.summary)
        return [CompletionItem(name, help=line) for name, line in sorted(found.items()) if name.startswith(incomplete)]
