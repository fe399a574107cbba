"""`lot diagnose`: any diagnostic on a finished run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lot_cli.commands.plot import picture_format
from lot_cli.terminal.echo import echo
from lot_cli.terminal.names import ComponentName
from lot_cli.terminal.output_file import require_writable, writing_to

if TYPE_CHECKING:
    from lot.inspection.diagnose import Look


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--prompt", metavar="TEXT", help="Text to measure on, in place of the first sequences of the split.")
@click.option("--checkpoint", default="best", show_default=True, metavar="STEP|last|best", help="Which checkpoint.")
@click.option(
    "--split",
    type=click.Choice(["validation", "train"]),
    default="validation",
    show_default=True,
    help="Part of the data to measure on.",
)
@click.option("--task", type=ComponentName("task"), help="Another task, with the vocabulary of the model.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Set an option of the task or of a diagnostic, as in diagnostics.attention_map.positions=64.",
)
@click.option("--data", type=click.Path(path_type=Path), help="File to read in place of the one of the training.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the pictures; default: beside what was measured."
)
@picture_format
@click.option("--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda ...")
@click.option("--json", "as_json", is_flag=True, help="Print the single numbers as JSON on stdout; draw nothing.")
def diagnose(
    run: Path,
    names: tuple[str, ...],
    prompt: str | None,
    checkpoint: str,
    split: str,
    task: str | None,
    overrides: tuple[str, ...],
    data: Path | None,
    out: Path | None,
    suffix: str,
    device: str,
    as_json: bool,
) -> None:
    """Measure diagnostics on a checkpoint of RUN, whether or not the run measured them, and draw them.

    Without a name: those that the run measured, and the maps and entropies of its attention. What was measured goes to
    RUN/diagnoses. For example: lot diagnose runs/char_lm-lattice attention_map --prompt "the cat"
    """
    from click.core import ParameterSource

    from lot_cli.terminal.console import warn

    if prompt is not None and click.get_current_context().get_parameter_source("split") is not ParameterSource.DEFAULT:
        raise click.UsageError("--prompt and --split both say what to measure on; give one of them")
    if (run / "config.yaml").is_file():
        require_writable(run, run / "diagnoses", fix="make the folder of the run writable")

    from lot.inspection.diagnose import diagnose as measure

    looks = measure(
        run,
        names,
        prompt=prompt,
        split=split,  # type: ignore[arg-type]
        checkpoint=checkpoint,
        task=task,
        overrides=overrides,
        data=data,
        device=device,
        warn=warn,
    )
    for look in looks:
        with writing_to(look.folder, fix="make the folder of the run writable"):
            look.save()
    if as_json:
        echo(json.dumps({look.name: {"step": look.record.step, **_numbers(look)} for look in looks}))
        return
    for look in looks:
        _show(look, out or look.folder, suffix)


def _show(look: Look, folder: Path, suffix: str) -> None:
    """Print the numbers of a look and what they mean, and draw it."""
    from lot_cli.commands.plot import save_figure
    from lot_cli.terminal.numbers import number

    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    figure = look.diagnostic.draw([look.record])
    save_figure(figure, folder / f"{look.name}.{suffix}", look.name, leak=look.leak)
    if numbers := _numbers(look):
        echo("  " + "  ".join(f"{key} {number(value)}" for key, value in numbers.items()))
    if (verdict := look.diagnostic.verdict([look.record])) is not None:
        echo(f"  {verdict}")


def _numbers(look: Look) -> dict[str, float]:
    """The single numbers among what was measured."""
    return {name: float(value) for name, value in look.record.scalars.items()}
