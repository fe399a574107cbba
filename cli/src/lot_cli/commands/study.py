"""`lot study` makes a study from its file; `lot compare` writes that file from a few options and
makes it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lot_cli.commands.executing import cluster_settings, cluster_words, machine_words, many_runs, on_a_cluster
from lot_cli.terminal.echo import echo
from lot_cli.terminal.names import ComponentName

if TYPE_CHECKING:
    from lot_cli.study import Result, Study

ROOT = Path("studies")

_json = click.option(
    "--json", "as_json", is_flag=True, help="Print study.json on stdout, and everything else on stderr."
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@many_runs
@on_a_cluster
@click.option("--report-only", is_flag=True, help="Write the report of a finished study again, without a run.")
@click.option("--register", "registering", is_flag=True, help="Freeze hypotheses, metrics and seeds, without a run.")
@click.option(
    "--plan", "planning", is_flag=True, help="Print what the seeds can show and what they cost, without a run."
)
@_json
def study(
    file: Path,
    jobs: int,
    device: str,
    executor: str,
    settings: tuple[str, ...],
    report_only: bool,
    registering: bool,
    planning: bool,
    as_json: bool,
) -> None:
    """Make the study in FILE: check that it is fair, make the runs that are missing, judge,
    and report.

    Everything goes to studies/NAME. An interrupted study goes on from where it stopped.
    """
    from lot_cli.study.design.file import load_study

    if report_only + registering + planning > 1:
        raise click.UsageError("--report-only, --register and --plan exclude each other")
    loaded = load_study(file)
    folder = ROOT / loaded.name
    if registering:
        _register(loaded, folder)
    elif planning:
        _plan(loaded, folder)
    elif report_only:
        _report(_finished(loaded, folder), folder, as_json)
    else:
        cluster = cluster_settings(executor, settings)
        command = ["lot", "study", str(file), *cluster_words(executor, settings)]
        _conduct(loaded, folder, jobs, device, command, as_json, slurm=cluster)


@click.command()
@click.option("--attn", required=True, metavar="NAME,NAME...", help="Attention mechanisms; vanilla must be among them.")
@click.option("--task", required=True, type=ComponentName("task"), help="Task or dataset.")
@click.option(
    "--seeds", type=int, default=8, show_default=True, help="Number of seeds per mechanism; a verdict needs at least 6."
)
@click.option(
    "--metrics",
    metavar="NAME,NAME...",
    help="Metrics to judge, the main one first; default: the task's primary metric, and loss.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Set an option of every arm, as in train.steps=400."
)
@click.option("--name", help="Name of the study; default: the task and the mechanisms.")
@many_runs
@_json
def compare(
    attn: str,
    task: str,
    seeds: int,
    metrics: str | None,
    overrides: tuple[str, ...],
    name: str | None,
    jobs: int,
    device: str,
    as_json: bool,
) -> None:
    """Compare attention mechanisms on a task, fairly and in pairs.

    For example: lot compare --attn vanilla,lattice --task copy_reverse --seeds 8. It writes
    studies/NAME/study.yaml, which `lot study` takes to go on or to report again.
    """
    from lot.config.yaml import parse_yaml
    from lot_cli.study.design.file import set_path, study_from

    arms = _list(attn)
    base: dict[str, Any] = {"task": {"name": task}}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path.strip():
            raise click.BadParameter(
                f"expected PATH=VALUE, as in train.steps=400, got {override!r}", param_hint="--set"
            )
        set_path(base, path.strip(), parse_yaml(text, f"--set {path}"), "--set")
    content: dict[str, Any] = {
        "base": base,
        "arms": {arm.replace(":", "-"): {"attn": {"name": arm}} for arm in arms},
        "seeds": seeds,
        **({"metrics": _list(metrics)} if metrics else {}),
    }
    loaded = study_from(
        {**content, **({"name": name} if name else {})}, _free_name(f"{task}-{'-'.join(arms)}", content)
    )
    command = ["lot", "compare", "--attn", attn, "--task", task, "--seeds", str(seeds)]
    command += ["--metrics", metrics] if metrics else []
    command += [word for override in overrides for word in ("--set", override)]
    command += ["--name", name] if name else []
    _conduct(loaded, ROOT / loaded.name, jobs, device, command, as_json, content)


def _conduct(
    study: Study,
    folder: Path,
    jobs: int,
    device: str,
    command: list[str],
    as_json: bool,
    written: dict[str, Any] | None = None,
    slurm: dict[str, Any] | None = None,
) -> None:
    """Make the study and report it.

    written: what to leave as study.yaml in its folder, once the study is known to be sound.
    """
    from lot.config.yaml import dump_yaml
    from lot_cli.study import conduct
    from lot_cli.study.report.progress import StudyProgress

    command += machine_words(jobs, device)
    with StudyProgress() as progress:

        def tell(event: str, facts: dict[str, Any]) -> None:
            if event == "plan" and written is not None:
                (folder / "study.yaml").write_text(dump_yaml(written), encoding="utf-8")
            progress.tell(event, facts)

        result = conduct(study, folder, jobs=jobs, device=device, command=shlex.join(command), tell=tell, slurm=slurm)
    _report(result, folder, as_json)


def _report(result: Result, folder: Path, as_json: bool) -> None:
    """Write report.md, report.html and the tables, and show the result."""
    from lot.storage.contained import refuse_what_leads_out
    from lot.storage.files import write_atomic
    from lot_cli.study.report import runs
    from lot_cli.study.report.export import FOLDER, write_tables
    from lot_cli.study.report.html import to_html
    from lot_cli.study.report.markdown import to_markdown
    from lot_cli.study.report.terminal import show
    from lot_cli.terminal.console import warn
    from lot_cli.terminal.output_file import writing_to

    refuse_what_leads_out(folder)
    with writing_to(folder / runs.BY_NAME, fix="move away what is there"):
        runs.link_runs(result, folder)
    write_atomic(folder / "report.md", to_markdown(result))
    write_atomic(folder / "report.html", to_html(result, runs.pictures(result, folder, warn)))
    write_tables(result, folder / FOLDER)
    show(result, stderr=as_json)
    echo(f"{folder / 'report.html'}, report.md, study.json, {FOLDER}/*.csv and *.tex", err=True)
    if as_json:
        echo(json.dumps(result.to_dict()))


def _finished(study: Study, folder: Path) -> Result:
    """The result of a finished study, as the record of looks and the caveats of the file let it be read now.

    Raises BadInput where there is none, or one of another form of the file.
    """
    import attrs

    from lot.errors import BadInput
    from lot_cli.study import load_result
    from lot_cli.study.analysis.record import beside_record, read_record
    from lot_cli.study.design.plan import digest
    from lot_cli.study.passports.store import read_passports
    from lot_cli.study.passports.verdicts import recheck
    from lot_cli.study.result_file import FILE

    result = load_result(folder / FILE)
    if result is None:
        raise BadInput(f"{folder}: no finished study there", fix="run it without --report-only")
    result = attrs.evolve(result, study=attrs.evolve(result.study, caveats=study.caveats))  # words change no number
    if digest(result.study.to_dict()) != digest(study.to_dict()):
        raise BadInput(f"{folder}: the study file has changed since its result", fix="run it without --report-only")
    return beside_record(recheck(result, read_passports(folder)), read_record(folder, result))


def _register(study: Study, folder: Path) -> None:
    from lot_cli.study.design.plan import find_reference, plan_arms
    from lot_cli.study.design.registration import FILE, register

    find_reference(study, plan_arms(study))
    echo(f"registered {register(study, folder)} in {folder / FILE}")


def _plan(study: Study, folder: Path) -> None:
    """Print what the study can show, and what it costs."""
    from lot_cli.study.planning import plan_study
    from lot_cli.study.report.plan import show_plan

    show_plan(plan_study(study, folder))


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _free_name(name: str, content: dict[str, Any]) -> str:
    """`name`, or `name-2` and so on where a comparison of other arms has it already.
    More seeds or other metrics belong in the same folder, whose runs they use."""
    from lot.config.yaml import read_yaml

    def same_runs(other: Any) -> bool:
        return isinstance(other, dict) and all(other.get(key) == content[key] for key in ("base", "arms"))

    name = name.replace(":", "-")
    for candidate in [name, *(f"{name}-{number}" for number in range(2, 10_000))]:
        file = ROOT / candidate / "study.yaml"
        if not file.exists() or same_runs(read_yaml(file)):
            return candidate
    return name
