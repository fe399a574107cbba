"""What a study can show and what it costs, before anything is spent: the numbers behind `lot study FILE --plan`."""

from __future__ import annotations

from pathlib import Path

from lot_cli.study.analysis.looks import planned_levels
from lot_cli.study.analysis.power import finished_runs, hours_of_runs, plan_looks
from lot_cli.study.analysis.record import read_record
from lot_cli.study.design.file import Study
from lot_cli.study.pacing import steps_so_far
from lot_cli.study.procedure import check
from lot_cli.study.report.equal_time import missing_seconds
from lot_cli.study.report.plan import Plan
from lot_cli.study.result_file import FILE, load_result
from lot_cli.study.tune import most_trials


def plan_study(study: Study, folder: Path) -> Plan:
    """The plan of a study whose folder need not be there; nothing is written.

    Raises BadInput for a study that cannot be fair or judged.
    """
    result = load_result(folder / FILE)
    checked = check(study, read_record(folder, result))
    looks = checked.look.looks
    levels = [(len(checked.seeds), looks.level)]
    if looks.planned:
        levels = list(planned_levels(study.alpha, looks.spends, looks.plan).items())
    metrics = len(checked.metrics)
    arms = len(checked.arms) + len(checked.contrasts) - len(checked.asked)  # those that equal_time adds are made later
    return Plan(
        looks=plan_looks(checked.contrasts, metrics, levels) if looks.known else [],
        comparisons=len(checked.contrasts) * metrics,
        report_runs=arms * len(study.seed_list),
        tuning_runs=arms * len(study.trials()) * study.tune_seeds if study.tune else 0,
        most_tuning_runs=arms * most_trials(study) * study.tune_seeds if study.tune else 0,
        finished=finished_runs(folder),
        hours_per_run=hours_of_runs(folder),
        steps=steps_so_far(checked, folder),
        budget=study.matching.budget,
        equal_time=study.equal_time,
        equal_time_seconds=None if result is None else missing_seconds(result),
    )
