"""Results show themselves: aligned in a terminal, escaped in a notebook, and with the word LEAK where there is one."""

from __future__ import annotations

import dataclasses
import json
import math
from html.parser import HTMLParser
from pathlib import Path

import pytest
from toy import toy_config

from lot.config.schema import Config
from lot.inspection.diagnose import Look
from lot.inspection.evaluate import Evaluation, for_json
from lot.runs.load import RecordedRun
from lot.runs.reliance import Damage, Reliance
from lot.runs.shown import Shown, Table
from lot.training.trainer import Result

RESULT = Result(Path("runs/<b>x</b>"), 1200, 1100, {"loss": 0.25, "perplexity": math.inf, "a & b": 1.0}, False)


class Cells(HTMLParser):
    """The texts of the cells of a table, and the names of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.add(tag)
        if tag in ("td", "th", "caption"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.cells[-1] += data


def test_a_result_is_lines_in_a_terminal() -> None:
    assert repr(RESULT).splitlines() == [
        "runs/<b>x</b>: 1,200 steps, the best after 1,100",
        "  loss        0.25",
        "  perplexity  not finite",
        "  a & b       1",
    ]


def test_a_result_is_an_escaped_table_in_a_notebook() -> None:
    read = Cells(RESULT._repr_html_())
    assert read.elements == {"table", "caption", "tbody", "tr", "td"}
    assert read.cells[0] == "runs/<b>x</b>: 1,200 steps, the best after 1,100"
    assert read.cells[1:5] == ["loss", "0.25", "perplexity", "not finite"]


def test_a_leak_is_told_in_both() -> None:
    leaky = dataclasses.replace(RESULT, leak=True)
    told = "LEAK: this model saw what it was asked to predict"
    assert repr(leaky).splitlines()[1] == told
    assert told in Cells(leaky._repr_html_()).cells[0]


def test_an_evaluation_is_still_a_dict() -> None:
    found = {
        "run": "x",
        "split": "test",
        "step": 5,
        "examples": 1024,
        "leak": False,
        "metrics": {"loss": math.nan},
        "mechanism": {"order_parameter.R": 0.5},
        "loss_by_position": [None],
    }
    evaluation = Evaluation(found)
    assert evaluation == found
    assert json.loads(json.dumps(for_json(evaluation)))["metrics"] == {"loss": None}
    assert repr(evaluation).splitlines() == [
        "x, step 5: test split, 1,024 examples",
        "  loss               not finite",
        "  order_parameter.R  0.5",
    ]


def test_reliance_is_a_table_with_titles() -> None:
    damages = (Damage("phases", (0, 1), 0, (0.5, 0.6), 0.3, 0.05), Damage("alpha", (0,), 8, (0.2,), -0.05, None))
    shown = repr(Reliance(Path("x"), 9, "validation", 0.25, damages, (), False)).splitlines()
    assert shown == [
        "x, step 9, validation: loss 0.25 nats per scored token when intact",
        "  damaged  layers  change of the loss",
        "  phases   0, 1    +0.3 ± 0.05",
        "  alpha    0       -0.05",
    ]


def test_a_configuration_is_its_yaml() -> None:
    config = toy_config()
    assert repr(config) == f"toy-vanilla\n{config.to_yaml()}"
    assert config._repr_html_().startswith("<pre>toy-vanilla\nseed: 0\n")


@pytest.mark.parametrize("kind", [Result, RecordedRun, Reliance, Look, Evaluation, Config])
def test_what_the_interface_returns_shows_itself(kind: type) -> None:
    assert kind.__repr__ is Shown.__repr__ or kind is Config
    assert callable(kind._repr_html_)  # type: ignore[attr-defined]


def test_columns_of_unequal_rows_stay_aligned() -> None:
    class Uneven(Shown):
        def table(self) -> Table:
            return Table("t", [("a",), ("bbb", "c")], ("x", "y", "z"))

    assert repr(Uneven()).splitlines() == ["t", "  x    y  z", "  a", "  bbb  c"]
