"""`lot plot`: the pictures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lot_cli.terminal.echo import echo
from lot_cli.terminal.output_file import writing_to

if TYPE_CHECKING:
    from matplotlib.figure import Figure


picture_format = click.option(
    "--format",
    "suffix",
    type=click.Choice(["png", "pdf", "svg"]),
    default="png",
    show_default=True,
    help="Format of the pictures.",
)
"""The option of commands that draw."""


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the pictures; default: RUN/plots.")
@picture_format
@click.option("--animate", is_flag=True, help="Also draw the animations of the diagnostics that have one.")
@click.option(
    "--movie", type=click.Choice(["gif", "mp4"]), default="gif", show_default=True, help="Format of the animations."
)
@click.option(
    "--smooth",
    type=click.IntRange(min=1),
    help="Rows of the log that a running mean covers; default: a fiftieth of all rows.",
)
def plot(
    run: Path, names: tuple[str, ...], out: Path | None, suffix: str, animate: bool, movie: str, smooth: int | None
) -> None:
    """Draw the learning curves of RUN and every diagnostic that it recorded,
    or only the pictures that are named."""
    from lot.errors import BadInput
    from lot.runs.directory import RunDir, find_run
    from lot.storage.snapshots import load_records

    path = find_run(run)
    recorded = RunDir(path)
    config = recorded.config()
    drawable = ["curves", *config.diagnostics]
    for name in names:
        if name not in drawable:
            raise BadInput(f"{path} recorded no {name!r}", fix=f"it has {', '.join(drawable)}")
    wanted = names or tuple(drawable)
    if smooth is not None and "curves" not in wanted:
        raise click.UsageError("--smooth is about the learning curves; add the name curves")
    if not animate and click.get_current_context().get_parameter_source("movie") is not ParameterSource.DEFAULT:
        raise click.UsageError("--movie is the format of the animations; add --animate")
    leak = bool(recorded.facts().get("leak"))
    folder = out or path / "plots"
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        if name == "curves":
            save_figure(draw_curves(recorded.rows(), path, smooth), folder / f"curves.{suffix}", name, leak=leak)
            continue
        chosen = config.diagnostics[name]
        diagnostic = chosen.component.create(chosen.options)
        records = load_records(path, name)
        if not records:
            echo(f"{name}: nothing recorded yet", err=True)
            continue
        save_figure(diagnostic.draw(records), folder / f"{name}.{suffix}", name, leak=leak)
        if (verdict := diagnostic.verdict(records)) is not None:
            echo(f"  {verdict}")
        if animate and not hasattr(diagnostic, "animate"):
            echo(f"{name}: has no animation", err=True)
        elif animate:
            film = folder / f"{name}.{movie}"
            with writing_to(film):
                diagnostic.animate(records, film)
            echo(f"{name}: {film}")


def save_figure(figure: Figure | None, path: Path, name: str, *, leak: bool) -> None:
    """Write a picture, marked where the model saw what it was asked to predict, and say where it is."""
    if figure is None:
        echo(f"{name}: nothing to draw", err=True)
        return
    if leak:
        from lot.figure import mark_leak

        mark_leak(figure)
    with writing_to(path):
        figure.savefig(path)
    echo(f"{name}: {path}")


def draw_curves(rows: list[dict[str, Any]], run: Path, window: int | None) -> Figure | None:
    """The terms of the objective over training, and the validation metrics;
    None where no training row was logged.

    A faint line shows the logged values, a strong one their running mean over `window` rows
    (None: a fiftieth of all).
    """
    from lot.figure import PALETTE, literal, new_figure, smooth
    from lot_cli.recorded.curves import course, is_share, is_steep, metrics, of_split, terms, usual_window

    train, validation = of_split(rows, "train"), of_split(rows, "validation")
    if not train:
        return None
    window = usual_window(len(train)) if window is None else window
    names = terms(train)
    bounded = [key for key in metrics(validation) if is_share(validation, key)]
    figure, axes = new_figure(1, 2 if bounded else 1)
    for index, term in enumerate(names):
        steps, values = course(train, term)
        total = term == "loss"
        color = "black" if total else PALETTE[index % len(PALETTE)]
        if window > 1:
            axes[0].plot(steps, values, color=color, alpha=0.25, linewidth=1)
        # The objective is often hardly more than its main term, which must show beside it.
        style: Any = {"zorder": 3, "linestyle": (0, (4, 2))} if total and len(names) > 1 else {}
        axes[0].plot(steps, smooth(values, window), color=color, label=f"train {literal(term)}", **style)
    validated = course(validation, "loss")
    if validated.steps:
        axes[0].plot(*validated, "o--", color="#D55E00", markersize=4, label="validation loss")
    axes[0].set(title="Loss", xlabel="step", ylabel="nats per scored token")
    if is_steep(tuple(axes[0].dataLim.intervaly)):
        axes[0].set_yscale("log")
    axes[0].legend(fontsize=8)
    if bounded:
        for key in bounded:
            axes[1].plot(*course(validation, key), "o-", markersize=4, label=literal(key.replace("_", " ")))
        axes[1].set(title="Validation", xlabel="step", ylabel="share", ylim=(-0.03, 1.03))
        axes[1].legend(fontsize=8)
    figure.suptitle(literal(str(run)), fontsize=8, color="#666666", x=0.99, ha="right")
    return figure
