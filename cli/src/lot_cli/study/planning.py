"""What a study can show and what it costs, before anything is spent: the numbers behind `lot study FILE --plan`."""

from __future__ import annotations

from pathlib import Path

from lot_cli.study.analysis.looks import read_record
from lot_cli.study.analysis.power import finished_runs, hours_of_runs, plan_looks
from lot_cli.study.design.file import Study
from lot_cli.study.procedure import check
from lot_cli.study.report.plan import Plan
from lot_cli.study.result_file import FILE, load_result


def plan_study(study: Study, folder: Path) -> Plan:
    """The plan of a study whose folder need not be there; nothing is written.

    Raises BadInput for a study that cannot be fair or judged.
    """
    checked = check(study, read_record(folder, load_result(folder / FILE)))
    looks = checked.look.looks
    levels = [(len(checked.seeds), looks.level)]
    if looks.planned:
        levels = [(pairs, study.alpha * (place + 1) / len(looks.plan)) for place, pairs in enumerate(looks.plan)]
    metrics = len(checked.metrics)
    return Plan(
        looks=plan_looks(checked.contrasts, metrics, levels) if looks.known else [],
        comparisons=len(checked.contrasts) * metrics,
        report_runs=len(checked.arms) * len(study.seed_list),
        tuning_runs=len(checked.arms) * len(study.trials()) * study.tune_seeds if study.tune else 0,
        finished=finished_runs(folder),
        hours_per_run=hours_of_runs(folder),
    )
