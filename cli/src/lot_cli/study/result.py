"""The result of a study as one typed object, which `study.json` holds as plain data and every
report reads.

"the metric's unit" below means what the task counts in: nats for a loss,
a share from 0 to 1 for an accuracy. Imports neither torch nor numpy:
a finished study is reported without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from lot.errors import BadInput
from lot.options.validate import structure, unstructure
from lot.runs.shown import Shown, Table
from lot_cli.study.design.fairness import Fairness
from lot_cli.study.design.file import Study
from lot_cli.study.design.passport import Passport
from lot_cli.study.design.registration import Registration
from lot_cli.study.earlier_format import from_format_1
from lot_cli.terminal.numbers import count, interval, p_value, signed

FORMAT = 2
"""Of study.json: a number that grows when a key goes or changes its meaning."""
Verdict = Literal[
    "better",
    "worse",
    "equivalent",
    "no difference shown",
    "too few pairs",
    "diverged",
    "looks unknown",
    "leak",
    "no passport",
    "alpha spent",
]
Rule = Literal["max-T", "Holm"]


class OtherFormat(BadInput):
    """A result that another version of LOT wrote."""


@attrs.frozen(kw_only=True)
class Summary:
    """The mean of an arm over the seeds that gave a value."""

    mean: float | None  # in the metric's unit; None where no seed gave a value
    low: float | None  # lower end of the 95 % t interval of the mean; None with fewer than two values
    high: float | None  # upper end of it
    lost: int  # seeds that gave no finite value


@attrs.frozen(kw_only=True)
class Curve:
    """A metric on validation, or a scalar of a diagnostic, over training: at each step at which two or more runs have it."""

    steps: list[float]  # training steps
    mean: list[float]  # over the runs, in the metric's unit
    low: list[float]  # lower end of the 95 % t interval of the mean
    high: list[float]  # upper end of it


@attrs.frozen(kw_only=True)
class Cost:
    """What an arm costs. None stands for what was not measured."""

    flops_per_token: float | None  # floating-point operations, forward and backward
    uncounted: list[str] | None = (
        None  # operators of plugins that no formula counts; None under an earlier rule of counting
    )
    peak_bytes: int | None  # CPU: what a training step allocates; GPU: the peak of a run
    tokens_per_second: float | None  # median over the rows of the runs' timing logs
    seconds_per_step: float | None  # derived from tokens_per_second
    seconds_per_run: float | None  # training time, median over the runs


@attrs.frozen(kw_only=True)
class Trial:
    """One combination of the tuned values, and what it reached on validation."""

    values: dict[str, Any]  # dotted path of an option -> its value
    score: float | None  # mean of the main metric over the tuning seeds; None where it is not finite
    loss: float | None  # mean loss over the tuning seeds, in nats
    diverged: int  # runs of it that diverged
    runs: list[str]  # keys of its runs, one per tuning seed
    chosen: bool  # whether the arm was given these values


@attrs.frozen(kw_only=True)
class Tuning:
    """What tuning chose for an arm; both are empty where nothing is tuned."""

    values: dict[str, Any]  # dotted path of an option -> the chosen value
    trials: list[Trial]  # in the order in which the study lists the combinations


@attrs.frozen(kw_only=True)
class Relied:
    """How far the trained models of an arm rely on one part of their mechanism."""

    what: str  # the part that was damaged, in words
    layers: tuple[int, ...]  # that have it
    parameters: int  # numbers that were put back to their initial values; 0 for a state that was drawn at random
    changes: list[float | None]  # change of the loss on validation per seed, in nats; None where it was not measured
    mean: Summary  # of the changes


@attrs.frozen(kw_only=True)
class Grid:
    """The values of one path that tuning tried."""

    path: str  # dotted path of an option
    given: list[Any]  # as the file has them
    added: list[Any]  # beyond an edge where the best value of some arm lay, in the order in which they were tried
    ends: dict[str, str]  # edge (least, largest) at which some arm's best value lay -> why the grid ends there

    @property
    def tried(self) -> list[Any]:
        """All of them."""
        return [*self.given, *self.added]


@attrs.frozen(kw_only=True)
class ArmResult:
    """What the runs of one arm gave."""

    config: dict[str, Any]  # configuration of its first run, as `Config.to_dict` gives it
    scores: dict[str, list[float | None]]  # metric -> test value per seed; None where the run diverged
    summary: dict[str, Summary]  # metric -> mean over the seeds
    curves: dict[str, Curve]  # metric -> validation over training
    cost: Cost  # time, operations and memory
    tuned: Tuning  # the values that tuning chose
    passport: Passport | None = None  # None in a result that was made before there were passports
    reliance: list[Relied] | None = None  # a row for each part; None where the study does not ask for it
    measured: dict[str, Curve] = attrs.field(factory=dict)  # DIAGNOSTIC.SCALAR -> its value over training


@attrs.frozen(kw_only=True)
class RunRow:
    """One run that is reported."""

    arm: str  # name of the arm
    seed: int  # the seed of the run
    key: str  # name of its directory under runs/
    state: Literal["complete", "diverged"]  # how it ended
    message: str  # why it diverged; empty for a complete run
    best_step: int | None  # training step of the checkpoint that was tested; None where the run diverged
    steps: int | None  # training steps that it made; None where the run diverged

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.arm}-seed{self.seed}"


@attrs.frozen(kw_only=True)
class Reach:
    """What the number of seeds allows at best, before any run is made."""

    seeds: int  # seeds of this look
    comparisons: int  # that are judged together
    alpha: float  # error rate that may be spent up to this look
    smallest_p: float  # that the test can give
    smallest_p_holm: float | None = (
        None  # the same after Holm's correction; None under the rule max-T, which needs none
    )
    enough: bool  # whether a difference can be shown at all
    needed: int | None = None  # seeds with which one could be shown; None where no number would do


@attrs.frozen(kw_only=True)
class Comparison:
    """A contrast in one metric; a difference is arm - against, in the metric's unit.

    A pair in which one run diverged has the largest finite difference, against the arm that diverged; the numbers are
    then scored. They are None where fewer than two pairs are left.
    """

    arm: str  # name of the arm
    against: str  # name of the arm that it is compared with
    metric: str  # name of the metric
    higher_is_better: bool  # direction of the metric
    pairs: int  # seeds for which both arms gave a value
    diverged: tuple[int, int]  # runs of the two arms that gave no finite value
    scored: int = 0  # pairs beside `pairs` whose difference is scored, since a run diverged
    mean: float | None = None  # mean difference, scored pairs included
    low: float | None = None  # lower end of the simultaneous interval; None beside a mean: unbounded
    high: float | None = None  # upper end of it
    mean_finishing: float | None = None  # mean difference over `pairs` alone
    wins: tuple[int, int] | None = None  # pairs in which the arm is better, and in which the other one is
    shape: Literal["", "skewed", "split"] = ""  # how the differences fail to be symmetric
    succeeded: tuple[int, int] | None = None  # runs of the two arms in the better of two groups, where values form two
    effect: float | None = None  # Hedges' g_z, in standard deviations of the differences; None where it is infinite
    p: float | None = None  # two-sided p of the sign-flip test of this contrast alone
    p_adjusted: float | None = None  # the same over all comparisons and looks of the study
    example_error: float | None = None  # standard error of the mean over test examples; None where runs kept none
    examples: int | None = None  # test examples (or groups of neighbors) that it is taken over
    margin: float | None = None  # difference that counts as none; None: the study names none
    p_equivalent: float | None = None  # p of the equivalence test (TOST), corrected over all such tests
    budget: Literal["steps", "time", "flops"] = "steps"  # what the two arms spend alike
    verdict: Verdict = "no difference shown"  # what may be said
    void: str = ""  # why there is no verdict, where a passport takes it away
    negligible: bool = False  # whether a difference is shown, and shown to lie within the margin
    fair: bool = True  # whether neither of the two arms is unfair
    asked: list[str] = attrs.field(factory=list)  # rules under `differs` that the two arms make use of


@attrs.frozen(kw_only=True)
class ClaimResult:
    """A published figure beside what was measured."""

    arm: str  # name of the arm
    metric: str  # name of the metric
    value: float  # the published figure, in the metric's unit
    source: str  # where it was published
    measured: Summary  # what the runs of the arm gave
    inside: bool | None  # whether the figure lies in the measured interval; None without an interval


@attrs.frozen(kw_only=True)
class Package:
    """An installed plugin, or the core."""

    version: str  # of the distribution
    commit: str | None  # of the git checkout that it runs from; None outside a checkout


@attrs.frozen(kw_only=True)
class Environment:
    """What the first run ran on."""

    python: str  # version
    system: str  # name and version of the operating system
    torch: str  # version
    cuda: str | None  # version that torch was built for; None on a CPU build
    device: str  # name of the device, and CPU threads
    plugins: dict[str, Package]  # distribution -> what is installed


@attrs.frozen(kw_only=True)
class EarlierLook:
    """A result that was read before this one in the folder of the study."""

    date: str  # ISO 8601, UTC
    seeds: int  # number of seeds that it had
    arms: list[str]  # names of its arms
    metrics: list[str]  # names of its metrics


@attrs.frozen(kw_only=True)
class Looks:
    """Where this result stands among the looks at the study; a look is an analysis of a new set of pairs."""

    known: bool  # whether the record of looks is whole; without it there is no verdict
    number: int  # of this look, from 1 on, among those that count
    planned: bool  # whether it was planned before the first one
    plan: list[int]  # numbers of pairs of the planned looks
    level: float  # p at which a difference is shown at this look
    discarded: list[int]  # seeds that were judged in this folder and are not in this result
    mark: str  # of this look in the record; empty where the record is not whole
    spends: float = 1.0  # share of alpha that the planned looks may spend; the rest is for those that were not planned


@attrs.frozen(kw_only=True, repr=False)
class Result(Shown):
    """A finished study."""

    format: int  # of study.json
    name: str  # of the study
    question: str  # what the study asks
    study: Study  # the study file, its grids expanded
    digest: str  # SHA-256 of `study`
    command: str  # what makes this result again
    date: str  # ISO 8601, UTC
    reference: str  # name of the arm that the others are compared with
    metrics: dict[str, bool]  # name -> whether higher is better; the main metric first
    seeds: list[int]  # of the runs that are reported
    fairness: Fairness  # whether the arms may be compared
    statistics: Reach  # what the number of seeds can show
    arms: dict[str, ArmResult]  # name -> what its runs gave, in the order of the file
    runs: list[RunRow]  # seed by seed
    comparisons: list[Comparison]  # every contrast, in every metric
    rule: Rule = "max-T"  # by which differences were judged
    looks: Looks | None = None  # None under the rule Holm
    grids: list[Grid] = attrs.field(factory=list)  # what tuning tried, in the order of the file
    claims: list[ClaimResult]  # published figures
    registration: Registration | None  # None where the study was not registered
    environment: Environment | None  # None where the first run recorded none
    earlier: list[EarlierLook] = attrs.field(factory=list)  # looks before this one
    warnings: list[str]  # what a reader should hold against the result, beside unfairness

    def table(self) -> Table:
        """The verdicts; `lot study` writes the whole report."""
        unfair = "".join(f"; UNFAIR: {reason}" for reason in self.fairness.reasons)
        leaks = "".join(f"; LEAK: {arm} sees what it is asked to predict" for arm in self.fairness.leaks)
        rows = [
            (
                f"{c.arm} - {c.against}",
                c.metric,
                signed(c.mean),
                interval(c.low, c.high),
                p_value(c.p_adjusted),
                c.verdict if c.fair else f"UNFAIR: {c.verdict}",
            )
            for c in self.comparisons
        ]
        head = ("contrast", "metric", "difference", "interval", "p adjusted", "verdict")
        return Table(f"{self.name}: {count(len(self.seeds), 'seed')}{unfair}{leaks}", rows, head)

    @property
    def main_metric(self) -> str:
        """The metric that the study decides by."""
        return next(iter(self.metrics))

    @property
    def parameters(self) -> dict[str, int]:
        """Number of parameters of each arm, by its name."""
        return {matched.arm: matched.parameters for matched in self.fairness.matched}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as study.json holds it."""
        return unstructure(self)

    @classmethod
    def from_dict(cls, data: Any) -> Result:
        """The result that `to_dict` gave as `data`.

        Raises BadInput with the path of a key that is missing or unknown.
        """
        if isinstance(data, Mapping) and data.get("format") == 1:
            data = from_format_1(data)
        if isinstance(data, Mapping) and data.get("format") != FORMAT:
            raise OtherFormat(where="format", expected=str(FORMAT), got=repr(data.get("format")))
        result: Result = structure(cls, data, "")
        return result
