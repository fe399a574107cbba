"""A study from its file to its result: check, tune, run, judge. Read `conduct` top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import torch

from lot.devices.device import device_name
from lot_cli.study.analysis.judge import reachable
from lot_cli.study.analysis.looks import check_reach, next_look, pairs_of_next_look, write_entry
from lot_cli.study.analysis.record import Record, read_record
from lot_cli.study.analysis.reliance import reliance_of, unmeasured
from lot_cli.study.assemble import Checked, Made, assemble
from lot_cli.study.design.check_fairness import choose_metrics, make_fair
from lot_cli.study.design.contrasts import contrasts_of
from lot_cli.study.design.file import Study
from lot_cli.study.design.matching import siblings_of
from lot_cli.study.design.plan import Arm, find_reference, is_vanilla, plan_arms
from lot_cli.study.design.worth import with_worth
from lot_cli.study.execution.calibrate import Pair, Ratio, processes_for
from lot_cli.study.execution.make import RunMaker
from lot_cli.study.execution.runner import Tell
from lot_cli.study.folder import locked
from lot_cli.study.pacing import pace
from lot_cli.study.passports.gate import check_passports
from lot_cli.study.passports.make import Passports
from lot_cli.study.passports.store import save_passports
from lot_cli.study.result import OtherFormat, Result
from lot_cli.study.result_file import FILE, load_result, save_result
from lot_cli.study.tune import tune


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
        maker = RunMaker(study.threads, folder, jobs=jobs, device=device, tell=tell, slurm=slurm)
        passports = Passports(folder, checked.seeds[0], maker.device if slurm is None else "cpu", tell)
        vouch = partial(check_passports, study, checked.arms, checked.reference, checked.findings, passports, folder)
        vouch(study.trials())
        checked = _pace(checked, folder, maker)
        tell("fairness", {"fairness": checked.findings.fairness(), "reach": checked.reach})
        tuned = tune(checked, maker, vouch)
        checked.findings.budget = attrs.evolve(checked.findings.budget, tuning_runs=tuned.runs)
        runs = [
            maker.address(arm, seed, tuned.arms[arm.name].values, "report")
            for seed in checked.seeds
            for arm in checked.arms
        ]  # seed by seed, so that an interrupted study has pairs
        outcomes = maker.make(runs)
        made = Made(tuned=tuned.arms, grids=tuned.grids, runs=runs, outcomes=outcomes, maker=maker, passports=passports)
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
    check_reach(study)
    planned = plan_arms(study)
    reference = find_reference(study, planned)
    vanilla = [arm.name for arm in planned if is_vanilla(arm.config(0))]
    contrasts = contrasts_of(study.contrasts, study.arms, reference.name)
    contrasts = with_worth(contrasts, study.contrasts is not None, study.worth, vanilla)
    arms, findings = make_fair(study, planned, reference)
    metrics = choose_metrics(study, findings)
    contrasts += siblings_of(contrasts, study.arms) if study.equal_time else []
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


def _pace(checked: Checked, folder: Path, maker: RunMaker) -> Checked:
    """The study with every number of steps set, measured where it has to be."""

    def measure(arms: Sequence[Arm], pairs: Sequence[Pair]) -> dict[Pair, Ratio]:
        processes = processes_for(checked.study.timing_rounds)
        maker.tell("calibrate", {"arms": [arm.name for arm in arms], "processes": processes})
        return maker.calibrate(arms, checked.study.seed_list[0], pairs, checked.study.timing_rounds)

    machine = "the cluster" if maker.slurm is not None else device_name(torch.device(maker.kind))
    return pace(checked, folder, maker.kind, machine, measure)
