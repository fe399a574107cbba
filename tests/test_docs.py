"""The tables of `docs/extending.md` are those of the code. Its plugin is tested in `test_examples.py`."""

from __future__ import annotations

import re

from support import ROOT

from lot.plugins.hookspecs import HOOKS
from lot.signals import SIGNALS

TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def test_every_hook_and_its_kind_is_in_the_table() -> None:
    table = re.findall(r"^\| `(lot_\w+)` \|", TEXT, flags=re.MULTILINE)
    assert table == list(HOOKS.values())


def test_the_signals_are_those_of_the_core() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (trunk|embedding|attention) \| (.+?) \| (.+) \|$", TEXT, flags=re.MULTILINE)
    expected = [
        (s.name, s.source, " or ".join(f"({', '.join(shape)})" for shape in s.shapes), s.meaning)
        for s in SIGNALS.values()
    ]
    assert rows == expected
