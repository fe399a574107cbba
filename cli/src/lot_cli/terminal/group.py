"""A click group that knows its commands by name and help line, and imports one only when it is
used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Table = Mapping[str, tuple[str, str]]
"""Name of a command -> (`"package.module:command"`, its help line)."""


class LazyGroup(click.Group):
    """A group over a `Table`. Listing, help and completion of command names import none of them."""

    def __init__(self, *args: Any, table: Table, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported now, or None."""
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begin with.

        An unknown name is a usage error, which names the nearest command.
        """
        name = args[0]
        if name not in self.table and not name.startswith("-"):
            import difflib

            close = difflib.get_close_matches(name, self.table, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self.table)}"
            ctx.fail(f"no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The section of the help that lists the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in self.table.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands, and options."""
        from click.shell_completion import CompletionItem

        own = [(name, line) for name, (_, line) in self.table.items() if name.startswith(incomplete)]
        return [CompletionItem(name, help=line) for name, line in own] + click.Command.shell_complete(
            self, ctx, incomplete
        )
