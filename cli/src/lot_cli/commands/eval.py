"""`lot eval`: the metrics of a finished run."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--split",
    type=click.Choice(["test", "validation", "train"]),
    default="test",
    show_default=True,
    help="Part of the data to evaluate on.",
)
@click.option("--data", type=click.Path(path_type=Path), help="File to read in place of the one of the training.")
@click.option("--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda ...")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON on stdout.")
def evaluate(run: Path, split: str, data: Path | None, device: str, as_json: bool) -> None:
    """Evaluate the best checkpoint of RUN, a run directory or a folder of versions."""
    from lot.runs.evaluate import evaluate as measure
    from lot_cli.terminal.console import metrics_table, warn
    from lot_cli.terminal.numbers import finite_or_null

    found = measure(run, split=split, data=data, device=device, warn=warn)  # type: ignore[arg-type]
    if as_json:
        click.echo(json.dumps({**found, "metrics": finite_or_null(found["metrics"])}))
        return
    metrics_table(found["metrics"], f"{found['split']} split, step {found['step']}, {found['run']}", leak=found["leak"])
