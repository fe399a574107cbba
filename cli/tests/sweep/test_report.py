"""What is said of a sweep: cautions, the table, pictures and the page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import attrs
import pytest
from study_support import RUN

from lot_cli.sweep.caution import cautions
from lot_cli.sweep.file import Sweep, configurations, sweep_from
from lot_cli.sweep.page import to_html
from lot_cli.sweep.picture import against, field
from lot_cli.sweep.report import next_steps, show, to_markdown
from lot_cli.sweep.result import Row, RunRow, SweepResult
from lot_cli.sweep.table import cells, sheet, titles

pytest.importorskip("lot_tasks")

GRID = {"optim.lr": [1.0e-3, 3.0e-3, 9.0e-3], "model.dropout": [0, 0.1]}


def sweep(**changes: Any) -> Sweep:
    """A sweep of six configurations."""
    content = {"base": RUN, "grid": GRID, "seeds": 2, **changes}
    return sweep_from({key: value for key, value in content.items() if value is not None}, "small")


def row(values: dict[str, Any], scores: list[float | None], states: str = "", **facts: Any) -> Row:
    """A row whose runs have these scores; states: the first letter of each one's state."""
    known = {"c": "complete", "d": "diverged", "f": "failed", "u": "unfinished"}
    runs = [
        RunRow(seed=seed, key=f"key{seed}", state=known[letter], message="", score=score)  # type: ignore[arg-type]
        for seed, (score, letter) in enumerate(zip(scores, states or "c" * len(scores), strict=True))
    ]
    finite = [score for score in scores if score is not None]
    mean = sum(finite) / len(finite) if finite else None
    spread = (2**-0.5) * abs(finite[0] - finite[1]) if len(finite) > 1 else None
    told = {"metrics": {"exact_match": mean, "loss": 1.5}, "parameters": 100, "seconds": 2.0, "leak": False, **facts}
    return Row(values=values, score=mean, spread=spread, runs=runs, **told)


def result(asked: Sweep, rows: list[Row]) -> SweepResult:
    """A result with these rows."""
    return SweepResult(
        format=1,
        name=asked.name,
        command="lot sweep x.yaml",
        date="2026-01-31T12:34:56+00:00",
        objective="exact_match",
        higher_is_better=True,
        split="validation",
        sweep=asked.to_dict(),
        paths=asked.paths,
        seeds=asked.seed_list,
        rows=rows,
        best=rows[0].values if rows[0].score is not None else None,
        warnings=cautions(asked, rows, "exact_match"),
    )


def rows_of(asked: Sweep, **facts: Any) -> list[Row]:
    """A row for each configuration, the later ones the better, listed from the best."""
    found = [row(values, [0.1 * place, 0.1 * place + 0.02]) for place, values in enumerate(configurations(asked))]
    return [attrs.evolve(each, **facts) for each in reversed(found)]


def said(lines: list[str], pattern: str) -> bool:
    """Whether a line matches."""
    return any(re.search(pattern, line) for line in lines)


def test_the_best_of_many_is_called_optimistic_and_a_study_is_named() -> None:
    first, *_ = cautions(sweep(), rows_of(sweep()), "exact_match")
    assert first == (
        "the best of 6 configurations on the validation split that chose it is optimistic; measure it on test once, and "
        "compare mechanisms with lot study, on other seeds than 0, 1"
    )


@pytest.mark.parametrize(("second", "alike"), [(0.79, True), (0.5, False)])
def test_a_lead_that_seeds_differ_by_is_told(second: float, alike: bool) -> None:
    best = row({"optim.lr": 3e-3, "model.dropout": 0}, [0.75, 0.85])
    other = row({"optim.lr": 3e-3, "model.dropout": 0.1}, [second, second])
    lines = cautions(sweep(), [best, other], "exact_match")
    assert said(lines, r"ahead of the second by 0\.01 in exact_match, and seeds .* 0\.07071 .* not told apart") == alike


def test_one_seed_is_told() -> None:
    lines = cautions(sweep(seeds=1), [row({"optim.lr": 3e-3, "model.dropout": 0}, [0.5])], "exact_match")
    assert said(lines, "one seed per configuration")
    assert not said(cautions(sweep(), rows_of(sweep()), "exact_match"), "one seed")


def test_the_edge_of_a_grid_asks_for_the_next_value_unless_the_option_ends_there() -> None:
    best = row({"optim.lr": 9e-3, "model.dropout": 0}, [0.5, 0.5])
    lines = cautions(sweep(), [best], "exact_match")
    assert said(
        lines, r"^optim\.lr: the best value, 0\.009, is the largest that was tried; try beyond it, such as 0\.027"
    )
    assert not said(lines, r"model\.dropout"), "a dropout below 0 cannot be"
    inside = row({"optim.lr": 3e-3, "model.dropout": 0}, [0.5, 0.5])
    assert not said(cautions(sweep(), [inside], "exact_match"), "try beyond")


def test_mechanisms_and_data_are_no_matter_of_a_sweep() -> None:
    asked = sweep(grid={"attn.name": ["vanilla", "lattice"], "task.seq_len": [6, 8]})
    lines = cautions(asked, [row({"attn.name": "vanilla", "task.seq_len": 8}, [0.5, 0.5])], "exact_match")
    assert said(lines, r"^attn\.name compares mechanisms, .* that is the job of lot study")
    assert said(lines, r"^task\.seq_len changes the data")


def test_lost_runs_and_leaks_are_told() -> None:
    rows = [row({"optim.lr": 3e-3, "model.dropout": 0}, [0.5, 0.5], leak=True)]
    rows += [row({"optim.lr": 9e-3, "model.dropout": 0}, [None, 0.2], "dc"), row({}, [None, None], "fu")]
    lines = cautions(sweep(), rows, "exact_match")
    for pattern in ("^LEAK", "^1 run diverged", "^1 run failed .* tries it again", "^1 run still to be made"):
        assert said(lines, pattern), pattern
    asked = sweep(grid={"optim.lr": [3e-3, 9e-3]})
    remarks = [cell[-1] for cell in cells(result(asked, rows[:2]))]
    assert remarks == ["LEAK", "1 of 2 runs diverged"]


def test_the_table_holds_every_digit_for_programs_and_four_for_people() -> None:
    asked = sweep(grid={"optim.lr": [3e-3]})
    found = result(asked, [row({"optim.lr": 3e-3}, [1 / 3, 1 / 3])])
    (values,) = sheet(found).rows
    assert dict(zip(sheet(found).titles, values, strict=True))["objective_exact_match"] == 1 / 3
    assert next(cells(found)) == ["1", "0.003", "0.3333", "0", "1.5", "2 s", ""]
    assert titles(found) == ["", "lr", "exact_match", "± over seeds", "loss", "time", ""]


def test_parameters_are_shown_where_configurations_differ_in_them() -> None:
    asked = sweep(grid={"model.width": [16, 32]})
    rows = [row({"model.width": 16}, [0.2, 0.2]), row({"model.width": 32}, [0.1, 0.1], parameters=400)]
    assert "parameters" in titles(result(asked, rows))
    assert "parameters" not in titles(result(asked, [attrs.evolve(each, parameters=100) for each in rows]))


def places(drawn: str) -> list[tuple[float, float]]:
    """The middle of each dot."""
    return [(float(x), float(y)) for x, y in re.findall(r'<circle[^>]* cx="([\d.]+)" cy="([\d.]+)"', drawn)]


def test_a_picture_has_a_dot_for_each_score_and_a_cross_for_each_lost_one() -> None:
    asked = sweep(grid={"optim.lr": [1e-4, 1e-3, 1e-2, 1e-1]}, seeds=1)
    rows = [row({"optim.lr": rate}, [score]) for rate, score in ((1e-2, 0.9), (1e-3, 0.5), (1e-4, 0.1))]
    drawn = against(result(asked, [*rows, row({"optim.lr": 1e-1}, [None], "d")]), "optim.lr")
    dots = sorted(places(drawn))
    assert len(dots) == 3
    assert drawn.count('class="lost"') == 1
    assert dots[1][0] - dots[0][0] == pytest.approx(dots[2][0] - dots[1][0], abs=0.2), "equal ratios, side by side"
    assert dots[0][1] > dots[1][1] > dots[2][1], "a higher score lies higher"
    assert 'r="6"' in drawn.split("0.9</title>")[0].rsplit("<circle", 1)[1], "the best is larger"


def test_marks_of_a_picture_do_not_run_into_each_other() -> None:
    asked = sweep(grid={"optim.lr": [1e-3, 3e-3, 1e-2, 1e30]}, seeds=1)
    rows = [row({"optim.lr": rate}, [0.5]) for rate in asked.grid["optim.lr"]]
    drawn = against(result(asked, rows), "optim.lr")
    marks = re.findall(r'x="([\d.]+)" y="214.0" text-anchor="middle">([^<]+)<', drawn)
    assert [value for _, value in marks] == ["0.001", "1e+30"]


@pytest.mark.parametrize("values", [["head", "neighbors"], [[1, 2], [2, 1]], [True, False], [None, 0.5]])
def test_values_that_are_no_numbers_stand_side_by_side(values: list[Any]) -> None:
    asked = sweep(grid={"attn.score": values}, seeds=1)
    drawn = against(result(asked, [row({"attn.score": value}, [0.5]) for value in values]), "attn.score")
    (first, _), (second, _) = sorted(places(drawn))
    assert second - first > 100


def test_a_grid_of_two_options_is_a_field_of_cells() -> None:
    found = result(sweep(), rows_of(sweep()))
    drawn = field(found)
    assert drawn.count('class="band') == 6
    assert drawn.count('class="line series-2"') == 1
    three = sweep(grid={**GRID, "train.clip": [1, 2]})
    assert field(result(three, rows_of(three))) == ""
    random = sweep(grid=None, random={"optim.lr": [1, 2], "model.dropout": [0, 0.1]}, count=4)
    assert field(result(random, rows_of(random))) == ""


def test_nothing_is_drawn_where_nothing_has_a_score() -> None:
    asked = sweep(seeds=1)
    rows = [row(values, [None], "d") for values in configurations(asked)]
    found = result(asked, rows)
    assert field(found) == against(found, "optim.lr") == ""
    assert "Every configuration" in to_html(found, [])


class Page(HTMLParser):
    """Notes tags that are not closed, and what a page asks of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asked: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "i", "circle", "line", "rect", "path", "polyline", "polygon"):
            self.open.append(tag)
        self.asked += [tag for name, _ in attributes if name in ("src", "href")] + ([tag] if tag == "script" else [])

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag


def test_the_page_is_whole_needs_nothing_and_escapes_what_it_is_given() -> None:
    asked = sweep(grid={"task.corpus": ["<b>&", "plain"]}, seeds=1)
    rows = [row({"task.corpus": value}, [0.5]) for value in asked.grid["task.corpus"]]
    found = result(asked, rows)
    html = to_html(found, [*next_steps(found, Path("sweeps/small"))])
    page = Page()
    page.feed(html)
    assert page.open == []
    assert page.asked == []
    assert "<b>&" not in html
    assert "&lt;b&gt;&amp;" in html
    for text in (*found.warnings, "lot sweep x.yaml", "lot run --config sweeps/small/best.yaml"):
        assert text.replace("'", "&#x27;") in html


def test_a_bar_in_a_value_does_not_break_the_table_in_markdown() -> None:
    asked = sweep(grid={"task.corpus": ["a|b", "plain"]}, seeds=1)
    found = result(asked, [row({"task.corpus": value}, [0.5]) for value in asked.grid["task.corpus"]])
    assert r"| 1 | a\|b | 0.5 |" in to_markdown(found, Path("sweeps/small"))


def test_the_terminal_shows_the_best_rows_and_says_where_the_others_are(capsys: pytest.CaptureFixture[str]) -> None:
    asked = sweep(grid={"optim.lr": {"linspace": [0.1, 3.0, 30]}}, seeds=1)
    rows = [row(values, [1 - values["optim.lr"] / 10]) for values in configurations(asked)]
    show(result(asked, rows), Path("sweeps/small"))
    out = capsys.readouterr().out
    assert "and 10 more in sweeps/small/sweep.csv" in out
    assert "best: optim.lr = 0.1 (exact_match 0.99)" in out
    assert "\x1b" not in out


def test_configurations_that_tie_are_told() -> None:
    rows = [row({"optim.lr": rate, "model.dropout": 0}, [0.5, 0.5]) for rate in (3e-3, 1e-2)]
    assert said(cautions(sweep(), rows, "exact_match"), "1 other configuration reached the same exact_match; the loss")
    assert not said(cautions(sweep(), rows_of(sweep()), "exact_match"), "reached the same")
