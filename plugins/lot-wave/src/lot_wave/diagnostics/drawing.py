"""Titles and legends as `lot.figure` means them: matplotlib reads that part of a style when they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def title(axes: Axes, text: str, **changes: Any) -> None:
    """Title a panel: on its left, bold."""
    axes.set_title(text, **{"loc": "left", "fontsize": 11, "fontweight": "bold", **changes})


def heading(figure: Figure, text: str) -> Any:
    """Title a figure: on its left, bold; returns the text."""
    return figure.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold")


def legend(axes: Axes, **changes: Any) -> None:
    """A small legend without a frame."""
    axes.legend(**{"fontsize": 8, "frameon": False, **changes})
