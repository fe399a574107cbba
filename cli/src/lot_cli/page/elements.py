"""Elements of a page, as HTML: no network, no script; light and dark, a phone's width, paper.

Every text is escaped here, but for cells of tables, which are HTML already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib import resources

from lot_cli.terminal.echo import visible

SERIES = 11
"""Colors of curves that the style sheet defines; the reference has the first."""
DASHES = 5
"""Patterns of lines that the style sheet defines; the first is a line without gaps."""


def document(title: str, body: Iterable[str]) -> str:
    """The page with this title; body: its elements."""
    style = (resources.files("lot_cli.page") / "page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def text(value: object) -> str:
    """What `value` says, as HTML; control characters and what turns the direction of writing around are shown as escapes."""
    return escape(visible(str(value)))


def escaped(rows: Iterable[Sequence[object]]) -> Iterator[tuple[str, ...]]:
    """Rows of plain text as rows of HTML."""
    return (tuple(map(text, row)) for row in rows)


def listing(lines: Iterable[object]) -> str:
    """A list of lines of plain text."""
    return f"<ul>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ul>"


def warnings(heading: str, lines: Iterable[object]) -> str:
    """A list that a reader should not miss, under a heading (empty: none)."""
    return f'<div class="warnings">{f"<p>{text(heading)}</p>" if heading else ""}{listing(lines)}</div>'


def stamp(word: str, lines: Iterable[object]) -> str:
    """What takes the worth from all that follows, under a word in capitals."""
    return f'<div class="stamp"><strong>{text(word)}</strong>{listing(lines)}</div>'


def details(summary: str, inside: str) -> str:
    """HTML that opens at a click, and on paper."""
    return f"<details><summary>{text(summary)}</summary>{inside}</details>"


def table(head: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]], *, cards: bool = False) -> str:
    """A table that scrolls by itself; head: title and class of each column. Cells are HTML already.

    cards: on a narrow screen each row becomes a card, in which every cell names its column.
    """
    classes = [f' class="{kind}"' if kind else "" for _, kind in head]
    names = [f' data-name="{text(title)}"' if cards and title else "" for title, _ in head]
    top = "".join(f"<th{kind}>{text(title)}</th>" for (title, _), kind in zip(head, classes, strict=True))
    top = f"<thead><tr>{top}</tr></thead>" if any(title for title, _ in head) else ""
    body = "".join(
        "<tr>" + "".join(f"<td{k}{n}>{cell}</td>" for cell, k, n in zip(row, classes, names, strict=True)) + "</tr>"
        for row in rows
    )
    kind = "scroll cards" if cards else "scroll"
    return f'<div class="{kind}"><table>{top}<tbody>{body}</tbody></table></div>'


def pairs(rows: Iterable[tuple[str, object]]) -> str:
    """A table of names and texts, without a head."""
    return table([("", "name"), ("", "wrap")], escaped(rows))


def figure(drawn: str, caption: str, *, wide: bool = False) -> str:
    """A picture, as HTML, under a caption of plain text. wide: over the whole width of the page."""
    return f"<figure{' class=wide' if wide else ''}><figcaption>{text(caption)}</figcaption>{drawn}</figure>"


def legend(entries: Iterable[tuple[str, int, int]]) -> str:
    """Names of curves beside how they are drawn: (name, color, pattern)."""
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 32 10" aria-hidden="true"><line class="line series-{color} dash-{dash}" '
        f'x1="0" y1="5" x2="32" y2="5"/></svg>{text(name)}</li>'
        for name, color, dash in entries
    )
    return f'<ul class="legend">{items}</ul>'
