"""`lot schema`: what a file may hold, in the form that editors read."""

from __future__ import annotations

import json

import click

from lot.plugins.registry import registry
from lot_cli.reference import FILES
from lot_cli.terminal.echo import echo


@click.command()
@click.argument("file", type=click.Choice(FILES), default="run")
def schema(file: str) -> None:
    """Write the JSON Schema of run files, study files or sweep files to stdout.

    \b
      lot schema > run.schema.json
      lot schema study > study.schema.json
      lot schema sweep > sweep.schema.json

    An editor with the YAML language server then completes and checks a file whose first line is this comment:

    \b
      # yaml-language-server: $schema=run.schema.json

    The schema holds what is installed. Write it again after you install or change a plugin.
    """
    from lot_cli.json_schema.files import SchemaMaker

    maker = SchemaMaker(registry())
    made = {"run": maker.run, "study": maker.study, "sweep": maker.sweep}[file]()
    echo(json.dumps(made, indent=2, ensure_ascii=False))
    for problem in maker.unreadable.values():
        echo(f"warning: {problem}; the schema allows any options there", err=True)
