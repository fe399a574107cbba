"""The Sphinx extension of this site: it writes the reference from the code, so that the two cannot differ.

A page asks for a generated part with an HTML comment, which GitHub does not show: `<!-- lot: component attention lattice -->`.
The build replaces the comment by Markdown before MyST reads the page. The generators need LOT, and no Sphinx.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lot_docs import commands, components, docstrings, options, pictures, python, signals

if TYPE_CHECKING:
    from sphinx.application import Sphinx

GENERATORS: dict[str, Callable[..., str]] = {
    "commands": commands.page,
    "component": components.facts,
    "components": components.page,
    "options": options.page,
    "picture": pictures.show,
    "public-names": python.public_names,
    "public-modules": python.public_modules,
    "signals": signals.page,
}
"""Name of a generator -> a function of the words after it, which returns Markdown."""

_ASKED = re.compile(r"^<!-- lot: (?P<words>.+?) -->$", flags=re.MULTILINE)


def expand(text: str) -> str:
    """The page `text` with its generated parts. Raises KeyError for a generator that does not exist."""

    def write(asked: re.Match[str]) -> str:
        name, *words = asked["words"].split()
        return GENERATORS[name](*words)

    return _ASKED.sub(write, text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension to Sphinx."""

    def read(_app: Sphinx, page: str, source: list[str]) -> None:
        source[0] = expand(source[0])

    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", docstrings.process)
    app.connect("missing-reference", python.resolve)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
