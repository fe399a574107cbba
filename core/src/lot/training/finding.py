"""What a probe for leaks found, and which of several findings a run goes by."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Mode = Literal["evaluation", "training"]
_ORDER = ("not_causal_task", "passed", "rounding", "not_finite", "not_repeatable", "leak")


@dataclass(frozen=True)
class Finding:
    """What a probe found.

    status: `passed`; `rounding` (a difference that is no leak); `leak`; `not_causal_task` (only members of a batch were
    probed against each other, and none reaches another); `not_repeatable` (equal passes differ so much that nothing can be
    told); `not_finite` (the logits are not numbers). largest: the largest difference that was seen, relative to the largest
    logit; of a leak that shows in the gradient alone, that of the gradient, relative to the largest. step: optimizer steps
    done. position: the position at which it shows. layer: the layer that leaks, or `embedding`; None where it
    could not be told. mode: of the model. text: one clause for people, empty where all is well.
    """

    status: str
    largest: float
    step: int
    position: int | None = None
    layer: int | str | None = None
    mode: Mode | None = None
    text: str = ""

    @property
    def calm(self) -> bool:
        """Whether nothing was found."""
        return self.status in ("passed", "not_causal_task")

    def as_dict(self) -> dict[str, Any]:
        """What is recorded, without the text."""
        return {key: value for key, value in asdict(self).items() if key != "text"}


def worst(findings: list[Finding]) -> Finding:
    """The finding that matters most; of several with one status the one with the largest difference, then the last."""
    return max(enumerate(findings), key=lambda item: (_ORDER.index(item[1].status), item[1].largest, item[0]))[1]
