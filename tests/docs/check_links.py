"""Check every inner link of the built site: the page exists, and so does the anchor on it.

    python check_links.py docs/build/html

Sphinx checks the references that it resolves itself; this one also sees what is written as a plain link.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The anchors of a page and the targets of its links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect `id`, `href` and `src`."""
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.targets.append(value)


def broken(site: Path) -> list[str]:
    """A line for each inner link below `site` that leads nowhere."""
    pages = {path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            other = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = other.exists() and (not parts.fragment or other not in pages or _has(pages[other], parts.fragment))
            if not there:
                found.append(f"{path.relative_to(site.resolve())}: {target}")
    return found


def _has(page: _Page, fragment: str) -> bool:
    return unquote(fragment) in page.anchors or fragment == "top"


def main(site: Path) -> int:
    """Print what is broken; returns the exit code."""
    lines = broken(site)
    print("\n".join(lines) or "every inner link leads somewhere")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
