"""A study from its file to its result: check, tune, run, judge. Read `conduct` top to bottom."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from lot_cli.study.analysis.judge import reachable
from lot_cli.study.analysis.looks import Record, next_look, pairs_of_next_look, read_record, write_entry
from lot_cli.study.analysis.reliance import reliance_of, unmeasured
from lot_cli.study.analysis.tuning import Attempt, choose
from lot_cli.study.assemble import Checked, Made, assemble
from lot_cli.study.design.check_fairness import choose_metrics, make_fair
from lot_cli.study.design.contrasts import contrasts_of
from lot_cli.study.design.file import Study
from lot_cli.study.design.plan import find_reference, is_vanilla, plan_arms
from lot_cli.study.design.worth import with_worth
from lot_cli.study.execution.make import RunMaker
from lot_cli.study.execution.runner import Tell
from lot_cli.study.folder import locked
from lot_cli.study.passports.gate import check_passports
from lot_cli.study.passports.make import Passports
from lot_cli.study.passports.store import save_passports
from lot_cli.study.result import OtherFormat, Result, Tuning
from lot_cli.study.result_file import FILE, load_result, save_result


def _say_nothing(event: str, facts: dict[str, Any]) -> None:
    """Drops the event."""


def conduct(
    study: Study,
    folder: Path,
    *,
    jobs: int = 1,
    device: str = "auto",
    command: str = "lot_cli.study.conduct(study, folder)",
    tell: Tell = _say_nothing,
    slurm: Mapping[str, Any] | None = None,
) -> Result:
    """Make the runs of the study that are still to be made, and return its result,
    which `folder`/study.json then holds. A study that plans looks is made up to the next one.

    folder: that of the study; it is made where it is missing.
    jobs: runs at a time. device: `auto`, `cpu`, `cuda` ...
    command: what the report says under "To repeat it". tell: called with each event and its facts.
    slurm: settings of the cluster that makes the runs; None: this machine.
    Raises BadInput, before anything is spent, for a study that cannot be fair or judged, an arm whose
    passport fails, or a folder that is in use.
    Raises RunFailed where a run failed otherwise than by diverging,
    and Interrupted after a signal; the same call then goes on from there.
    """
    with locked(folder):
        record = read_record(folder, _previous(folder))
        checked = check(study, record)
        maker = RunMaker(study, folder, jobs=jobs, device=device, tell=tell, slurm=slurm)
        passports = Passports(folder, checked.seeds[0], maker.device if slurm is None else "cpu", tell)
        check_passports(study, checked.arms, checked.reference, checked.findings, passports, folder)
        tell("fairness", {"fairness": checked.findings.fairness(), "reach": checked.reach})
        tuned = _tune(checked, maker)
        runs = [
            maker.address(arm, seed, tuned[arm.name].values, "report") for seed in checked.seeds for arm in checked.arms
        ]  # seed by seed, so that an interrupted study has pairs
        outcomes = maker.make(runs)
        made = Made(tuned=tuned, runs=runs, outcomes=outcomes, maker=maker, passports=passports)
        if study.reliance:
            made = _measure_reliance(checked, made)
        write_entry(folder, checked.look, record)  # before the result is known
        result = assemble(checked, made, folder, command)
        save_passports({name: arm.passport for name, arm in result.arms.items() if arm.passport is not None}, folder)
        save_result(result, folder / FILE)
        return result


def _previous(folder: Path) -> Result | None:
    """The result that is about to be replaced; one of another version of LOT says nothing about
    these runs."""
    try:
        return load_result(folder / FILE)
    except OtherFormat:
        return None


def check(study: Study, record: Record) -> Checked:
    """The study with its arms made fair, up to its next look. Raises BadInput for one that cannot be fair or judged."""
    planned = plan_arms(study)
    reference = find_reference(study, planned)
    vanilla = [arm.name for arm in planned if is_vanilla(arm.config(0))]
    contrasts = contrasts_of(study.contrasts, study.arms, reference.name)
    contrasts = with_worth(contrasts, study.contrasts is not None, study.worth, vanilla)
    arms, findings = make_fair(study, planned, reference)
    metrics = choose_metrics(study, findings)
    seeds = pairs_of_next_look(study, record)
    findings.budget = attrs.evolve(findings.budget, seeds=len(seeds))
    look = next_look(record, study, seeds, contrasts, metrics)
    return Checked(
        study=study,
        arms=arms,
        reference=reference.name,
        contrasts=contrasts,
        findings=findings,
        metrics=metrics,
        seeds=seeds,
        look=look,
        record=record,
        reach=reachable(
            len(seeds), len(contrasts) * len(metrics), look.looks.level if look.looks.known else study.alpha
        ),
    )


def _tune(checked: Checked, maker: RunMaker) -> dict[str, Tuning]:
    """For every arm the values that are best in the main metric; empty where the study tunes
    nothing."""
    study = checked.study
    if not study.tune:
        return {arm.name: Tuning(values={}, trials=[]) for arm in checked.arms}
    main, higher = next(iter(checked.metrics.items()))
    attempts: dict[str, list[Attempt]] = {
        arm.name: [
            (values, [maker.address(arm, seed, values, "tune") for seed in study.tuning_seeds])
            for values in study.trials()
        ]
        for arm in checked.arms
    }
    outcomes = maker.make([run for table in attempts.values() for _, runs in table for run in runs])
    tuned = {}
    for arm in checked.arms:
        tuned[arm.name] = choose(attempts[arm.name], outcomes, maker.runs, main, higher)
        maker.tell("tuned", {"arm": arm.name, "values": tuned[arm.name].values})
    return tuned


def _measure_reliance(checked: Checked, made: Made) -> Made:
    """The runs with what their models rely on, measured here and one by one; an arm that is held neutral relies on nothing."""
    maker = made.maker
    doubts: list[str] = []
    device = maker.device if maker.executor.slurm is None else "auto"
    found = {}
    for arm in checked.arms:
        run_dirs = made.directories(arm.name)
        if made.of(arm.name)[0].config.train.neutral:
            continue
        if missing := unmeasured(run_dirs):
            maker.tell("reliance", {"arm": arm.name, "runs": missing})
        found[arm.name] = reliance_of(run_dirs, device, doubts.append)
    return attrs.evolve(made, reliance=found, doubts=doubts)
