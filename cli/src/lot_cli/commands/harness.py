"""`lot harness`: the tasks of EleutherAI's lm_eval on a run, or on every run of a study."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lot_cli.terminal.echo import echo

if TYPE_CHECKING:
    from lot.runs.load import RecordedRun
    from lot_cli.harness.evaluation import Settings
    from lot_cli.harness.records import Answer
    from lot_cli.harness.tasks import Opened


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("tasks", nargs=-1, required=True)
@click.option(
    "--include",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder with task files of your own; may be repeated.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Examples of each task, from the first on; default: all.")
@click.option(
    "--num-fewshot", type=click.IntRange(min=0), help="Examples in each prompt; default: what the task says, else 0."
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Sequences side by side; default: as in training.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1234,
    show_default=True,
    help="Seed of examples in prompts, and of draws.",
)
@click.option(
    "--prefix", metavar="TOKEN", help="Token before a text without a context; default: bos of the tokenizer, else eos."
)
@click.option("--metadata", metavar="JSON", help="Facts for tasks that make their data, as lm_eval's own option.")
@click.option(
    "--checkpoint", default="best", show_default=True, metavar="STEP|last|best", help="Which checkpoint of a run."
)
@click.option("--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda ...")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result as JSON to this file too.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def harness(
    run: Path,
    tasks: tuple[str, ...],
    include: tuple[Path, ...],
    limit: int | None,
    num_fewshot: int | None,
    batch_size: int | None,
    seed: int,
    prefix: str | None,
    metadata: str | None,
    checkpoint: str,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Ask the best model of RUN the TASKS of lm_eval (pip install 'lot-cli[harness]').

    TASKS: names, groups or patterns of lm_eval, YAML files of tasks, or folders of them. Results and each example are kept in
    RUN/harness, and an equal question is answered from there. RUN may be the folder of a study: every run is asked, and the
    arms are compared by seed. For example: lot harness runs/text_lm-lattice lambada_openai --limit 200
    """
    from lot_cli.harness.packages import quiet, require_lm_eval

    require_lm_eval()
    facts = _metadata(metadata)
    from lot_cli.harness.evaluation import Settings, prefix_of, require_text
    from lot_cli.harness.tasks import open_tasks
    from lot_cli.terminal.console import warn

    settings = Settings(limit=limit, seed=seed, batch_size=batch_size, prefix=prefix)
    of_study = _study_folder(run)
    if of_study is not None and checkpoint != "best":
        raise click.UsageError("--checkpoint: of one run; the runs of a study are asked at their best checkpoints")
    first, rest = _loaded(run, of_study, checkpoint, device)
    require_text(first)
    prefix_of(first, prefix)
    with quiet():
        opened = open_tasks(tasks, include, seed=seed, num_fewshot=num_fewshot, metadata=facts, warn=warn)
    if of_study is None:
        document = _ask_run(first, opened, settings, as_json)
    else:
        document = _ask_study(of_study, first, rest, opened, settings, as_json)
    text = json.dumps(document, allow_nan=False)
    if out is not None:
        from lot.storage.files import write_atomic
        from lot_cli.terminal.output_file import writing_to

        with writing_to(out, fix="choose another file with --out"):
            write_atomic(out, text + "\n")
    if as_json:
        echo(text)


def _metadata(text: str | None) -> dict[str, Any]:
    """The table that --metadata gives."""
    try:
        found = {} if text is None else json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.BadParameter(
            "expected a table in JSON, as in '{\"max_seq_lengths\": [512]}'", param_hint="--metadata"
        )
    return found


def _study_folder(run: Path) -> Path | None:
    """The folder of a study that is meant, by itself or by its file; None for a run."""
    if run.is_dir() and (run / "study.json").exists():
        return run
    if run.is_file() and run.suffix in (".yaml", ".yml"):
        from lot_cli.commands.study import ROOT
        from lot_cli.study.design.file import load_study

        return ROOT / load_study(run).name
    return None


def _loaded(
    run: Path, of_study: Path | None, checkpoint: str, device: str
) -> tuple[RecordedRun, list[Callable[[], RecordedRun]]]:
    """The run, or the first one of a study; and what loads the others."""
    from lot.errors import BadInput
    from lot.runs.load import load_run
    from lot_cli.terminal.console import warn

    def loader(path: Path) -> Callable[[], RecordedRun]:
        return lambda: load_run(path, device=device, checkpoint=checkpoint, warn=warn)

    if of_study is None:
        return loader(run)(), []
    from lot_cli.harness.comparison import finished_study, runs_of

    found = runs_of(finished_study(of_study), of_study)
    if not found:
        raise BadInput(f"{of_study}: every run of this study diverged: there is no model to ask")
    first, *others = (loader(path) for _, path in found)
    return first(), others


def _ask_run(loaded: RecordedRun, opened: Opened, settings: Settings, as_json: bool) -> dict[str, Any]:
    """Ask one run, and show what it gave."""
    from lot_cli.harness.records import plain
    from lot_cli.harness.tables import group_metrics, show_answers
    from lot_cli.terminal.console import console

    found = _answers(loaded, opened, settings)
    groups = plain(group_metrics(opened.groups, found))
    stderr = console()
    for answer in found:
        if answer.reused:
            told = answer.summary
            when = str(told["date"])[:16].replace("T", " ")
            line = f"{told['task']}: measured {when} UTC, kept in {loaded.path / 'harness'}"
            stderr.print(line, style="dim", soft_wrap=True)
    where = console(stderr=as_json)
    show_answers(where, f"{loaded.path}, step {loaded.step}", found, groups)
    if loaded.leak:
        where.print("LEAK: this model saw what it was asked to predict", style="red bold")
    return {
        "run": str(loaded.path),
        "step": loaded.step,
        "leak": loaded.leak,
        "tasks": [{**answer.summary, "reused": answer.reused} for answer in found],
        "groups": groups,
    }


def _ask_study(
    folder: Path,
    first: RecordedRun,
    rest: list[Callable[[], RecordedRun]],
    opened: Opened,
    settings: Settings,
    as_json: bool,
) -> dict[str, Any]:
    """Ask every run of a study, and compare its arms."""
    import attrs

    from lot_cli.harness.comparison import compare, finished_study, runs_of, save
    from lot_cli.harness.records import plain
    from lot_cli.harness.tables import show_comparison
    from lot_cli.terminal.console import console, warn

    result = finished_study(folder)
    stderr = console()
    found: dict[str, list[Answer]] = {}
    loaders: list[Callable[[], RecordedRun]] = [lambda: first, *rest]
    for (row, _), load in zip(runs_of(result, folder), loaders, strict=True):
        found[row.key] = _answers(load(), opened, settings)
        reused = sum(answer.reused for answer in found[row.key])
        known = f", {reused} of them measured before" if reused else ""
        stderr.print(f"{row.name}: {len(found[row.key])} tasks{known}", style="dim", soft_wrap=True)
    compared = compare(result, found)
    show_comparison(console(stderr=as_json), compared)
    try:
        stderr.print(f"kept in {save(folder, compared, found)}", style="dim", soft_wrap=True)
    except OSError as error:
        warn(f"the comparison is not kept ({error})")
    document: dict[str, Any] = plain(attrs.asdict(compared))
    return document


def _answers(loaded: RecordedRun, opened: Opened, settings: Settings) -> list[Answer]:
    """The answers of a run, with a line that moves meanwhile."""
    from lot_cli.harness.evaluation import answers
    from lot_cli.harness.packages import quiet
    from lot_cli.terminal.console import warn

    with quiet(), _line() as told:
        return list(answers(loaded, opened, settings, warn=warn, told=told))


@contextmanager
def _line() -> Iterator[Callable[[str, int, int], None]]:
    """What is told of progress: a task, the requests that are done, and their number."""
    from lot_cli.terminal.console import console
    from lot_cli.terminal.progress_line import ProgressLine

    line = ProgressLine(console())
    shown = ""

    def told(task: str, done: int, total: int) -> None:
        nonlocal shown
        if task != shown:
            shown = task
            line.begin(total, done)
        line.update(done, task)
        if done >= total:
            line.end()
            shown = ""

    try:
        yield told
    finally:
        line.end()
