"""Checks whether arms may be compared, and matches their parameters, before anything is spent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import attrs
import torch

from lot.config.compare import leaves
from lot.config.schema import Config
from lot.errors import BadInput
from lot.training.compose import Composition, compose
from lot_cli.study.design.fairness import Asked, Budget, Fairness, Initial, Matched, Paced
from lot_cli.study.design.file import TOLERANCE, Study
from lot_cli.study.design.plan import Arm
from lot_cli.study.design.sizer import find_sizer
from lot_cli.study.design.worth import NEUTRAL

COMPARED = ("task", "model", "optim", "train", "allow_leak")
"""Sections of a configuration that arms share; attention, embedding,
losses and diagnostics are what arms are about."""


@attrs.frozen(kw_only=True)
class Seen:
    """An arm as it stands before its first step, for one seed."""

    config: Config
    parameters: int
    hidden: int  # width of the MLP, in channels
    leak: bool  # whether it sees what it is asked to predict
    weights: dict[str, tuple[tuple[int, ...], str]]  # name -> shape and digest of the initial values
    data: str  # digest of the first examples of training and validation
    seq_len: int  # tokens
    primary: str
    metrics: dict[str, bool | None]  # name -> whether higher is better


@attrs.define(kw_only=True)
class Findings:
    """What the check of a study found. Lists fill up while it looks at one arm after the other."""

    budget: Budget
    primary: str  # the metric that the task names first
    metrics: dict[str, bool | None]  # name -> whether higher is better; None where the task does not say
    reasons: list[str] = attrs.field(factory=list)  # why the comparison is unfair
    unfair: set[str] = attrs.field(factory=set)  # the arms that the reasons speak of
    asked: list[Asked] = attrs.field(factory=list)
    warnings: list[str] = attrs.field(factory=list)
    matched: list[Matched] = attrs.field(factory=list)
    initial: dict[str, Initial] = attrs.field(factory=dict)
    leaks: list[str] = attrs.field(factory=list)
    paced: list[Paced] = attrs.field(factory=list)

    def note(self, study: Study, arm: str, path: str, text: str) -> None:
        """Take in what differs in an arm at `path`: asked for, or a reason why the comparison is unfair."""
        for rule, why in study.differs.items():
            if path == rule or path.startswith(f"{rule}."):
                self.asked.append(Asked(rule=rule, arm=arm, difference=text, why=why))
                return
        self.unfair.add(arm)
        self.reasons.append(f"{arm}: {text}")

    def fairness(self) -> Fairness:
        """The findings as a result keeps them."""
        return Fairness(
            fair=not self.reasons,
            reasons=self.reasons,
            asked=self.asked,
            matched=self.matched,
            initial=self.initial,
            budget=self.budget,
            leaks=self.leaks,
            paced=self.paced,
        )


def make_fair(study: Study, arms: list[Arm], reference: Arm) -> tuple[list[Arm], Findings]:
    """The arms with their parameters matched, and what a reader must know.

    Raises BadInput where an arm cannot be composed, or cannot be matched within `study.tolerance`.
    """
    first = study.seed_list[0]
    base = look_at(reference, first)
    found = Findings(primary=base.primary, metrics=base.metrics, budget=_budget(study, base))
    matching = study.matching.parameters and "parameters" not in study.differs
    fair_arms = []
    for arm in arms:
        seen = base if arm is reference else look_at(arm, first)
        sizer = find_sizer(seen.config)
        if matching and sizer is not None and sizer.path in dict(leaves(study.arms[arm.name] or {})):
            raise BadInput(
                where=f"arms.{arm.name}.{sizer.path}",
                expected="not to be given, since it matches the parameters",
                fix="leave it out, or match no parameters",
            )
        fair, after = match(study, arm, seen, base, first) if matching else (arm, seen)
        _check_trials(study, fair, after, first)
        fair_arms.append(fair)
        found.matched.append(
            Matched(
                arm=arm.name,
                reference_parameters=base.parameters,
                parameters_before=seen.parameters,
                parameters=after.parameters,
                hidden_before=seen.hidden,
                hidden=after.hidden,
            )
        )
        if after.leak:
            found.leaks.append(arm.name)
            found.unfair.add(arm.name)
            found.reasons.append(f"{arm.name} sees what it is asked to predict (allow_leak)")
        if arm is not reference:
            _compare(study, arm.name, after, base, found)
    if any(TOLERANCE < abs(matched.difference) <= study.tolerance for matched in found.matched):
        found.warnings.append(f"the file lets parameters differ by {study.tolerance:.0%} and still count as equal")
    return fair_arms, found


def unused_rules(study: Study, found: Findings) -> list[str]:
    """A warning for each difference that the file asks for and that no arm makes."""
    used = {asked.rule for asked in found.asked}
    return [f"differs.{path}: nothing differs there" for path in study.differs if path not in used]


def match(study: Study, arm: Arm, seen: Seen, base: Seen, seed: int) -> tuple[Arm, Seen]:
    """The arm with the MLP width that brings its parameters nearest to the reference's.

    An arm that is within the tolerance stays as it is: then its MLP begins with the very weights
    of the reference.
    """
    if _near(seen.parameters, base.parameters, study.tolerance):
        return arm, seen
    sizer = find_sizer(seen.config)
    if sizer is None:
        raise BadInput(
            f"cannot be matched: {seen.parameters:,} parameters, the reference has {base.parameters:,}, and nothing says "
            "which option resizes this model",
            where=f"arms.{arm.name}",
            fix="name it in the component (sized_by), or say why under differs: {parameters: ...}",
        )
    per_unit = look_at(sizer.resize(arm, seen.hidden + 1), seed).parameters - seen.parameters
    hidden = seen.hidden + round((base.parameters - seen.parameters) / per_unit) if per_unit else 0
    if hidden >= 1:
        sized = sizer.resize(arm, hidden)
        after = look_at(sized, seed)
        if _near(after.parameters, base.parameters, study.tolerance):
            return sized, after
        nearest = f"{after.parameters:,} with {sizer.describe(hidden)}"
    else:
        nearest = f"{seen.parameters - (seen.hidden - 1) * per_unit:,} with {sizer.describe(1)}"
    raise BadInput(
        f"cannot be matched: the reference has {base.parameters:,} parameters, and the nearest are {nearest}",
        where=f"arms.{arm.name}",
        fix=f"change the arm or the tolerance of {study.tolerance:.0%}, or say why under differs: {{parameters: ...}}",
    )


def look_at(arm: Arm, seed: int, changes: Mapping[str, Any] | None = None) -> Seen:
    """Compose the arm once and write down what fairness needs.

    Raises BadInput under `arms.NAME`.
    """
    config = arm.config(seed, changes)
    try:
        composition = compose(config)
    except BadInput as error:
        raise error.under(f"arms.{arm.name}") from None
    task = composition.task
    return Seen(
        config=config,
        parameters=composition.parameters,
        hidden=0 if (sizer := find_sizer(config)) is None else sizer.units(config),
        leak=composition.leak,
        weights={name: (tuple(value.shape), _digest(value)) for name, value in composition.model.named_parameters()},
        data=_data_digest(composition),
        seq_len=task.seq_len,
        primary=task.primary,
        metrics={name: metric.higher_is_better for name, metric in task.metrics().items()},
    )


def _check_trials(study: Study, arm: Arm, seen: Seen, seed: int) -> None:
    for values in study.trials():
        check_trial(study, arm, seen, seed, values)


def check_trial(study: Study, arm: Arm, seen: Seen, seed: int, values: Mapping[str, Any]) -> None:
    """Raises BadInput where values to tune resize the arm, or let it see what it is to predict: tuning may choose them.

    seen: the arm without them.
    """
    if not any(path.startswith(("attn.", "embed.")) for path in study.tune):
        return  # no other path can
    trial = look_at(arm, seed, values)
    said = ", ".join(f"{path} = {value}" for path, value in values.items())
    if trial.leak and not seen.leak:
        raise BadInput(f"with {said} {arm.name} would see what it is to predict", where="tune")
    if not _near(trial.parameters, seen.parameters, study.tolerance) and "parameters" not in study.differs:
        raise BadInput(
            f"{said} gives {arm.name} {trial.parameters:,} parameters in place of {seen.parameters:,}",
            where="tune",
            fix="make them arms (grid:), each of which is matched",
        )


def choose_metrics(study: Study, found: Findings) -> dict[str, bool]:
    """The metrics to judge, the main one first -> whether higher is better.

    Raises BadInput for one that the task lacks.
    """
    known = ", ".join(found.metrics)
    named = [(name, f"metrics.{i}") for i, name in enumerate(study.metrics)]
    named += [(name, f"equivalence.{name}") for name in study.equivalence]
    named += [(claim.metric, f"claims.{i}.metric") for i, claim in enumerate(study.claims)]
    for name, where in named:
        if name not in found.metrics:
            raise BadInput(where=where, expected=f"a metric of the task: {known}", got=repr(name))
    chosen: dict[str, bool] = {}
    for name in study.metrics or dict.fromkeys([found.primary, "loss"]):
        higher = found.metrics[name]
        if higher is None:
            raise BadInput(f"the task does not say whether higher {name} is better", where="metrics")
        chosen[name] = higher
    for name in study.equivalence:
        if name not in chosen:
            raise BadInput(
                where=f"equivalence.{name}", expected=f"a metric of the study: {', '.join(chosen)}", got=name
            )
    return chosen


def _compare(study: Study, name: str, arm: Seen, base: Seen, found: Findings) -> None:
    """Note what differs between an arm and the reference."""

    def note(path: str, text: str) -> None:
        found.note(study, name, path, text)

    ours, theirs = _shared_options(arm.config), _shared_options(base.config)
    sizer = find_sizer(arm.config)
    sized = None if sizer is None else sizer.path
    for path in sorted(ours.keys() | theirs.keys()):
        mine, its = ours.get(path, "absent"), theirs.get(path, "absent")
        if mine != its and not (path == sized and study.matching.parameters):
            note(path, f"{path} is {mine}, in the reference {its}")
    if not _near(arm.parameters, base.parameters, study.tolerance):
        note("parameters", f"{arm.parameters:,} parameters, the reference has {base.parameters:,}")
    if arm.data != base.data:
        note("task", "its data are not those of the reference")
    if arm.config.train.early_stop is not None:
        text = "early stopping: arms may train for different numbers of steps"
        found.warnings += [text] if text not in found.warnings else []
    found.initial[name] = _initial(arm, base)


def _initial(arm: Seen, base: Seen) -> Initial:
    """Which initial weights an arm shares with the reference, and the rest with its reason."""
    shared = 0
    rest: dict[str, str] = {}
    for name, (shape, values) in arm.weights.items():
        other = base.weights.get(name)
        if other is None:
            rest[name] = "only in this arm"
        elif other[0] != shape:
            rest[name] = f"shape {list(shape)}, in the reference {list(other[0])}"
        elif other[1] != values:
            rest[name] = "other initial values"
        else:
            shared += 1
    rest.update({name: "only in the reference" for name in base.weights if name not in arm.weights})
    return Initial(shared=shared, of=len(arm.weights), rest=rest)


def _budget(study: Study, base: Seen) -> Budget:
    train = base.config.train
    tokens = train.batch_size * train.accumulate * base.seq_len
    return Budget(
        steps=train.steps,
        tokens_per_step=tokens,
        tokens=train.steps * tokens,
        seeds=len(study.seed_list),
        tuning_runs=len(study.trials()) * study.tune_seeds if study.tune else 0,
    )


def _near(parameters: int, reference: int, tolerance: float) -> bool:
    return abs(parameters / reference - 1) <= tolerance


def _shared_options(config: Config) -> dict[str, Any]:
    """Every option that arms must have in common, by dotted path; whether the mechanism is left out is what an arm is about."""
    tree = config.to_dict()
    shared = dict(leaves({section: tree.get(section) for section in COMPARED}))
    del shared[NEUTRAL]
    return shared


def _digest(*tensors: torch.Tensor) -> str:
    content = hashlib.sha256()
    for tensor in tensors:
        content.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def _data_digest(composition: Composition) -> str:
    """Digest of the first examples of training and validation; test data are not touched before
    the end."""
    batches = [composition.task.batch(split, 0, 8) for split in ("train", "validation")]
    return _digest(*(tensor for batch in batches for tensor in batch[:2]))
