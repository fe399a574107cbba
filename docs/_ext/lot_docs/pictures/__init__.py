"""The pictures of the site. Each is drawn by the build from the components themselves, and is the same every time.

A picture is a function that returns a figure and a caption. It builds components through the registry, as a user would.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lot_docs.pictures import lattice, standard, toroidal, wave

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).resolve().parents[3] / "build" / "pictures"
"""Where the build leaves them, below docs/."""

PICTURES: dict[str, Callable[[], tuple[Figure, str]]] = {
    "vanilla": standard.vanilla,
    "lattice": lattice.lattice,
    "phase": lattice.phase,
    "hybrid": lattice.hybrid,
    "toroidal": toroidal.toroidal,
    "toroidal_ring": toroidal.ring,
    "toroidal_fft": toroidal.fft,
    "toroidal_latent": toroidal.latent,
    "toroidal_adaptive": toroidal.adaptive,
    "interference": wave.interference,
    "pure_wave": wave.pure_wave,
    "wave_packet": wave.wave_packet,
    "wave_native": wave.wave_native,
    "wave_coherence": wave.wave_coherence,
}
"""Name of a component -> its picture."""


@functools.cache
def draw(name: str) -> tuple[Path, str]:
    """Draw a picture into `FOLDER`: the file and its caption."""
    figure, caption = PICTURES[name]()
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.png"
    figure.savefig(path, metadata={"Software": ""})
    return path, caption


def show(name: str) -> str:
    """The picture as Markdown, for a page in a folder of docs/."""
    path, caption = draw(name)
    return f"```{{figure}} ../build/pictures/{path.name}\n:alt: {caption}\n\n{caption}\n```\n"
