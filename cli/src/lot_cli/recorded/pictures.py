"""What the diagnostics of a run draw of their records. Imports torch and matplotlib when the first picture is made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lot.errors import BadInput, first_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lot.contracts import Diagnostic, Record

SHARP = 144
"""Pixels per inch of a picture in a page."""
MOST_PIXELS = 3200
"""Of the longer side of a picture in a page."""


def diagnostic_of(name: str, table: Mapping[str, Any] | None) -> Diagnostic:
    """The diagnostic `name` with the options of its table in a configuration.

    Raises BadInput where it is not installed, or where its options have changed since.
    """
    from lot.plugins.registry import registry

    component = registry().get("diagnostic", name)
    options = {key: value for key, value in (table or {}).items() if key != "every"}
    made: Diagnostic = component.create(component.parse(options, f"diagnostics.{name}"))
    return made


class Image(NamedTuple):
    """A picture as a PNG file, and how wide it is meant to be, in inches."""

    content: bytes
    width: float


def as_png(figure: Figure) -> Image:
    """The picture, sharp enough for a page."""
    import io

    file, size = io.BytesIO(), figure.get_size_inches()
    figure.savefig(file, format="png", dpi=min(SHARP, MOST_PIXELS / max(size)))
    return Image(file.getvalue(), float(size[0]))


class Picture:
    """A diagnostic and its records, which come from a run directory and may hold anything.

    Each method raises BadInput where the diagnostic cannot make anything of them.
    """

    def __init__(self, name: str, diagnostic: Diagnostic, records: Sequence[Record]) -> None:
        self.name, self.diagnostic, self.records = name, diagnostic, list(records)

    def draw(self, *, leak: bool) -> Image | None:
        """The picture, or None where there is nothing to draw."""
        with self._telling("drawn"):
            figure = self.diagnostic.draw(self.records)
            if figure is None:
                return None
            if leak:
                from lot.figure import mark_leak

                mark_leak(figure)
            return as_png(figure)

    def verdict(self) -> str | None:
        """What the numbers mean, in a line, or None."""
        with self._telling("judged"):
            return self.diagnostic.verdict(self.records)

    def alarm(self) -> str | None:
        """The line of warning that the last measurement gave during training, or None."""
        with self._telling("judged"):
            from lot.contracts import Record
            from lot.training.diagnose import REMEMBERED

            scalars = [Record(record.step, record.scalars) for record in self.records[-REMEMBERED:]]
            return self.diagnostic.alarm(scalars)

    def film(self) -> bytes | None:
        """The animation as a GIF file, or None where the diagnostic has none."""
        import tempfile

        if not hasattr(self.diagnostic, "animate"):
            return None
        with self._telling("animated"), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.gif"
            self.diagnostic.animate(self.records, path)
            return path.read_bytes()

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Turns whatever a diagnostic raises in the context into BadInput: the records may be those of another version."""
        try:
            yield
        except BadInput:
            raise
        except Exception as error:
            raise BadInput(f"{self.name}: cannot be {what} ({type(error).__name__}: {first_line(error)})") from error
