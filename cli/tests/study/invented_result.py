"""A finished study that was never run, for tests of reports."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from lot_cli.study import Result, Study
from lot_cli.study.analysis.judge import judge, reachable
from lot_cli.study.analysis.scores import describe
from lot_cli.study.design.fairness import Asked, Budget, Fairness, Initial, Matched
from lot_cli.study.design.registration import Registration
from lot_cli.study.result import (
    FORMAT,
    ArmResult,
    ClaimResult,
    Cost,
    Curve,
    Environment,
    Looks,
    Package,
    RunRow,
    Summary,
    Trial,
    Tuning,
)

METRICS = {"accuracy": True, "loss": False}


def invented(**changes: Any) -> Result:
    """The result of an invented study of three arms and six seeds, in one of which an arm diverged."""
    rng = np.random.default_rng(0)
    base = rng.normal(0.5, 0.05, size=6)
    scores: dict[str, dict[str, list[float | None]]] = {
        "vanilla": {"accuracy": list(base), "loss": list(1 - base)},
        "lattice": {"accuracy": list(base + 0.1 + rng.normal(0, 0.01, 6)), "loss": list(1 - base - 0.1)},
        "wild": {"accuracy": [*base[:5], None], "loss": [*(1 - base)[:5], None]},
    }
    study = Study(
        name="invented",
        base={"task": {"name": "mqar", "vocab_size": 64}, "losses": {"sync": {}}},
        arms={
            "vanilla": {},
            "lattice": {"attn": {"name": "lattice", "causal": None}},
            "wild": {"optim": {"lr": 1}},
        },
    )
    result = Result(
        format=FORMAT,
        name="invented",
        question="Is <b>this</b> & that so?",
        study=study,
        digest="cd" * 32,
        command="lot study a.yaml --jobs 2",
        date="2026-01-01T00:00:00+00:00",
        reference="vanilla",
        metrics=METRICS,
        seeds=list(range(6)),
        fairness=invented_fairness(list(scores)),
        statistics=reachable(6, 4, 0.2),
        arms={arm: invented_arm(table) for arm, table in scores.items()},
        runs=[
            RunRow(
                arm=arm,
                seed=seed,
                key="k",
                state="diverged" if value is None else "complete",
                message="not finite at step 7" if value is None else "",
                best_step=None if value is None else 20,
                steps=20,
            )
            for arm, table in scores.items()
            for seed, value in enumerate(table["accuracy"])
        ],
        comparisons=judge(scores, [("lattice", "vanilla"), ("wild", "vanilla")], METRICS, {"accuracy": 0.2}, 0.2),
        looks=Looks(known=True, number=1, planned=True, plan=[6], level=0.2, discarded=[], mark="ef" * 32),
        claims=[
            ClaimResult(
                arm="lattice",
                metric="accuracy",
                value=0.987,
                source="A paper",
                measured=Summary(mean=0.61, low=0.6, high=0.62, lost=0),
                inside=False,
            )
        ],
        registration=Registration(
            hash="ab" * 32, date="2025-12-31", hypotheses=["it helps"], deviations=["seeds: more"]
        ),
        environment=Environment(
            python="3",
            system="Linux",
            torch="2",
            cuda=None,
            device="CPU",
            plugins={"lot-core": Package(version="1", commit="c0ffee")},
        ),
        warnings=["wild diverged in 1 of 6 seeds (5)"],
    )
    return attrs.evolve(result, **changes)


def invented_fairness(arms: list[str], **changes: Any) -> Fairness:
    """Fair arms, of which one was resized and one differs as the file asks."""
    matched = [
        Matched(
            arm=arm,
            reference_parameters=1000,
            parameters_before=1000,
            parameters=1000 + index,
            hidden_before=64,
            hidden=64 - index,
        )
        for index, arm in enumerate(arms)
    ]
    fairness = Fairness(
        fair=True,
        reasons=[],
        asked=[Asked(rule="optim.lr", arm="wild", difference="optim.lr is 1, in the reference 2", why="fun")],
        matched=matched,
        initial={"lattice": Initial(shared=3, of=4, rest={"phase": "only in this arm"})},
        budget=Budget(steps=20, tokens_per_step=64, tokens=1280, seeds=6, tuning_runs=2),
        leaks=[],
    )
    return attrs.evolve(fairness, **changes)


def invented_arm(scores: dict[str, list[float | None]]) -> ArmResult:
    """An arm with these scores by metric."""
    learned = Curve(steps=[10.0, 20.0], mean=[0.2, 0.5], low=[0.1, 0.4], high=[0.3, 0.6])
    return ArmResult(
        config={},
        scores=scores,
        summary={metric: describe(values) for metric, values in scores.items()},
        curves=dict.fromkeys(METRICS, learned),
        cost=Cost(
            seconds_per_step=0.0123,
            seconds_per_run=98.7,
            tokens_per_second=4567.0,
            flops_per_token=8.9e6,
            peak_bytes=2_345_678,
        ),
        tuned=Tuning(
            values={"optim.lr": 0.01},
            trials=[Trial(values={"optim.lr": 0.01}, score=0.75, loss=0.25, diverged=0, runs=["t"], chosen=True)],
        ),
    )


def changed(result: Result, **of_lattice: Any) -> Result:
    """The result with other facts in the comparisons of the arm lattice."""
    comparisons = [attrs.evolve(c, **of_lattice) if c.arm == "lattice" else c for c in result.comparisons]
    return attrs.evolve(result, comparisons=comparisons)
