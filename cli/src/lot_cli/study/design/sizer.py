"""Which option of a model resizes it, so that arms can be given equal numbers of parameters. Imports no torch."""

from __future__ import annotations

from typing import Any

import attrs

from lot.config.schema import Config
from lot_cli.study.design.file import merge
from lot_cli.study.design.plan import Arm


@attrs.frozen(kw_only=True)
class Sizer:
    """An option whose growth adds parameters: of the MLP where it has one, else of the model.

    path: where it stands in a run file. width: channels of the residual stream, of which it is a ratio; None for a whole number.
    """

    path: str
    width: int | None

    def units(self, config: Config) -> int:
        """The size as a whole number: channels of the MLP for a ratio."""
        section, _, name = self.path.partition(".")
        value: Any = getattr(getattr(config, section).options, name)
        return int(value) if self.width is None else max(1, round(value * self.width))

    def resize(self, arm: Arm, units: int) -> Arm:
        """The arm at another size."""
        section, _, name = self.path.partition(".")
        value = units if self.width is None else units / self.width
        return attrs.evolve(arm, tree=merge(arm.tree, {section: {name: value}}))

    def describe(self, units: int) -> str:
        """The size in words."""
        if self.width is not None:
            return "an MLP of one channel" if units == 1 else f"an MLP of {units} channels"
        return f"{self.path} = {units}"


def find_sizer(config: Config) -> Sizer | None:
    """The option that resizes the model of a run, or None where no component names one."""
    for section in ("mlp", "model"):
        chosen = getattr(config, section)
        name = None if chosen is None else chosen.component.sized_by
        if name is not None:
            whole = isinstance(getattr(chosen.options, name), int)
            return Sizer(path=f"{section}.{name}", width=None if whole else config.sizes.width)
    return None
