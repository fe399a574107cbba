"""How far an indexing has come, on stderr: a line that is rewritten on a terminal, a line now and then otherwise."""

from __future__ import annotations

import re
import sys
import time

_EVERY = 30.0  # seconds between two lines where no line can be rewritten
_LIVE = 0.2


class Progress:
    """A context that says what is read, and how far. total: bytes in all, or None where nobody knows."""

    def __init__(self, what: str, total: int | None) -> None:
        self.what, self.total = _shown(what), total
        self.live = sys.stderr.isatty()
        self.next = 0.0

    def __enter__(self) -> Progress:
        if not self.live:
            of = "" if self.total is None else f" ({self.total / 1e6:,.1f} MB)"
            say(f"indexing {self.what}{of}")
            self.next = time.monotonic() + _EVERY
        return self

    def show(self, read: int, tokens: int) -> None:
        """read: bytes of text so far."""
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + (_LIVE if self.live else _EVERY)
        share = "" if not self.total else f" ({min(100, 100 * read / self.total):.0f} %)"
        line = f"indexing {self.what}: {read / 1e6:,.1f} MB{share}, {tokens:,} tokens"
        print(f"\r{line}" if self.live else line, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def __exit__(self, *_error: object) -> None:
        if self.live and self.next:
            print(file=sys.stderr)


def say(line: str) -> None:
    """One line for the user."""
    print(_shown(line), file=sys.stderr, flush=True)


def _shown(text: str) -> str:
    """A text whose control characters, which a name may hold, say nothing to a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)
