"""Components that the kit must tell apart: an honest one of each kind, and many with one defect each."""

from __future__ import annotations

from typing import Any

from lot.plugins.component import Component


def specimen(cls: type, kind: str, **fields: Any) -> Component:
    """The component of a specimen class; `fields` are those of Component."""
    module = cls.__module__
    return Component(
        name="specimen", summary=(cls.__doc__ or "").strip(), factory=f"{module}:{cls.__name__}", kind=kind, **fields
    )
