"""One look for all pictures: no window system, no global state, colors that color-blind readers can tell apart.

matplotlib comes with the command line, not with the core. It is imported when the first figure is made,
so that a plugin may import this module anywhere; torch, when a tensor is made.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lot.errors import BadInput

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from torch import Tensor

    from lot.contracts import Task

_T = TypeVar("_T")

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D", "#8F7A00")
"""Qualitative colors (Okabe and Ito, 2008, yellow darkened for white paper)."""
PHASE_MAP = "twilight"
"""Color map for angles: cyclic and perceptually even."""
SEQUENTIAL_MAP = "viridis"
"""Color map for amounts: brighter is more."""
DIVERGING_MAP = "RdBu_r"
"""Color map for what has a middle: blue below it, white at it, red above."""

_STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "figure.dpi": 110,
    "savefig.dpi": 160,
}


def new_figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] | None = None, **subplots: Any
) -> tuple[Figure, list[Axes]]:
    """A figure and its axes, row by row.

    size: width and height in inches; default 4.8 x 3.2 per panel. subplots: arguments of `Figure.subplots`.
    A panel's `set_title` writes at the left, in bold; its `legend` is small and has no frame. Arguments change that.
    """
    with _without_notices():
        import matplotlib
        from cycler import cycler
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    style: Any = {**_STYLE, "axes.prop_cycle": cycler(color=PALETTE)}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size or (4.8 * columns, 3.2 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, **subplots)
    for axis in axes.flat:  # these two are read from the style when they are called, which is after this context
        axis.set_title = functools.partial(axis.set_title, loc="left", fontsize=11, fontweight="bold")
        axis.legend = functools.partial(axis.legend, frameon=False, fontsize=8)
    return figure, list(axes.flat)


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    """Keeps matplotlib from telling, where there is no home directory, that its cache is a temporary folder then."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def heading(figure: Figure, text: str, **changes: Any) -> Text:
    """Write `text` over all panels, at the left, in bold; changes: arguments of `Figure.suptitle`. Returns the text."""
    return figure.suptitle(text, **{"x": 0.01, "ha": "left", "fontsize": 12, "fontweight": "bold", **changes})


def literal(text: str) -> str:
    """`text` as it stands, for a label: what is not ours (a name, a token) may hold `$`, which would begin a formula."""
    return text.replace("$", r"\$")


def over_training(axes: Axes, steps: list[int]) -> dict[str, Any]:
    """Label the horizontal axis of `axes` with steps; the style of a curve over them: few points are drawn as dots too."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    return {"marker": "o", "ms": 4} if len(steps) < 12 else {}


def mark_leak(figure: Figure) -> None:
    """Write below all panels that the model saw what it was asked to predict."""
    text = f"{figure.get_supxlabel()}\nLEAK: this model saw what it was asked to predict".strip()
    figure.supxlabel(text, color="#B00020", fontsize=9, fontweight="bold")


def apart(figure: Figure, share: float = 0.06) -> None:
    """Leave `share` of a panel's width between panels, so that color bars and neighbors do not touch."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(wspace=share)


def token_names(task: Task, ids: Iterable[int]) -> list[str]:
    """What `task` calls each token, with blanks and control characters made visible."""
    import torch

    return [_visible(task.decode(torch.tensor([token]))) for token in ids]


def _visible(text: str) -> str:
    text = text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text) or "∅"


def pack(texts: Iterable[str]) -> Tensor:
    """Texts as a tensor, since a record holds nothing else: (n, bytes) uint8, each in UTF-8, filled up with zeros."""
    import torch

    rows = [text.encode() for text in texts]
    packed = torch.zeros(len(rows), max(1, *(len(row) for row in rows)) if rows else 1, dtype=torch.uint8)
    for own, row in zip(packed, rows, strict=True):
        own[: len(row)] = torch.tensor(list(row), dtype=torch.uint8)
    return packed


def unpack(packed: Tensor) -> list[str]:
    """The texts that `pack` was given; a label of a picture needs `literal`."""
    return [bytes(row.tolist()).rstrip(b"\0").decode(errors="replace") for row in packed]


def spaced(items: Sequence[_T], most: int) -> list[_T]:
    """At most `most` of `items`: the first, the last, and those evenly between. most: 1 or more."""
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / max(1, most - 1))] for index in range(most)]


def smooth(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and of up to `window` - 1 values before it.

    Later values do not count, so that a curve does not rise or fall before its data do.
    """
    total, means = 0.0, []
    for index, value in enumerate(values):
        total += value - (values[index - window] if index >= window else 0.0)
        means.append(total / min(index + 1, window))
    return means


MOVIES = ("gif", "mp4")
"""Endings of the files that `save_animation` can write."""


def save_animation(
    figure: Figure,
    show: Callable[[int], object],
    frames: Iterable[int],
    path: Path | str,
    *,
    frames_a_second: int,
    dpi: int = 90,
) -> None:
    """Write an animation to `path`: a GIF, or an MP4 by ffmpeg. It has one picture for each of `frames`.

    show(frame) changes `figure` into the picture of that frame. frames_a_second: pictures per second of the animation.
    dpi: pixels per inch. Raises BadInput for another ending than .gif or .mp4, and for .mp4 without an ffmpeg that works.
    """
    from matplotlib.animation import FFMpegWriter, FuncAnimation, PillowWriter

    ending = str(path).rpartition(".")[2].lower()
    if ending not in MOVIES:
        raise BadInput(where=str(path), expected="a path that ends in .gif or .mp4", got=f".{ending}")
    if ending == "mp4" and not FFMpegWriter.isAvailable():
        raise BadInput("ffmpeg was not found, and MP4 needs it", where=str(path), fix="install ffmpeg, or write a .gif")
    frames = list(frames)
    show(frames[-1])
    figure.canvas.draw()
    figure.set_layout_engine("none")  # laid out once, not for each frame

    def draw(frame: int) -> list[Artist]:
        show(frame)
        return []

    writer = PillowWriter(fps=frames_a_second) if ending == "gif" else FFMpegWriter(fps=frames_a_second)
    try:
        FuncAnimation(figure, draw, frames=frames, blit=False).save(str(path), writer=writer, dpi=dpi)
    except subprocess.CalledProcessError as error:
        raise BadInput(
            f"ffmpeg failed with exit code {error.returncode}", where=str(path), fix="write a .gif"
        ) from error
