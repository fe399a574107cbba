"""Prose of docstrings and help lines, as Markdown and as reStructuredText."""

from __future__ import annotations

from lot_docs.docstrings import known_names, to_rst
from lot_docs.markdown import text

import lot


def test_lines_that_explain_a_name_become_definitions() -> None:
    lines = ["What comes back.", "", "width: channels. heads, layers: their", "numbers. Raises BadInput when odd."]
    assert to_rst(lines, frozenset({"width", "heads", "layers"})) == [
        "What comes back.",
        "",
        "``width``",
        "    channels.",
        "",
        "``heads``, ``layers``",
        "    their numbers.",
        "",
        "Raises BadInput when odd.",
        "",
    ]


def test_a_word_before_a_colon_that_is_no_name_stays_prose() -> None:
    assert to_rst(["Optional: see below."], frozenset({"width"})) == ["Optional: see below.", ""]


def test_indented_paragraphs_stay_as_they_are() -> None:
    assert to_rst(["As here:", "", "    a * b"], frozenset()) == ["As here:", "", "::", "", "    a * b", ""]


def test_signs_of_markup_in_prose_are_literal() -> None:
    assert to_rst(["R = |mean| of `x_`, a * b, and name_ here"], frozenset()) == [
        "R = \\|mean\\| of ``x_``, a \\* b, and name\\_ here",
        "",
    ]
    assert text("a <b> `c d` [e]\n f*") == "a \\<b\\> `c d` \\[e\\] f\\*"


def test_names_settings_and_commands_become_code() -> None:
    assert text("score=head keeps it; see low_rank, p + w.") == "`score=head` keeps it; see `low_rank`, p + w."
    assert text("a lot of optim.lr=3e-4.") == "a lot of `optim.lr=3e-4`."
    assert (
        text("lot run --attn vanilla --debug, or lot plugins lists")
        == "`lot run --attn vanilla --debug`, or `lot plugins` lists"
    )


def test_names_are_parameters_and_attributes() -> None:
    assert {"width", "token_counts"} <= known_names(lot.Dims)
    assert {"vocab_size", "primary"} <= known_names(lot.Task)
    assert {"source", "overrides"} <= known_names(lot.load_config)
