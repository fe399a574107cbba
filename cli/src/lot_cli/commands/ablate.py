"""`lot ablate`: how far a trained model relies on its mechanism."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from lot_cli.terminal.echo import echo


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--split",
    type=click.Choice(["validation", "test"]),
    default="validation",
    show_default=True,
    help="Part of the data to measure the loss on.",
)
@click.option(
    "--draws", type=click.IntRange(1, 1000), default=5, show_default=True, help="Random states to take the mean over."
)
@click.option("--data", type=click.Path(path_type=Path), help="File to read in place of the one of the training.")
@click.option("--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda ...")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def ablate(run: Path, split: str, draws: int, data: Path | None, device: str, as_json: bool) -> None:
    """Damage the mechanism of RUN's best model, part by part, and show what that costs.

    The state (phases, say) is drawn at random; parameters that vanilla attention does not have get their initial values
    back. A large cost says that the trained model relies on the part, not that training needed it: a network adapts to
    what it has. For that, compare with a model that was trained without it.
    """
    from rich.table import Table

    from lot.runs.reliance import reliance
    from lot_cli.terminal.console import console, warn
    from lot_cli.terminal.numbers import number, signed

    found = reliance(run, split=split, draws=draws, device=device, data=data, warn=warn)  # type: ignore[arg-type]
    if as_json:
        echo(json.dumps({**asdict(found), "run": str(found.run)}))
        return
    where = console(stderr=False)
    where.print(f"{found.split} split, step {found.step}, {found.run}", style="bold", soft_wrap=True)
    table = Table()
    for column in ("damaged", "layers", "numbers", "loss (nats per token)", "change"):
        table.add_column(column, justify="left" if column in ("damaged", "layers") else "right")
    table.add_row("nothing", "", "", number(found.loss), "")
    for damage in found.damages:
        mean = sum(damage.losses) / len(damage.losses)
        spread = "" if damage.spread is None else f" ± {damage.spread:.2g}"
        layers = ", ".join(map(str, damage.layers))
        size = number(damage.parameters) if damage.parameters else "state"
        table.add_row(damage.what, layers, size, number(mean), f"{signed(damage.change)}{spread}")
    where.print(table)
    if found.shared:
        where.print(f"left alone, as vanilla has such too: {', '.join(found.shared)}", style="dim", soft_wrap=True)
    if not found.damages:
        where.print(
            "its attention has no state and no parameter that vanilla attention lacks: there is nothing to damage"
        )
    if found.leak:
        where.print("LEAK: this model saw what it was asked to predict", style="red bold")
