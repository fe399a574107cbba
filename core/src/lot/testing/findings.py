"""What checks learn of a component beside whether they pass: sizes of effects, declarations, what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Findings:
    """Filled in by the checks of one component, in the order in which they run.

    notes: one line each; `run.py` files them under the check that told them.
    tolerance: the largest that a built module declared. inert: names of parameters that are declared inert.
    effects: by name of a parameter (or `ablate()`), how far resampling it moved the output, relative to the largest output.
    depends_on_length: whether a built module declared that. straight_through: what its gradients approximate, or "".
    trained_buffers: names of buffers that a pass in training mode changes.
    """

    notes: list[str] = field(default_factory=list)
    tolerance: float = 0.0
    inert: set[str] = field(default_factory=set)
    effects: dict[str, float] = field(default_factory=dict)
    depends_on_length: bool = False
    straight_through: str = ""
    trained_buffers: set[str] = field(default_factory=set)

    def tell(self, note: str) -> None:
        """Add a line, unless this very line is there."""
        if note not in self.notes:
            self.notes.append(note)
