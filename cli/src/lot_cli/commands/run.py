"""`lot run`: compose a run from the command line, train it, and show it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from lot_cli.terminal.names import ComponentName
from lot_cli.terminal.numbers import finite_or_null


@click.command()
@click.option("--attn", type=ComponentName("attention"), help="Attention mechanism.")
@click.option("--embed", type=ComponentName("embedding"), help="Token embedding.")
@click.option("--task", type=ComponentName("task"), help="Task or dataset.")
@click.option("--optim", type=ComponentName("optimizer"), help="Optimizer.")
@click.option("--loss", "losses", type=ComponentName("loss"), multiple=True, help="Add a loss; repeat for more.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="YAML file of a configuration, which the other options refine.",
)
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Set one option, as in optim.lr=3e-4.")
@click.option("--seed", type=int, help="Seed of data, initial values and noise.")
@click.option("--name", help="Name of the run, which goes to runs/NAME/version_N.")
@click.option(
    "--run-dir", type=click.Path(path_type=Path), help="Directory of the run, in place of runs/NAME/version_N."
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run from its last checkpoint, bit for bit.")
@click.option("--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda, cuda:1 ...")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the metrics as JSON on stdout, and everything else on stderr."
)
@click.option("--print-config", is_flag=True, help="Print the resolved configuration and stop.")
def run(
    losses: tuple[str, ...],
    config_file: Path | None,
    overrides: tuple[str, ...],
    seed: int | None,
    name: str | None,
    run_dir: Path | None,
    resume: bool,
    device: str,
    as_json: bool,
    print_config: bool,
    **select: str | None,
) -> None:
    """Train a model and evaluate it.

    For example: lot run --attn lattice --task copy_reverse --set train.steps=200
    """
    from lot.config.load import load_config
    from lot.config.schema import Config
    from lot.runs.directory import RunDir, find_run

    chosen = {section: value for section, value in select.items() if value is not None}
    sets = [*overrides, *([f"seed={seed}"] if seed is not None else [])]
    config: Config | None = None
    if config_file is not None or chosen or losses or sets:
        config = load_config(config_file, select=chosen, losses=losses, overrides=sets)
    elif resume and (run_dir is not None or name is not None):
        if print_config:
            config = RunDir(find_run(run_dir or Path("runs") / str(name))).config()
    else:
        config = load_config()  # raises BadInput, which lists the tasks that there are
    if print_config:
        assert config is not None
        click.echo(config.to_yaml(), nl=False)
        return

    from lot_cli.terminal.run_display import RunDisplay

    display = RunDisplay(quiet_stdout=as_json)
    with display:
        from lot.training.train import train

        result = train(config, run_dir, name=_run_name(name), resume=resume, device=device, report=display.report)
    if as_json and os.environ.get("RANK", "0") == "0":  # under torchrun, one process speaks
        document: dict[str, Any] = {
            "run": str(result.run_dir),
            "step": result.step,
            "best_step": result.best_step,
            "leak": result.leak,
            "metrics": finite_or_null(result.metrics),
        }
        click.echo(json.dumps(document))


def _run_name(name: str | None) -> str | None:
    """The name, if it is the name of one folder and cannot lead elsewhere."""
    if name is None or (name not in ("", ".", "..") and not set(name) & set('/\\:*?"<>|')):
        return name
    raise click.BadParameter("expected a plain folder name, such as first-try", param_hint="--name")
