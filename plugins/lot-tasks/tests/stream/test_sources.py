"""Documents of the help topics."""

from __future__ import annotations

from lot_tasks.stream.sources import _sections


def test_topics_that_share_a_section_have_it_as_the_same_document():
    outer = "Compound\n********\n\nWords.\n\nThe if\n======\n\nAs said.\n\nThe else\n--------\n\nMore.\n"
    inner = "The if\n******\n\nAs said.\n\nThe else\n========\n\nMore.\n"
    assert _sections(outer)[1:] == _sections(inner) == ["The if\n======\n\nAs said.", "The else\n========\n\nMore."]
    assert _sections("no heading") == ["no heading"]
