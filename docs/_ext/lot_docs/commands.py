"""The reference of the command line: every command with its usage, its help and its options, as click knows them."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator

import click

from lot_cli.main import cli
from lot_docs.markdown import anchor, code, definitions, text


def page() -> str:
    """Every command and subcommand, in the order of `lot --help`."""
    return "\n".join(_section(ctx) for ctx in walk())


def walk(command: click.Command = cli, parent: click.Context | None = None) -> Iterator[click.Context]:
    """A context for `command` and for each command below it, in the order in which the help lists them."""
    name = "lot" if parent is None else (command.name or "")
    ctx = click.Context(command, info_name=name, parent=parent)
    yield ctx
    if isinstance(command, click.Group):
        for below in command.list_commands(ctx):
            found = command.get_command(ctx, below)
            if found is not None:
                found.name = below
                yield from walk(found, ctx)


def _section(ctx: click.Context) -> str:
    command, path = ctx.command, ctx.command_path
    usage = " ".join([path, *command.collect_usage_pieces(ctx)])
    help_text = inspect.cleandoc(command.help or "")
    paragraphs = [_paragraph(paragraph) for paragraph in help_text.split("\n\n")]
    options = [record for parameter in command.get_params(ctx) if (record := parameter.get_help_record(ctx))]
    lines = [anchor(path.replace(" ", "-")), f"## {code(path)}", "", *(f"{paragraph}\n" for paragraph in paragraphs)]
    lines += ["```text", usage, "```", "", definitions((code(term), text(meaning)) for term, meaning in options)]
    return "\n".join(lines)


def _paragraph(plain: str) -> str:
    """A paragraph of a help text; one whose lines click leaves as they are (after \\b) is an example."""
    lines = plain.split("\n")
    if lines[0].strip() == "\b":
        return "```text\n" + textwrap.dedent("\n".join(lines[1:])) + "\n```"
    return text(plain)
