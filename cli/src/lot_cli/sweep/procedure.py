"""A sweep from its file to its result: checked, run, gathered. Read `conduct` top to bottom."""

from __future__ import annotations

import datetime
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lot.errors import BadInput
from lot.runs.directory import RunDir
from lot.signals import SIGNALS
from lot.storage.assets import read_assets
from lot.storage.contained import refuse_what_leads_out
from lot_cli.study.analysis.tuning import quality, trial_of, validated
from lot_cli.study.analysis.warnings import overlaps
from lot_cli.study.design.plan import Run
from lot_cli.study.execution.damage import problem_of
from lot_cli.study.execution.make import RunMaker
from lot_cli.study.execution.runner import Tell
from lot_cli.study.execution.worker import Outcome, finished_outcome
from lot_cli.study.folder import locked
from lot_cli.sweep.caution import cautions
from lot_cli.sweep.file import Sweep
from lot_cli.sweep.points import Point, runs_of
from lot_cli.sweep.recorded import recorded_runs, reference_run
from lot_cli.sweep.result import FORMAT, Row, RunRow, State, SweepResult

if TYPE_CHECKING:
    from lot.contracts import Task

Scored = tuple[str, bool]
"""The objective, and whether higher is better."""


@attrs.frozen(kw_only=True)
class Place:
    """Where a sweep is made, and by what."""

    folder: Path
    jobs: int = 1  # runs at a time
    device: str = "auto"  # auto, cpu, cuda ...
    slurm: Mapping[str, Any] | None = None  # settings of the cluster; None: this machine

    def maker(self, sweep: Sweep, tell: Tell) -> RunMaker:
        """What makes the runs. Raises BadInput for a device or settings that cannot be used."""
        return RunMaker(
            sweep.threads,
            self.folder,
            jobs=self.jobs,
            device=self.device,
            tell=tell,
            slurm=self.slurm,
            name="lot-sweep",
        )


def conduct(sweep: Sweep, points: Sequence[Point], place: Place, command: str, tell: Tell) -> SweepResult:
    """Make the runs that are still to be made, and return what they found; a run that failed or diverged is part of it.

    Raises BadInput, before anything is made, for an objective that the task lacks and a folder that is in use, and
    Interrupted after a signal; the same call then goes on from there.
    """
    objective = objective_of(sweep, points)
    check_fit(sweep, points)
    with locked(place.folder):
        maker = place.maker(sweep, _with_scores(tell, place.folder / "runs", objective))
        runs = runs_of(points, sweep.seed_list, maker.numerics)
        # Seed by seed, so that an interrupted sweep can compare configurations.
        outcomes = maker.attempt([tried[index] for index in range(len(sweep.seed_list)) for tried in runs])
        return _gather(sweep, points, runs, outcomes, maker.runs, objective, command)


def survey(sweep: Sweep, points: Sequence[Point], place: Place, command: str) -> SweepResult:
    """What the finished runs in the folder found so far; nothing is made or written. Raises BadInput for a link out of it."""
    refuse_what_leads_out(place.folder)
    maker = place.maker(sweep, lambda event, facts: None)
    runs = recorded_runs(points, sweep.seed_list, maker.numerics, maker.runs)
    outcomes = {run.key: _outcome_on_disk(maker.directory(run), run.key) for tried in runs for run in tried}
    return _gather(
        sweep, points, runs, outcomes, maker.runs, _recorded_objective(sweep, points, runs, maker.runs), command
    )


def objective_of(sweep: Sweep, points: Sequence[Point]) -> Scored:
    """The metric to choose by, by the declaration of the task. Raises BadInput for one that the task lacks."""
    from lot.model.build import build_task

    return _scored(sweep, build_task(points[0].config))


def _recorded_objective(sweep: Sweep, points: Sequence[Point], runs: Sequence[Sequence[Run]], folder: Path) -> Scored:
    """The same; from what a run keeps of its task, where the files of the task are gone."""
    from lot.model.build import rebuild_task

    found = None if points[0].there else reference_run(runs, folder)
    if found is None:
        return objective_of(sweep, points)
    config, run = found
    return _scored(sweep, rebuild_task(config, read_assets(run)))


def _scored(sweep: Sweep, task: Task) -> Scored:
    directions = {str(metric): found.higher_is_better for metric, found in task.metrics().items()}
    name = task.primary if sweep.objective is None else sweep.objective
    if name not in directions:
        raise BadInput(
            where="objective", expected=f"a metric of the task: {', '.join(sorted(directions))}", got=repr(name)
        )
    if (higher := directions[name]) is None:
        raise BadInput(
            f"the task does not say whether higher {name} is better", where="objective", fix="name another one"
        )
    return name, bool(higher)


def check_fit(sweep: Sweep, points: Sequence[Point]) -> None:
    """Refuse, before a run is made, a configuration whose model and task do not fit each other, such as by their vocabulary.

    Only a sweep over either needs to be asked: another one is as sound as its first run. A diagnostic is asked about here
    because a run is given plain data, which do not tell what a user named.
    """
    from lot.model.build import build_task, dims_around
    from lot.training.compose import check_signals_of_documents

    sized = any(path.startswith(("model.", "task.")) for path in sweep.paths)
    tasks: dict[str, Task] = {}
    for point in points:
        diagnostics = point.config.diagnostics.values()
        asked = [one for one in diagnostics if one.asked and one.component.needs - SIGNALS.keys()]
        if not sized and not asked:
            continue
        key = json.dumps(point.config.task.table(), sort_keys=True, default=str)
        try:
            if key not in tasks:
                tasks[key] = build_task(point.config)
            if sized:
                dims_around(point.config, tasks[key])
            for one in asked:
                needs = one.create(f"diagnostics.{one.name}").needs
                check_signals_of_documents(point.config, tasks[key], f"diagnostic {one.name}", needs)
        except BadInput as error:
            raise BadInput(f"with {point.label}: {error}") from None


def _with_scores(tell: Tell, runs: Path, objective: Scored) -> Tell:
    """`tell`, with what each run reached in its label, and the best so far."""
    name, higher = objective
    reached: list[float] = []

    def tell_scores(event: str, facts: dict[str, Any]) -> None:
        if event == "run" and facts["state"] == "complete":
            score = validated(runs / facts["key"])[name]
            reached.extend([] if score is None else [score])
            best = (max if higher else min)(reached, default=None)
            shown = "not finite" if score is None else f"{score:.4g}"
            facts = {
                **facts,
                "label": f"{facts['label']}: {name} {shown}" + ("" if best is None else f", best {best:.4g}"),
            }
        tell(event, facts)

    return tell_scores


def _outcome_on_disk(run_dir: Path, key: str) -> Outcome:
    """How a run ended, as its directory has it: `failed` or `interrupted` where it is to be made again."""
    if (done := finished_outcome(run_dir, key)) is not None:
        problem = problem_of(run_dir, "validation")
        return done if problem is None else Outcome(key=key, state="interrupted", message=problem)
    status = RunDir(run_dir).status()
    if status.get("state") == "failed":
        return Outcome(key=key, state="failed", message=status.get("message") or "")
    return Outcome(key=key, state="interrupted")


def _gather(
    sweep: Sweep,
    points: Sequence[Point],
    runs: Sequence[Sequence[Run]],
    outcomes: Mapping[str, Outcome],
    folder: Path,
    objective: Scored,
    command: str,
) -> SweepResult:
    name, higher = objective
    trials = [
        trial_of((point.values, list(tried)), outcomes, folder, name) for point, tried in zip(points, runs, strict=True)
    ]
    order = sorted(range(len(trials)), key=lambda index: quality(trials[index], higher), reverse=True)
    rows = [_row(points[index].values, trials[index].score, runs[index], outcomes, folder, name) for index in order]
    return SweepResult(
        format=FORMAT,
        name=sweep.name,
        command=command,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        objective=name,
        higher_is_better=higher,
        split="validation",
        sweep=sweep.to_dict(),
        paths=sweep.paths,
        seeds=sweep.seed_list,
        rows=rows,
        best=rows[0].values if rows[0].score is not None else None,
        warnings=[*cautions(sweep, rows, name), *_overlaps(runs, outcomes, folder)],
    )


def _overlaps(runs: Sequence[Sequence[Run]], outcomes: Mapping[str, Outcome], folder: Path) -> list[str]:
    finished = (run.key for tried in runs for run in tried if outcomes[run.key].state == "complete")
    return overlaps(RunDir(folder / key).facts() for key in finished)


def _row(
    values: dict[str, Any],
    score: float | None,
    runs: Sequence[Run],
    outcomes: Mapping[str, Outcome],
    folder: Path,
    objective: str,
) -> Row:
    finished = [folder / run.key for run in runs if outcomes[run.key].state == "complete"]
    documents = [validated(path) for path in finished]
    scores = [document[objective] for document in documents]
    finite = [value for value in scores if value is not None]
    seconds = [sum(row["seconds"] for row in RunDir(path).rows("timing.jsonl")) for path in finished]
    facts = [RunDir(path).facts() for path in finished]
    of_run = dict(zip((path.name for path in finished), scores, strict=True))
    return Row(
        values=values,
        score=score,
        spread=statistics.stdev(finite) if len(finite) > 1 else None,
        metrics={metric: _mean([document[metric] for document in documents]) for metric in (documents or [{}])[0]},
        parameters=facts[0].get("parameters") if facts else None,
        seconds=_mean(seconds),
        leak=any((RunDir(path).result() or {}).get("leak") for path in finished),
        runs=[_run_row(run, outcomes[run.key], of_run.get(run.key)) for run in runs],
    )


def _run_row(run: Run, outcome: Outcome, score: float | None) -> RunRow:
    state: State = "unfinished" if outcome.state == "interrupted" else outcome.state
    message = (outcome.message.splitlines() or [""])[0]
    return RunRow(seed=run.seed, key=run.key, state=state, message=message, score=score)


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None where there is no value, or one that is not finite."""
    finite = [value for value in values if value is not None]
    return sum(finite) / len(finite) if finite and len(finite) == len(values) else None
