"""The pages as plain Markdown, which is how GitHub shows them: every link leads somewhere, every command is run somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# The build writes these: the reference of options, commands and Python has no headings in its sources.
GENERATED = re.compile(r"^(options|train|model)-|^lot-")


def links(page: Path) -> list[str]:
    """The targets of the links and pictures of a page, without those to other sites."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL))
    return [target for target in found if "://" not in target]


def slugs(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert path.is_relative_to(ROOT)
        if anchor and not GENERATED.match(anchor):
            assert anchor in slugs(path), target


def test_what_the_start_page_does_not_run_is_in_the_readme() -> None:
    start, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/start.md", "README.md"))
    installing = [line for line in start.splitlines() if ".venv" in line]
    assert len(installing) == 2
    assert all(line in readme.splitlines() for line in installing)
