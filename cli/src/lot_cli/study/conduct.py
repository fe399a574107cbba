"""A study from its file to its result: check, tune, run, judge. Read `conduct` top to bottom."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import attrs
import torch

from lot.devices.device import choose_device
from lot.errors import BadInput
from lot.storage.files import read_json, write_json
from lot_cli.study.analysis import cost
from lot_cli.study.analysis.judge import curve, describe, judge, reachable, read_scores
from lot_cli.study.analysis.tuning import Trial, choose
from lot_cli.study.design.fairness import Fairness, choose_metrics, make_fair
from lot_cli.study.design.file import Study
from lot_cli.study.design.plan import (
    Arm,
    Purpose,
    Run,
    digest,
    find_reference,
    make_run,
    numerics,
    plan_arms,
    run_key,
    source_digest,
)
from lot_cli.study.design.registration import compare_with_registration, earlier_results
from lot_cli.study.execution.runner import Crew, Tell, run_all
from lot_cli.study.execution.slurm import connect
from lot_cli.study.execution.worker import Order, Outcome, recorded
from lot_cli.study.report.numbers import count
from lot_cli.study.report.wording import FORMAT, power_warning


def conduct(
    study: Study,
    folder: Path,
    *,
    jobs: int,
    device: str,
    command: str,
    tell: Tell,
    slurm: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make what has not been made of the study in `folder` and return its result, which is also written to study.json.

    jobs: runs at a time. device: `auto`, `cpu`, `cuda` ... slurm: settings of the cluster that makes the runs; None: this machine.
    Raises BadInput before anything is spent for a study that cannot be fair or judged, RunFailed where a run failed
    otherwise than by diverging, Interrupted after a signal; the same call then goes on.
    """
    arms = plan_arms(study)
    reference = find_reference(study, arms)
    arms, fairness = make_fair(study, arms, reference)
    metrics = choose_metrics(study, fairness)
    reach = reachable(len(study.seed_list), (len(arms) - 1) * len(metrics), study.alpha)
    tell("fairness", {"fairness": fairness, "reachable": reach, "metrics": metrics, "reference": reference.name})

    maker = _Maker(study, folder, jobs, device, tell, slurm)
    tuned = _tune(study, arms, metrics, maker)
    runs = [
        maker.run(arm, seed, tuned[arm.name]["values"], "report") for seed in study.seed_list for arm in arms
    ]  # seed by seed, so that an interrupted study has pairs
    outcomes = maker.make(runs)

    scores = {
        arm.name: _columns([read_scores(maker.runs / run.key, metrics) for run in runs if run.arm == arm.name], metrics)
        for arm in arms
    }
    comparisons = judge(scores, reference.name, metrics, study.equivalence, study.alpha)
    document = {
        "format": FORMAT,
        "name": study.name,
        "question": study.question,
        "study": study.to_dict(),
        "digest": digest(study.to_dict()),
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "reference": reference.name,
        "metrics": metrics,
        "seeds": study.seed_list,
        "fairness": _fairness(fairness),
        "statistics": reach,
        "arms": {
            arm.name: {
                "config": runs_of[0].config.to_dict(),
                "scores": scores[arm.name],
                "summary": {metric: describe(scores[arm.name][metric]) for metric in metrics},
                "curves": {m: curve([maker.runs / run.key for run in runs_of], m) for m in metrics},
                "cost": _cost(maker, runs_of, fairness),
                "tuned": tuned[arm.name],
            }
            for arm in arms
            for runs_of in [[run for run in runs if run.arm == arm.name]]
        },
        "runs": [_run_row(run, outcomes[run.key], maker.runs) for run in runs],
        "comparisons": [
            {
                **attrs.asdict(c),
                "fair": not {c.arm, reference.name} & fairness.unfair,
                "asked": [asked.rule for asked in fairness.asked if asked.arm == c.arm],
            }
            for c in comparisons
        ],
        "claims": [_claim(claim, scores, metrics, maker, runs) for claim in study.to_dict()["claims"]],
        "registration": compare_with_registration(study, folder),
        "environment": _first_record(runs, maker.runs).get("environment"),
    }
    document["earlier"] = earlier_results(read_json(folder / "study.json"), document)
    document["warnings"] = _warnings(study, document, fairness, maker, runs)
    write_json(folder / "study.json", document)
    return document


class _Maker:
    """Makes runs under one folder, with the same numerics for all."""

    def __init__(
        self, study: Study, folder: Path, jobs: int, device: str, tell: Tell, slurm: Mapping[str, Any] | None
    ) -> None:
        if slurm is None:
            self.kind = choose_device(device).type
        elif device == "auto":
            raise BadInput(where="--device", expected="cpu or cuda, whichever the cluster's nodes have", got="auto")
        else:
            self.kind = device.partition(":")[0]
        self.study, self.runs, self.tell = study, folder / "runs", tell
        self.device = self.kind if device == "auto" else device
        self.numerics = numerics(study, self.kind)
        # Processes share the GPUs out among them, unless one is named.
        gpus = torch.cuda.device_count() if self.device == "cuda" and slurm is None else 0
        if slurm is not None:
            connect(folder / "slurm", slurm)
        self.crew = Crew(jobs=jobs, gpus=gpus, slurm=slurm, logs=folder / "slurm")

    def run(self, arm: Arm, seed: int, changes: Mapping[str, Any], purpose: Purpose) -> Run:
        """A run, addressed."""
        return make_run(arm, seed, changes, purpose, self.numerics)

    def make(self, runs: Sequence[Run]) -> dict[str, Outcome]:
        """Outcomes by key."""
        self.runs.mkdir(parents=True, exist_ok=True)
        orders = [
            Order(
                key=run.key,
                label=f"{run.arm}, seed {run.seed}" + (" (tuning)" if run.purpose == "tune" else ""),
                config=run.config.to_dict(),
                run_dir=self.runs / run.key,
                may_test=run.purpose == "report",
                threads=self.study.threads,
                device=self.device,
            )
            for run in runs
        ]
        beside = self.runs / "side_by_side.json"
        if any(recorded(order.run_dir, order.key) is None for order in orders):
            write_json(beside, max(self.crew.jobs, read_json(beside) or 1))
        return run_all(orders, self.crew, self.tell)

    @property
    def side_by_side(self) -> int:
        """The most runs that were made at a time, ever."""
        most: int = read_json(self.runs / "side_by_side.json") or 1
        return most


def _tune(study: Study, arms: list[Arm], metrics: Mapping[str, bool], maker: _Maker) -> dict[str, dict[str, Any]]:
    """For every arm the values that are best in the main metric, by path, and the table of trials; nothing and none
    where nothing is tuned."""
    if not study.tune:
        return {arm.name: {"values": {}, "trials": []} for arm in arms}
    main, higher = next(iter(metrics.items()))
    trials: dict[str, list[Trial]] = {
        arm.name: [
            (values, [maker.run(arm, seed, values, "tune") for seed in study.tuning_seeds]) for values in study.trials()
        ]
        for arm in arms
    }
    outcomes = maker.make([run for table in trials.values() for _, tried in table for run in tried])
    tuned = {}
    for arm in arms:
        values, rows = choose(trials[arm.name], outcomes, maker.runs, main, higher)
        tuned[arm.name] = {"values": values, "trials": rows}
        maker.tell("tuned", {"arm": arm.name, "values": values})
    return tuned


def _columns(rows: list[dict[str, float | None]], metrics: Mapping[str, bool]) -> dict[str, list[float | None]]:
    return {metric: [row[metric] for row in rows] for metric in metrics}


def _cost(maker: _Maker, runs: list[Run], fairness: Fairness) -> dict[str, Any]:
    """Counted once for an arm and kept beside its first run; time and GPU memory as its runs logged them."""
    kept = maker.runs / f"{runs[0].key}.cost.json"
    counted = read_json(kept)
    if counted is None:
        counted = cost.count(runs[0].config, maker.kind)
        write_json(kept, counted)
    timed = cost.time_of([maker.runs / run.key for run in runs], fairness.budget["tokens_per_step"])
    peak = timed["peak_bytes"] if timed["peak_bytes"] is not None else counted["peak_bytes"]
    return {**counted, **timed, "peak_bytes": peak}


def _fairness(found: Fairness) -> dict[str, Any]:
    return {
        "fair": not found.reasons,
        "reasons": found.reasons,
        "asked": [asdict(asked) for asked in found.asked],
        "matched": [{**asdict(matched), "difference": matched.difference} for matched in found.matched],
        "initial": found.initial,
        "budget": found.budget,
        "leaks": found.leaks,
    }


def _run_row(run: Run, outcome: Outcome, runs: Path) -> dict[str, Any]:
    document = read_json(runs / run.key / "metrics.json") or {}
    return {
        "arm": run.arm,
        "seed": run.seed,
        "key": run.key,
        "state": outcome.state,
        "message": outcome.message,
        "best_step": document.get("step"),
        "steps": document.get("steps"),
    }


def _claim(
    claim: dict[str, Any],
    scores: Mapping[str, Mapping[str, list[float | None]]],
    metrics: Mapping[str, bool],
    maker: _Maker,
    runs: list[Run],
) -> dict[str, Any]:
    """A published figure beside the measured mean with its interval."""
    metric = claim["metric"]
    values = (
        scores[claim["arm"]][metric]
        if metric in metrics
        else [read_scores(maker.runs / run.key, {metric: True})[metric] for run in runs if run.arm == claim["arm"]]
    )
    measured = describe(values)
    low, high = measured["low"], measured["high"]
    inside = None if low is None or high is None else low <= claim["value"] <= high
    return {**claim, "measured": measured, "inside": inside}


def _first_record(runs: list[Run], folder: Path) -> dict[str, Any]:
    return read_json(folder / runs[0].key / "run.json") or {}


def _warnings(study: Study, document: dict[str, Any], fairness: Fairness, maker: _Maker, runs: list[Run]) -> list[str]:
    """What a reader should hold against the result, beside unfairness."""
    found = list(fairness.warnings)
    if (short := power_warning(document["statistics"])) is not None:
        found.append(short)
    if earlier := document["earlier"]:
        last = earlier[-1]
        found.append(
            f"some of these runs were judged in {count(len(earlier), 'earlier result')}, the last on {last['date'][:10]} with "
            f"{last['seeds']} seeds of {', '.join(last['arms'])} in {', '.join(last['metrics'])}: p allows for one look only"
        )
    for arm, facts in document["arms"].items():
        rows = [row for row in document["runs"] if row["arm"] == arm]
        lost = [str(row["seed"]) for row in rows if row["state"] == "diverged"]
        if lost:
            found.append(f"{arm} diverged in {len(lost)} of {len(rows)} seeds ({', '.join(lost)})")
        for metric, summary in facts["summary"].items():
            if summary["lost"] > len(lost):
                found.append(f"{arm}, {metric}: not finite in {summary['lost'] - len(lost)} of {len(rows)} seeds")
        found += [f"{arm}: {line}" for line in at_the_edge(study, facts["tuned"]["values"])]
    keys = {arm: [row["key"] for row in document["runs"] if row["arm"] == arm] for arm in document["arms"]}
    for index, arm in enumerate(keys):
        for other in list(keys)[:index]:
            if keys[arm] == keys[other]:
                found.append(f"{other} and {arm} are one and the same configuration")
    for c in document["comparisons"]:
        if c["mean"] is not None and c["low"] == c["high"]:
            found.append(
                f"{c['arm']}, {c['metric']}: every pair differs by {c['mean']:g}; on a metric that is saturated, intervals and "
                "equivalence mean little"
            )
    records = [read_json(maker.runs / run.key / "run.json") or {} for run in runs]
    if _differ([record.get("fingerprint", {}) for record in records]):
        found.append("runs were made on different numerics (device, torch or math library)")
    source_digest.cache_clear()
    if any(run_key(run.config, maker.numerics) != run.key for run in runs):
        found.append("code, or a file it reads, was edited while the study ran: some runs may have used either form")
    if maker.side_by_side > 1:
        found.append(f"times were measured with up to {maker.side_by_side} runs side by side")
    return found


def _differ(fingerprints: Sequence[Mapping[str, Any]]) -> bool:
    """Whether runs were made on different numerics. A run has the kernels of its own mechanism only: one that all its
    users ran in the same form makes no difference."""
    facts, forms = set(), set()
    for fingerprint in fingerprints:
        kernels = fingerprint.get("kernels", {})
        facts.add(digest({key: value for key, value in fingerprint.items() if key != "kernels"}))
        forms.update(kernels.items())
    return len(facts) > 1 or len(dict(forms)) < len(forms)


def at_the_edge(study: Study, chosen: Mapping[str, Any]) -> list[str]:
    """A line for each tuned number that is the least or largest of three or more: the best one may lie beyond."""
    lines = []
    for path, value in chosen.items():
        tried = study.tune[path]
        if len(set(tried)) >= 3 and all(type(number) in (int, float) for number in tried):
            for edge, word in ((min(tried), "least"), (max(tried), "largest")):
                if value == edge:
                    lines.append(f"tuning chose the {word} {path} that was tried, {value:g}; the best may lie beyond")
    return lines
