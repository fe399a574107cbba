"""The passport of an arm: what the kit says about each of its parts, and what a few steps of training show about the whole.

Plain data that a result keeps. Imports no torch.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any, Literal

import attrs

Outcome = Literal["passed", "failed", "skipped"]
State = Literal["passed", "leak", "failed"]


@attrs.frozen(kw_only=True)
class Check:
    """One check of the kit."""

    name: str  # as `lot plugins check` prints it
    outcome: Outcome  # how it ended
    why: str = ""  # of a failure: what was expected, what came, and the usual cause; of a skip: the reason
    leak: bool = False  # whether it looks for answers in the input: with allow_leak, such a failure may run
    told: list[str] = attrs.field(
        factory=list
    )  # what it tells beside that: small effects, what acts in one mode only ...


@attrs.frozen(kw_only=True)
class Part:
    """A component of an arm, in the very configuration in which the arm has it."""

    path: str  # where the configuration chooses it, as in attn.layers.1
    layer: int | None  # the layer that it was built for; None for what belongs to no layer
    kind: str  # of component
    name: str  # of the component
    distribution: str  # that registers it
    version: str  # of the distribution
    source: str  # SHA-256 of the sources of its packages
    key: str  # of this passport: what was checked, with which code, where
    options: dict[str, Any]  # resolved options, as they were checked
    around: dict[str, Any]  # the model around an attention or an embedding: width, heads, longest sequence ...
    device: str  # where it was checked
    seed: int  # of the kit
    checks: list[Check]  # in the order in which they ran
    declared: dict[str, Any] = attrs.field(factory=dict)  # what it says of itself: causal, tolerance ...
    effect: float | None = None  # the largest effect on the output that the kit measured; None where it measures none
    inert: list[str] = attrs.field(factory=list)  # parameters that it declares to be without effect
    weights: int | None = None  # its numbers that gradients train; None for what has none
    state_per_token: float | None = None  # bytes that it keeps of each token when it decodes; None: no cache

    @property
    def place(self) -> str:
        """Path and layer, for people."""
        return (
            self.path
            if self.layer is None or self.path.endswith(f".{self.layer}")
            else f"{self.path}, layer {self.layer}"
        )

    def counts(self) -> dict[Outcome, int]:
        """Number of checks by outcome."""
        found: dict[Outcome, int] = {"passed": 0, "failed": 0, "skipped": 0}
        for check in self.checks:
            found[check.outcome] += 1
        return found


@attrs.frozen(kw_only=True)
class Behavior:
    """What the composed arm does in its first steps of training."""

    key: str  # of what was measured, with which code, where
    weights: int  # numbers that gradients train
    state: dict[str, int] = attrs.field(factory=dict)  # buffer or attribute that training changes -> its numbers
    acting: list[str] = attrs.field(factory=list)  # those of `state` without which an evaluation gives other logits
    gradients: dict[str, float] = attrs.field(
        factory=dict
    )  # part -> its gradient over what differences of the loss say
    unresolved: list[str] = attrs.field(factory=list)  # parts whose differences could not be told from rounding
    objective: float | None = None  # the gradient of the objective on the logits, in units of that of cross-entropy
    passes: int = 1  # forward passes of the model, or of the busiest layer, per micro-step
    flops_per_token: float | None = None  # forward and backward

    @property
    def trained(self) -> int:
        """Numbers that training changes: weights, and what stands in buffers and attributes."""
        return self.weights + sum(self.state.values())


@attrs.frozen(kw_only=True)
class Passport:
    """What is known about an arm before its first run."""

    made: str  # ISO 8601, UTC
    parts: list[Part]  # in the order of the configuration
    behavior: Behavior | None  # None where a part cannot be built

    @property
    def state(self) -> State:
        """`passed`; `leak`, where nothing failed but checks for leaks; else `failed`."""
        failed = [check for _, check in self.failures()]
        if not failed:
            return "passed"
        return "leak" if all(check.leak for check in failed) else "failed"

    def failures(self) -> Iterator[tuple[Part, Check]]:
        """The checks that failed, each with the part that it was made on."""
        return ((part, check) for part in self.parts for check in part.checks if check.outcome == "failed")

    def counts(self) -> dict[Outcome, int]:
        """Number of checks of all parts by outcome."""
        each = [part.counts() for part in self.parts]
        outcomes: tuple[Outcome, ...] = ("passed", "failed", "skipped")
        return {outcome: sum(found[outcome] for found in each) for outcome in outcomes}


def check_command(part: Part) -> str:
    """The command that checks a component as its passport had it."""
    section = part.path.partition(".")[0]
    if section in ("losses", "diagnostics"):
        section = f"{section}.{part.name}"
    words = ["lot", "plugins", "check", f"{part.distribution}:{part.name}", "--kind", part.kind]
    tables = ((section, part.options), ("dims", part.around))
    for table, options in tables:
        words += [w for key, value in options.items() for w in ("--set", f"{table}.{key}={_yaml(value)}")]
    return shlex.join([*words, *(["--device", part.device] if part.device != "cpu" else [])])


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value)
