"""Puts the result of a study together from its finished runs."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from lot.storage.files import read_json
from lot_cli.study.analysis.cost import cost_of
from lot_cli.study.analysis.examples import METRIC, over_examples
from lot_cli.study.analysis.judge import judge
from lot_cli.study.analysis.looks import Look
from lot_cli.study.analysis.record import Record, without_verdicts
from lot_cli.study.analysis.scores import curve, describe, measured, read_scores
from lot_cli.study.analysis.warnings import warnings_of, warnings_of_runs
from lot_cli.study.design.check_fairness import Findings, unused_rules
from lot_cli.study.design.contrasts import Contrast
from lot_cli.study.design.file import Claim, Study
from lot_cli.study.design.plan import Arm, Run, digest
from lot_cli.study.design.registration import compare_with_registration
from lot_cli.study.execution.make import RunMaker
from lot_cli.study.execution.worker import Outcome
from lot_cli.study.passports.make import Passports
from lot_cli.study.passports.verdicts import reasons, void
from lot_cli.study.result import (
    FORMAT,
    ArmResult,
    ClaimResult,
    Comparison,
    Environment,
    Grid,
    Package,
    Reach,
    Relied,
    Result,
    RunRow,
    Tuning,
)

Scores = dict[str, dict[str, list[float | None]]]
"""arm -> metric -> value per seed; None where the run diverged."""


@attrs.frozen(kw_only=True)
class Checked:
    """A study that may be run: what is known of it before its first run."""

    study: Study
    arms: list[Arm]  # with their parameters matched
    reference: str  # name of the arm whose parameters the others are matched with
    contrasts: list[Contrast]  # which arms are compared; those that equal_time adds come last
    findings: Findings  # about its fairness
    metrics: dict[str, bool]  # name -> whether higher is better; the main metric first
    seeds: list[int]  # of the pairs that are judged
    look: Look  # where this analysis stands among the looks at the study
    record: Record  # of the looks before it
    reach: Reach  # what the number of seeds can show

    @property
    def asked(self) -> list[Contrast]:
        """The contrasts without those that equal_time adds."""
        return [(arm, against) for arm, against in self.contrasts if against in self.study.arms]


@attrs.frozen(kw_only=True)
class Made:
    """The runs of a study that are reported, all of them made."""

    tuned: dict[str, Tuning]  # arm -> the values that tuning chose
    grids: list[Grid]  # what tuning tried
    runs: list[Run]  # seed by seed
    outcomes: dict[str, Outcome]  # key of a run -> how it ended
    maker: RunMaker
    passports: Passports
    reliance: dict[str, list[Relied]] = attrs.field(factory=dict)  # arm -> what its models rely on, where that is asked
    doubts: list[str] = attrs.field(factory=list)  # what could not be measured

    def of(self, arm: str) -> list[Run]:
        """The runs of an arm, one per seed."""
        return [run for run in self.runs if run.arm == arm]

    def directories(self, arm: str) -> list[Path]:
        """Where the runs of an arm are recorded, one per seed."""
        return [self.maker.directory(run) for run in self.of(arm)]


def assemble(checked: Checked, made: Made, folder: Path, command: str) -> Result:
    """The result of a study whose runs are made.

    folder: that of the study. command: what makes the result again.
    """
    study, findings = checked.study, checked.findings
    _take_in_measured_leaks(findings, made)
    scores: Scores = {arm.name: _columns(made.directories(arm.name), checked.metrics) for arm in checked.arms}
    result = Result(
        format=FORMAT,
        name=study.name,
        question=study.question,
        study=study,
        digest=digest(study.to_dict()),
        command=command,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        reference=checked.reference,
        metrics=checked.metrics,
        seeds=checked.seeds,
        fairness=findings.fairness(),
        statistics=checked.reach,
        arms={arm.name: _arm(arm.name, scores[arm.name], checked, made) for arm in checked.arms},
        runs=[_row(run, made) for run in made.runs],
        comparisons=_void(_comparisons(scores, checked, made), checked, made),
        looks=checked.look.looks,
        grids=made.grids,
        claims=[_claim(claim, scores, made) for claim in study.claims],
        registration=compare_with_registration(study, folder),
        environment=_environment(made.maker.directory(made.runs[0])),
        earlier=checked.record.earlier(checked.look.looks),
        warnings=[],
    )
    maker = made.maker
    doubts = warnings_of_runs(made.runs, maker.runs, maker.numerics, maker.side_by_side)
    said = [*findings.warnings, *unused_rules(study, findings)]
    return attrs.evolve(result, warnings=[*said, *warnings_of(result), *doubts, *made.doubts])


def _columns(run_dirs: Sequence[Path], metrics: Mapping[str, bool]) -> dict[str, list[float | None]]:
    """Metric -> its value in each run."""
    rows = [read_scores(run_dir, metrics) for run_dir in run_dirs]
    return {metric: [row[metric] for row in rows] for metric in metrics}


def _void(comparisons: list[Comparison], checked: Checked, made: Made) -> list[Comparison]:
    """Without verdicts for the arms that leak, or whose passports do not stand behind their runs."""
    passports = {arm.name: made.passports.of(arm, made.tuned[arm.name].values) for arm in checked.arms}
    edited = [arm.name for arm in checked.arms if made.passports.edited(arm, made.tuned[arm.name].values)]
    return void(comparisons, reasons(passports, checked.findings.leaks, edited))


def _arm(name: str, scores: dict[str, list[float | None]], checked: Checked, made: Made) -> ArmResult:
    first, run_dirs = made.of(name)[0], made.directories(name)
    tokens = checked.findings.budget.tokens_per_step
    arm = next(arm for arm in checked.arms if arm.name == name)
    return ArmResult(
        config=first.config.to_dict(),
        scores=scores,
        summary={metric: describe(values) for metric, values in scores.items()},
        curves={metric: curve(run_dirs, metric) for metric in scores},
        cost=cost_of(run_dirs, first.config, made.maker.kind, tokens),
        tuned=made.tuned[name],
        passport=made.passports.of(arm, made.tuned[name].values),
        reliance=made.reliance.get(name),
        measured=measured(run_dirs),
    )


def _take_in_measured_leaks(findings: Findings, made: Made) -> None:
    """Mark the arms of which a run measured a leak that no flag declared."""
    for arm in dict.fromkeys(run.arm for run in made.runs):
        measured = any((read_json(folder / "metrics.json") or {}).get("leak") for folder in made.directories(arm))
        if measured and arm not in findings.leaks:
            findings.leaks.append(arm)
            findings.unfair.add(arm)
            findings.reasons.append(f"{arm} sees what it is asked to predict (measured in its runs)")


def _row(run: Run, made: Made) -> RunRow:
    outcome = made.outcomes[run.key]
    assert outcome.state in ("complete", "diverged"), f"{run.key} is {outcome.state}"
    metrics = read_json(made.maker.directory(run) / "metrics.json") or {}
    return RunRow(
        arm=run.arm,
        seed=run.seed,
        key=run.key,
        state=outcome.state,
        message=outcome.message,
        best_step=metrics.get("step"),
        steps=metrics.get("steps"),
    )


def _comparisons(scores: Scores, checked: Checked, made: Made) -> list[Comparison]:
    """The verdicts, each with what the check of fairness found about its arms."""
    study, findings, look = checked.study, checked.findings, checked.look
    judged = judge(
        scores,
        checked.contrasts,
        checked.metrics,
        study.equivalence,
        study.alpha,
        level=look.looks.level if look.looks.known else None,
        share=look.share if look.looks.known else None,
        earlier=look.earlier,
    )
    if not look.looks.known:
        judged = without_verdicts(judged)
    judged = [_with_examples(c, made) if c.metric == METRIC else c for c in judged]
    return [
        attrs.evolve(
            c,
            fair=not {c.arm, c.against} & findings.unfair,
            budget=study.matching.budget if c.against in study.arms else "time",
            asked=list(dict.fromkeys(asked.rule for asked in findings.asked if asked.arm in (c.arm, c.against))),
        )
        for c in judged
    ]


def _with_examples(c: Comparison, made: Made) -> Comparison:
    found = over_examples(made.directories(c.arm), made.directories(c.against))
    return c if found is None else attrs.evolve(c, example_error=found.error, examples=found.examples)


def _claim(claim: Claim, scores: Scores, made: Made) -> ClaimResult:
    """The claim beside the measured mean; its metric need not be one that the study judges."""
    values = scores[claim.arm].get(claim.metric)
    if values is None:
        values = _columns(made.directories(claim.arm), {claim.metric: True})[claim.metric]
    measured = describe(values)
    low, high = measured.low, measured.high
    return ClaimResult(
        arm=claim.arm,
        metric=claim.metric,
        value=claim.value,
        source=claim.source,
        measured=measured,
        inside=None if low is None or high is None else low <= claim.value <= high,
    )


def _environment(run_dir: Path) -> Environment | None:
    """What a run recorded of its environment, or None where it recorded nothing."""
    record: dict[str, Any] = read_json(run_dir / "run.json") or {}
    facts = record.get("environment")
    if facts is None:
        return None
    plugins = {name: Package(**package) for name, package in facts["plugins"].items()}
    return Environment(**{**facts, "plugins": plugins})
