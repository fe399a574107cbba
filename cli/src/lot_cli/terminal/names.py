"""Names as the command line takes them, so that the shell completes those of components and of sections of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lot.plugins.component import KINDS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class ComponentName(click.types.StringParamType):
    """The name of an installed component of a kind, or of any kind; with `sections`, of a section of a file too.

    This type does not check whether the name exists: the command does, and says what is missing and how to get it.
    """

    name = "name"

    def __init__(self, kind: str | None = None, *, sections: bool = False) -> None:
        self.kind, self.sections = kind, sections

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The installed names that begin with `incomplete`, each with its summary."""
        from click.shell_completion import CompletionItem

        from lot.plugins.registry import registry

        found: dict[str, str] = {}
        if self.sections:
            from lot_cli.reference import sections

            found = {section.name: section.summary for section in sections()}
        for kind in KINDS if self.kind is None else (self.kind,):
            for component in registry().components(kind):
                found.setdefault(registry().name_of(component), component.summary)
        return [CompletionItem(name, help=line) for name, line in sorted(found.items()) if name.startswith(incomplete)]
