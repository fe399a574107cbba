"""What changes over training by plan: the learning rate, and the weights of loss terms."""

from __future__ import annotations

import math
from typing import Literal

import attrs

from lot.errors import BadInput
from lot.options.declare import option


@attrs.frozen(kw_only=True)
class WeightSchedule:
    """How the weight of a loss moves.

    constant: it does not. linear, cosine: from the weight to `to`, over `over` steps from step `start` on.
    adaptive: the weight times clamp(1 + gain (R - target), 0, limit), R being the order parameter of the batch: with a
    positive gain the term grows while phases are more synchronized than `target`, with a negative one while less.
    """

    kind: Literal["constant", "linear", "cosine", "adaptive"] = option("constant", help="how the weight moves")
    to: float = option(0.0, help="linear, cosine: the weight at the end")
    start: int = option(0, ge=0, help="linear, cosine: step at which it begins to move")
    over: int | None = option(None, ge=1, help="linear, cosine: steps that it takes")
    target: float = option(0.45, ge=0, le=1, help="adaptive: order parameter at which the weight is as given")
    gain: float = option(2.0, help="adaptive: relative change of the weight for a change of R by 1")
    limit: float = option(3.0, ge=1, help="adaptive: largest factor on the weight")

    def __attrs_post_init__(self) -> None:
        if self.kind in ("linear", "cosine") and self.over is None:
            raise BadInput(
                "required, but not given", where="over", fix=f"a {self.kind} schedule takes a number of steps"
            )
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            if self.kind not in kinds and value != attrs.fields_dict(WeightSchedule)[name].default:
                expected = f"no value where the kind is {self.kind}"
                raise BadInput(where=name, expected=expected, got=value, fix=f"only {' and '.join(kinds)} read it")

    @property
    def needs(self) -> frozenset[str]:
        """Signals that the schedule reads."""
        return frozenset({"phase"}) if self.kind == "adaptive" else frozenset()

    def at(self, weight: float, step: int) -> float:
        """The weight at `step` (adaptive: before its factor)."""
        if self.kind in ("constant", "adaptive"):
            return weight
        assert self.over is not None
        progress = min(max((step - self.start) / self.over, 0.0), 1.0)
        if self.kind == "cosine":
            progress = 0.5 * (1.0 - math.cos(math.pi * progress))
        return weight + (self.to - weight) * progress


_KINDS = {
    **dict.fromkeys(("to", "start", "over"), ("linear", "cosine")),
    **dict.fromkeys(("target", "gain", "limit"), ("adaptive",)),
}
"""The kinds of schedule that read an option."""


def warmup_steps(warmup: int | None, steps: int) -> int:
    """Steps of warmup in a run of `steps`: `warmup`, or where that is None an eighth of them, 50 at most."""
    return min(50, steps // 8) if warmup is None else warmup


def highest_rate(warmup: int | None, steps: int) -> float:
    """The largest learning rate of a run as a share of its peak: below 1 where the run ends before its warmup does."""
    warmup = warmup_steps(warmup, steps)
    return steps / warmup if steps < warmup else 1.0


def learning_rate_factor(step: int, steps: int, warmup: int | None, decay: str, min_ratio: float) -> float:
    """The learning rate at `step` (from 0) as a share of its peak.

    Linear warmup over `warmup` steps (None: as `warmup_steps` says), reaching the peak at step `warmup - 1`; then cosine or
    linear decay that would reach `min_ratio` at step `steps`, or none.
    """
    warmup = warmup_steps(warmup, steps)
    if step < warmup:
        return (step + 1) / warmup
    if decay == "constant":
        return 1.0
    progress = min((step - warmup) / max(1, steps - warmup), 1.0)
    shape = 0.5 * (1.0 + math.cos(math.pi * progress)) if decay == "cosine" else 1.0 - progress
    return min_ratio + (1.0 - min_ratio) * shape
