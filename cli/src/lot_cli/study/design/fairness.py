"""What is found about the fairness of a study, as plain data that a result keeps.

Imports no torch.
"""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class Asked:
    """A difference between an arm and the reference that the file asks for."""

    rule: str  # the key under `differs`
    arm: str  # name of the arm
    difference: str  # what differs, in words
    why: str  # the reason that the file gives


@attrs.frozen(kw_only=True)
class Matched:
    """The parameters of an arm against those of the reference, before and after its MLP was
    resized."""

    arm: str  # name of the arm
    reference_parameters: int  # parameters of the reference
    parameters_before: int  # parameters of the arm as the file has it
    parameters: int  # parameters of the arm as it is run
    hidden_before: int  # width of its MLP as the file has it, in channels
    hidden: int  # width of its MLP as it is run, in channels
    difference: float = attrs.field()  # of `parameters` from the reference, relative

    @difference.default
    def _relative_difference(self) -> float:
        return self.parameters / self.reference_parameters - 1


@attrs.frozen(kw_only=True)
class Initial:
    """How the initial weights of an arm relate to those of the reference."""

    shared: int  # tensors that have the values of the reference
    of: int  # tensors of the arm
    rest: dict[str, str]  # name of each other tensor -> why it differs


@attrs.frozen(kw_only=True)
class Budget:
    """What every arm spends."""

    steps: int  # training steps of a run
    tokens_per_step: int  # tokens of a training step
    tokens: int  # tokens of a run
    seeds: int  # runs of each arm that are reported
    tuning_runs: int  # runs of each arm that only tuning sees


@attrs.frozen(kw_only=True)
class Paced:
    """An arm whose training steps cost as much as those of another arm."""

    arm: str  # name of the arm whose number of steps was set
    against: str  # name of the arm that it costs as much as
    by: Literal["time", "flops"]  # what is equal
    ratio: float  # cost of a step of the arm divided by that of a step of the other
    low: float | None = None  # lower end of the 95 % interval of the ratio; None where it was counted
    high: float | None = None  # upper end of it
    steps: int  # training steps of the arm
    against_steps: int  # training steps of the other
    rounds: int = 0  # of timed blocks, there and back; 0 where the ratio was counted
    processes: int = 1  # in which the rounds were made
    machine: str = ""  # that it was timed on, and when; empty where the ratio was counted
    sibling: bool = False  # whether equal_time made the arm


@attrs.frozen(kw_only=True)
class Fairness:
    """Whether the arms may be compared, and why."""

    fair: bool  # whether there is no reason against it
    reasons: list[str]  # why the comparison is unfair
    asked: list[Asked]  # differences that the file asks for
    matched: list[Matched]  # parameters of each arm
    initial: dict[str, Initial]  # arm -> its initial weights; the reference is left out
    budget: Budget  # that of the reference
    leaks: list[str]  # arms that see what they are asked to predict
    paced: list[Paced] = attrs.field(factory=list)  # arms whose number of steps follows from what a step costs
