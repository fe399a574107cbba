"""`lot sweep`: a grid or a random search over options of a run, from a file or from the command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lot_cli.commands.choosing import choosing_components, with_attention
from lot_cli.commands.executing import cluster_settings, cluster_words, machine_words, many_runs, on_a_cluster
from lot_cli.terminal.echo import echo
from lot_cli.terminal.output_file import writing_to

if TYPE_CHECKING:
    from lot_cli.sweep.file import Sweep
    from lot_cli.sweep.points import Point
    from lot_cli.sweep.procedure import Place
    from lot_cli.sweep.result import SweepResult

ROOT = Path("sweeps")
_SECTIONS = ("attn", "mlp", "model", "embed", "task", "optim")
_KEYS = ("count", "draw_seed", "seeds", "objective", "limit", "name")
"""Options that are keys of a sweep file too."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@choosing_components
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE,...",
    help="Values to try, as in optim.lr=1e-3,3e-3; with one value, set an option of every run.",
)
@click.option("--count", type=click.IntRange(min=1), help="Number of configurations that a random search draws.")
@click.option("--draw-seed", type=click.IntRange(min=0), help="Seed of what a random search draws; default: 0.")
@click.option("--seeds", type=int, help="Number of seeds of each configuration; default: 1.")
@click.option("--objective", metavar="METRIC", help="Metric to choose by; default: the task's primary metric.")
@click.option("--limit", type=click.IntRange(min=1), help="Refuse more runs than this; default: 256.")
@click.option(
    "--name", help="Name of the sweep, which goes to sweeps/NAME; default: task, attention and what is swept."
)
@many_runs
@on_a_cluster
@click.option(
    "--plan", "planning", is_flag=True, help="Print how many runs there are and what they cost, without a run."
)
@click.option("--report-only", is_flag=True, help="Write the report of the runs that are finished, without a run.")
@click.option("--json", "as_json", is_flag=True, help="Print sweep.json on stdout, and everything else on stderr.")
def sweep(
    file: Path | None,
    jobs: int,
    device: str,
    executor: str,
    settings: tuple[str, ...],
    planning: bool,
    report_only: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Try values of options, each combination or a random choice, and list them by a metric on validation.

    \b
      lot sweep --attn lattice --task copy_reverse --set optim.lr=1e-3,3e-3 --set attn.coupling=0,0.5,1
      lot sweep --task copy_reverse --set 'optim.lr=log_uniform(1e-4,1e-2)' --count 20 --jobs 2
      lot sweep FILE.yaml

    VALUES of --set are parted by commas: 1e-3,3e-3 are two, and [1,2] or "a, b" is one. Also, in quotes for the shell:

    \b
      linspace(0,1,5)  geomspace(1e-4,1e-2,5)        that many values, both ends among them
      uniform(0,1)  log_uniform(1e-4,1e-2)           drawn, --count times; other values are then
      choice(head,token)                             chosen from at random

    The test split is never read. Everything goes to sweeps/NAME, where sweep.yaml repeats the command. An interrupted sweep
    goes on from where it stopped, and runs that exist are used again. A run that diverges or fails is a row of the table.
    """
    from lot.errors import BadInput
    from lot_cli.sweep.file import load_sweep
    from lot_cli.sweep.points import points_of
    from lot_cli.sweep.recorded import kept_model

    if planning and report_only:
        raise click.UsageError("--plan and --report-only exclude each other")
    if file is not None:
        if flags := _flags(given):
            raise click.UsageError(f"FILE says all of a sweep; write {flags[0]} into it, or leave FILE out")
        loaded = load_sweep(file)
    else:
        loaded = _from_options(given)
    cluster = cluster_settings(executor, settings)
    folder = _folder(file, loaded.name)
    if report_only and not (folder / "runs").is_dir():
        raise BadInput(f"{folder}: no sweep there", fix="run it without --report-only")
    points = points_of(loaded, finished=report_only and (kept_model(folder / "runs") or True))
    repeated = file or folder / "sweep.yaml"
    command = ["lot", "sweep", str(repeated), *machine_words(jobs, device), *cluster_words(executor, settings)]
    if not (planning or report_only):
        _say_what_starts(loaded, points)  # a sign of life, at once: torch takes seconds to import

    from lot_cli.sweep.procedure import Place

    place = Place(folder=folder, jobs=jobs, device=device, slurm=cluster)
    if planning:
        from lot_cli.sweep.cost import cost_lines, cost_of

        for line in cost_lines(cost_of(loaded, points, place)):
            echo(line)
        return
    _make(loaded, points, place, shlex.join(command), report_only=report_only, as_json=as_json, write=file is None)


def _folder(file: Path | None, name: str) -> Path:
    """Where the sweep is: in the folder of its own sweep.yaml, wherever that was moved to, else in that of its name."""
    if file is not None and file.name == "sweep.yaml" and (file.parent / "runs").is_dir():
        return file.parent
    return ROOT / name


def _say_what_starts(sweep: Sweep, points: Sequence[Point]) -> None:
    from lot_cli.terminal.numbers import count

    seeds = f" x {count(len(sweep.seed_list), 'seed')}" if len(sweep.seed_list) > 1 else ""
    what = f"{' and '.join(sweep.paths)} of {points[0].config.title}"
    echo(f"sweeping {what}: {count(len(points), 'configuration')}{seeds}", err=True)


def _make(
    sweep: Sweep, points: Sequence[Point], place: Place, command: str, *, report_only: bool, as_json: bool, write: bool
) -> None:
    """Make the runs and report them; after an interruption, those that are finished.

    write: leave the sweep as sweep.yaml in its folder, once it is known to be sound.
    """
    from lot.config.yaml import dump_yaml
    from lot.errors import Interrupted, RunFailed
    from lot.storage.files import write_atomic
    from lot_cli.sweep.procedure import conduct, survey
    from lot_cli.sweep.progress import SweepProgress

    if report_only:
        _report(survey(sweep, points, place, command), points, place, as_json)
        return
    with SweepProgress() as progress:

        def tell(event: str, facts: dict[str, Any]) -> None:
            if event == "plan" and write:
                write_atomic(place.folder / "sweep.yaml", dump_yaml(sweep.to_dict()))
            progress.tell(event, facts)

        try:
            result = conduct(sweep, points, place, command, tell)
        except Interrupted:
            progress.line.end()
            _report(survey(sweep, points, place, command), points, place, as_json)
            raise
    _report(result, points, place, as_json)
    if result.best is None:
        lost = [run for row in result.rows for run in row.lost]
        why = f"; the first: {lost[0].message}" if lost else ""
        raise RunFailed(f"no configuration has a finite {result.objective}{why}")


def _report(result: SweepResult, points: Sequence[Point], place: Place, as_json: bool) -> None:
    from lot_cli.sweep.report import show, write_files

    with writing_to(place.folder, fix="make room or give it the rights; --report-only then writes the report"):
        names = write_files(result, points, place.folder)
    show(result, place.folder, stderr=as_json)
    echo(f"{place.folder / names[0]}, {', '.join(names[1:])}", err=True)
    if as_json:
        echo(json.dumps(result.to_dict()))


def _from_options(given: dict[str, Any]) -> Sweep:
    from lot_cli.sweep.from_options import sweep_from_options

    file = given["config_file"]
    tree = {} if file is None else with_attention(file, given["attn"])
    if not isinstance(tree or {}, dict) or "arms" in (tree or {}) or "base" in (tree or {}):
        raise click.BadParameter(f"{file}: expected the configuration of a run", param_hint="--config")
    select = {section: given[section] for section in _SECTIONS if given[section] is not None}
    more = {key: given[key] for key in _KEYS}
    added = {section: given[section] for section in ("losses", "diagnostics", "recorders")}
    return sweep_from_options(tree or {}, select, added, given["overrides"], more, ROOT)


def _flags(given: dict[str, Any]) -> list[str]:
    """The options that say what is swept, as far as they are given."""
    return [_flag(name) for name, value in given.items() if value not in (None, ())]


def _flag(name: str) -> str:
    other = {
        "config_file": "--config",
        "losses": "--loss",
        "diagnostics": "--diagnostic",
        "recorders": "--record",
        "overrides": "--set",
    }
    return other.get(name, f"--{name.replace('_', '-')}")
