"""Signals that notice how they are read: a loss or a diagnostic reads only those that it declares."""

from __future__ import annotations

from typing import Any

from lot.testing.failure import KitFailure


class ReadSignals(dict[str, Any]):
    """The signals of an output, and the names `read` so far. Reading a missing one by [] raises KitFailure."""

    def __init__(self, signals: dict[str, Any]) -> None:
        super().__init__(signals)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def __missing__(self, name: str) -> Any:
        raise KitFailure(
            f"reading the signal {name!r}",
            expected=f"only signals in `needs` ({', '.join(sorted(self)) or 'none'})",
            got=name,
            cause="a `needs` that forgets a signal; an optional signal is read with .get()",
        )

    def get(self, name: str, default: Any = None) -> Any:
        """The signal `name`, noted as read, or `default`."""
        self.read.add(name)
        return super().get(name, default)

    def items(self) -> Any:
        """Every name and signal, all noted as read."""
        self.read |= self.keys()
        return super().items()
