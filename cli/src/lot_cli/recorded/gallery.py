"""The pictures of a run in a page: of every diagnostic that it recorded, or a line that says why there is none."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

from lot.errors import BadInput
from lot_cli.page.elements import figure, text, warnings
from lot_cli.page.figures import Line, curves
from lot_cli.recorded import wording
from lot_cli.recorded.curves import course
from lot_cli.recorded.facts import RunFacts, at

MOST_LOOKS = 12
"""Pictures of `lot diagnose` that are shown."""
NARROW = 5.5
"""Inches up to which a picture stands beside another one."""

Warn = Callable[[str], None]


def recorded_pictures(facts: RunFacts, warn: Warn, *, films: bool) -> Iterator[str]:
    """The picture of each diagnostic that the run recorded, by name; films: and its animation. warn: told what cannot be drawn."""
    for folder in sorted((facts.path / "snapshots").glob("*")):
        if any(folder.glob("step_*.safetensors")):
            yield from _of_diagnostic(facts, folder.parent, folder.name, "", warn, films)


def later_pictures(facts: RunFacts, warn: Warn) -> Iterator[str]:
    """The pictures of what `lot diagnose` measured on the run."""
    looks = sorted(facts.path.glob("diagnoses/*/*/step_*.safetensors"))
    for file in looks[:MOST_LOOKS]:
        folder = file.parent.parent
        when = f"measured later: {wording.look(folder.name)}"
        yield from _of_diagnostic(facts, folder, file.parent.name, when, warn, films=False)
    if len(looks) > MOST_LOOKS:
        yield f'<p class="small wide">{text(f"The first {MOST_LOOKS} of {len(looks)} later measurements are shown.")}</p>'


def _of_diagnostic(facts: RunFacts, folder: Path, name: str, when: str, warn: Warn, films: bool) -> Iterator[str]:
    """The picture, verdict, alarm and animation of the records of one diagnostic in a folder of snapshots."""
    from lot.storage.snapshots import records_in
    from lot_cli.recorded.pictures import Picture, diagnostic_of

    try:
        made = diagnostic_of(name, at(facts.tree, "diagnostics", name))
        picture = Picture(name, made, records_in(folder, name))
        drawn = picture.draw(leak=facts.leak)
        if drawn is None:
            return
        caption = " · ".join(part for part in (name, when, picture.verdict()) if part)
        yield figure(_image(drawn.content, "png", name, drawn.width), caption, wide=drawn.width > NARROW)
        if (alarm := picture.alarm()) is not None:
            yield f'<div class="wide">{warnings("", [f"{name}: {alarm}"])}</div>'
        if films and (film := picture.film()) is not None:
            title = f"{name}, animated"
            yield f'<div class="film wide">{figure(_image(film, "gif", title), title)}</div>'
    except BadInput as error:
        said = str(error).partition(";")[0]
        warn(said)
        yield f'<div class="wide">{warnings("", [said])}</div>'
        yield from _scalars(facts, name)


def _scalars(facts: RunFacts, name: str) -> Iterator[str]:
    """Curves of what the log has of a diagnostic that cannot draw."""
    rows = [row for row in facts.rows if row.get("diagnostic") == name]
    for key in dict.fromkeys(key for row in rows for key in row if key not in ("step", "diagnostic")):
        if drawn := curves([Line(key, 0, 0, *course(rows, key))], f"{name} {key} over training steps"):
            yield figure(drawn, f"{name} {key}")


def _image(content: bytes, kind: str, alternative: str, width: float | None = None) -> str:
    """A picture within the page; width: in inches, where the page is as wide; default: that of its pixels."""
    size = "" if width is None else f' style="width: {96 * width:.0f}px"'
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return f'<div class="picture"><img src="{source}" alt="{text(alternative)}"{size}></div>'
