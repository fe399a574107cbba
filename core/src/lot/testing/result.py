"""What the kit found, as plain frozen data that a report or a file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Status = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    why: what is wrong, or why it was skipped; "" where it passed. told: what it tells beside that, one line each.
    where: file and line in the component's own code at which the check stopped, where an error stopped it; else "".
    same_as: the earlier check that stopped at the same error, or "".
    """

    name: str
    status: Status
    why: str = ""
    told: tuple[str, ...] = ()
    where: str = ""
    same_as: str = ""


@dataclass(frozen=True)
class KitResult:
    """What all checks found about a component with certain options.

    seed: repeats the run (`lot plugins check NAME --seed N`). defined: file and line of the component's factory.
    The other fields: see `lot.testing.findings`, whose sets stand here in alphabetical order.
    """

    kind: str
    component: str
    seed: int
    defined: str
    checks: tuple[CheckResult, ...]
    tolerance: float = 0.0
    inert: tuple[str, ...] = ()
    effects: tuple[tuple[str, float], ...] = ()
    depends_on_length: bool = False
    straight_through: str = ""
    trained_buffers: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == "failed")

    @property
    def skipped(self) -> tuple[CheckResult, ...]:
        """The checks that had nothing to say, or were left out on request."""
        return tuple(check for check in self.checks if check.status == "skipped")

    @property
    def repeated(self) -> dict[str, int]:
        """A line for each error at which more than one check stopped, and how many further checks that were."""
        return repeated({check.name: check.same_as for check in self.failed})

    @property
    def told(self) -> tuple[str, ...]:
        """All that the checks tell beside their outcome, one line each."""
        return tuple(dict.fromkeys(line for check in self.checks for line in check.told))

    @property
    def largest_effect(self) -> float | None:
        """Of all parts of the mechanism, the largest effect on the output, relative to it; None where none was measured."""
        return max((size for _, size in self.effects), default=None)


def repeated(same_as: Mapping[str, str]) -> dict[str, int]:
    """same_as: by name of a failed check, the earlier one that stopped at the same error, or "". Lines as in `KitResult`."""
    lines = {}
    for first in dict.fromkeys(filter(None, same_as.values())):
        names = [name for name, same in same_as.items() if same == first]
        many = "1 further check" if len(names) == 1 else f"{len(names)} further checks"
        lines[f"{many} stopped at the same error as {first}: {', '.join(names)}"] = len(names)
    return lines
