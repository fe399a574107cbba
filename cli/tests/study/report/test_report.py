"""Reports: every number in each form, one page that needs no network, figures that hold what they say."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import attrs
import numpy as np
import pytest

from lot_cli.study import Result, Study
from lot_cli.study.analysis.judge import judge, reachable
from lot_cli.study.analysis.scores import curve, describe
from lot_cli.study.analysis.warnings import power_warning
from lot_cli.study.design.fairness import Asked, Budget, Fairness, Initial, Matched
from lot_cli.study.design.registration import Registration
from lot_cli.study.report import svg
from lot_cli.study.report.html import SERIES, series_of_arms, to_html
from lot_cli.study.report.markdown import to_markdown
from lot_cli.study.report.terminal import show
from lot_cli.study.result import (
    FORMAT,
    ArmResult,
    ClaimResult,
    Cost,
    Curve,
    Environment,
    Package,
    RunRow,
    Summary,
    Trial,
    Tuning,
)
from lot_cli.terminal import numbers

VOID = {"meta", "br", "link", "img", "input", "hr"}
METRICS = {"accuracy": True, "loss": False}


def invented(**changes: Any) -> Result:
    """The result of an invented study of three arms and six seeds, in one of which an arm diverged."""
    rng = np.random.default_rng(0)
    base = rng.normal(0.5, 0.05, size=6)
    scores: dict[str, dict[str, list[float | None]]] = {
        "vanilla": {"accuracy": list(base), "loss": list(1 - base)},
        "lattice": {"accuracy": list(base + 0.1 + rng.normal(0, 0.01, 6)), "loss": list(1 - base - 0.1)},
        "wild": {"accuracy": [*base[:5], None], "loss": [*(1 - base)[:5], None]},
    }
    study = Study(
        name="invented",
        base={"task": {"name": "mqar", "vocab_size": 64}, "losses": {"sync": {}}},
        arms={
            "vanilla": {},
            "lattice": {"attn": {"name": "lattice", "causal": None}},
            "wild": {"optim": {"lr": 1}},
        },
    )
    result = Result(
        format=FORMAT,
        name="invented",
        question="Is <b>this</b> & that so?",
        study=study,
        digest="cd" * 32,
        command="lot study a.yaml --jobs 2",
        date="2026-01-01T00:00:00+00:00",
        reference="vanilla",
        metrics=METRICS,
        seeds=list(range(6)),
        fairness=invented_fairness(list(scores)),
        statistics=reachable(6, 4, 0.05),
        arms={arm: invented_arm(table) for arm, table in scores.items()},
        runs=[
            RunRow(
                arm=arm,
                seed=seed,
                key="k",
                state="diverged" if value is None else "complete",
                message="not finite at step 7" if value is None else "",
                best_step=None if value is None else 20,
                steps=20,
            )
            for arm, table in scores.items()
            for seed, value in enumerate(table["accuracy"])
        ],
        comparisons=judge(scores, "vanilla", METRICS, {"accuracy": 0.2}, 0.2),
        claims=[
            ClaimResult(
                arm="lattice",
                metric="accuracy",
                value=0.987,
                source="A paper",
                measured=Summary(mean=0.61, low=0.6, high=0.62, lost=0),
                inside=False,
            )
        ],
        registration=Registration(
            hash="ab" * 32, date="2025-12-31", hypotheses=["it helps"], deviations=["seeds: more"]
        ),
        environment=Environment(
            python="3",
            system="Linux",
            torch="2",
            cuda=None,
            device="CPU",
            plugins={"lot-core": Package(version="1", commit="c0ffee")},
        ),
        warnings=["wild diverged in 1 of 6 seeds (5)"],
    )
    return attrs.evolve(result, **changes)


def invented_fairness(arms: list[str], **changes: Any) -> Fairness:
    """Fair arms, of which one was resized and one differs as the file asks."""
    matched = [
        Matched(
            arm=arm,
            reference_parameters=1000,
            parameters_before=1000,
            parameters=1000 + index,
            hidden_before=64,
            hidden=64 - index,
        )
        for index, arm in enumerate(arms)
    ]
    fairness = Fairness(
        fair=True,
        reasons=[],
        asked=[Asked(rule="optim.lr", arm="wild", difference="optim.lr is 1, in the reference 2", why="fun")],
        matched=matched,
        initial={"lattice": Initial(shared=3, of=4, rest={"phase": "only in this arm"})},
        budget=Budget(steps=20, tokens_per_step=64, tokens=1280, seeds=6, tuning_runs=2),
        leaks=[],
    )
    return attrs.evolve(fairness, **changes)


def invented_arm(scores: dict[str, list[float | None]]) -> ArmResult:
    """An arm with these scores by metric."""
    learned = Curve(steps=[10.0, 20.0], mean=[0.2, 0.5], low=[0.1, 0.4], high=[0.3, 0.6])
    return ArmResult(
        config={},
        scores=scores,
        summary={metric: describe(values) for metric, values in scores.items()},
        curves=dict.fromkeys(METRICS, learned),
        cost=Cost(
            seconds_per_step=0.0123,
            seconds_per_run=98.7,
            tokens_per_second=4567.0,
            flops_per_token=8.9e6,
            peak_bytes=2_345_678,
        ),
        tuned=Tuning(
            values={"optim.lr": 0.01},
            trials=[Trial(values={"optim.lr": 0.01}, score=0.75, loss=0.25, diverged=0, runs=["t"], chosen=True)],
        ),
    )


def changed(result: Result, **of_lattice: Any) -> Result:
    """The result with other facts in the comparisons of the arm lattice."""
    comparisons = [attrs.evolve(c, **of_lattice) if c.arm == "lattice" else c for c in result.comparisons]
    return attrs.evolve(result, comparisons=comparisons)


class Page(HTMLParser):
    """Counts elements, checks that they nest, keeps attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += [(tag, key, value) for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += [(tag, key, value) for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def terminal(result: Result, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """What the terminal shows, without line breaks."""
    monkeypatch.setenv("COLUMNS", "120")
    show(result)
    return capsys.readouterr().out


FACTS = (
    "lattice is better than vanilla in accuracy, by less than the margin of 0.2",
    "+0.0995 [+0.0889, +0.11], 6 pairs, p = 0.125",
    "no verdict on wild in accuracy: it diverged in 1 seed, vanilla in 0",
    "over the other pairs 0 [0, 0], 5 pairs",
    "0.502 (1 lost)",
    "wild diverged in 1 of 6 seeds (5)",
    "1,001",
    "12.3 ms",
    "4.57 k",
    "8.9 M",
    "2.35 MB",
    "0.987",
    "seeds: more",
)


def test_every_form_holds_the_facts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    forms = [
        terminal(invented(), capsys, monkeypatch),
        to_markdown(invented()),
        Page(to_html(invented())).text,
    ]
    for form in forms:
        for fact in FACTS:
            assert fact in form


def test_reports_hold_what_is_needed_to_repeat_and_judge() -> None:
    for form in (to_markdown(invented()), Page(to_html(invented())).text):
        for fact in (
            "lot study a.yaml --jobs 2",
            "c0ffee",
            "98.7 s",
            "not finite at step 7",
            "optim.lr = 0.01",
            "lattice: 3 of 4 tensors begin with the values of the reference",
            "MLP width 64 → 63",
            "asked for: wild: optim.lr is 1, in the reference 2 (fun)",
            "The smallest p that these seeds can reach is 0.031",
            "hypothesis: it helps",
            "task.name = mqar, task.vocab_size = 64, losses.sync = {}",
            "attn.name = lattice, attn.causal = null",
            "corrected by Holm over 4 comparisons and judged at 0.05",
            "two one-sided t tests (TOST), corrected by Holm over 2 comparisons",
        ):
            assert fact in form


def test_a_comparison_is_a_line_of_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show(invented())
    lines = capsys.readouterr().out.splitlines()
    rows = [
        line.split() for line in lines if line.startswith(("lattice ", "wild ")) and " is " not in line and "[" in line
    ]
    assert len(rows) == 4
    assert ["lattice", "+0.0995", "[+0.0889,", "+0.11]"] in [row[:4] for row in rows]
    assert any(line.startswith("loss against vanilla (lower is better)") for line in lines)


def test_many_arms_have_names_and_colors_of_their_own() -> None:
    arms = [f"mechanism_{number}" for number in range(9)]
    drawn = svg.points([(arm, 0, [0.1, 0.2]) for arm in arms], [0, 1], "m")
    assert re.findall(r">(mechanism_\d)</text>", drawn) == arms
    colors = series_of_arms("mechanism_0", arms)
    assert len(set(colors.values())) == len(arms)
    style = (resources.files("lot_cli.study.report") / "report.css").read_text(encoding="utf-8")
    assert all(style.count(f"--s{number}:") == 3 and f".series-{number} " in style for number in range(SERIES))


def test_too_few_seeds_are_told_with_the_number_that_would_do() -> None:
    assert power_warning(reachable(8, 6, 0.05)) is None
    assert power_warning(reachable(8, 9, 0.05)) == (
        "8 seeds cannot show a difference: the smallest p is 0.00781, and 0.0703 over 9 comparisons, above 0.05; "
        "9 seeds could"
    )
    assert str(power_warning(reachable(2, 1, 0.05))).endswith("1 comparison, above 0.05; 6 seeds could")
    assert str(power_warning(reachable(2, 1, 0.6))).endswith("; 5 seeds could")
    assert str(power_warning(reachable(20, 9, 0.001))).endswith("no number of seeds could: ask fewer questions")


def test_unfair_is_stamped_on_every_form(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fair = invented()
    unfair = invented(fairness=invented_fairness(list(fair.arms), fair=False, reasons=["wild: train.steps is 9"]))
    for form in (lambda d: terminal(d, capsys, monkeypatch), to_markdown, lambda d: Page(to_html(d)).text):
        assert "UNFAIR" in form(unfair)
        assert "wild: train.steps is 9" in form(unfair)
        assert "UNFAIR" not in form(fair)


def test_a_difference_that_the_file_asks_for_is_said_in_the_verdict(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = changed(invented(), asked=["train.steps"])
    for form in (lambda d: terminal(d, capsys, monkeypatch), to_markdown, lambda d: Page(to_html(d)).text):
        assert "lattice (with other train.steps, as asked) is better than vanilla in accuracy, by less" in form(result)
        assert "wild (with" not in form(result)


def test_a_verdict_that_is_not_fair_is_quoted_with_its_stamp(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = changed(invented(), fair=False)
    for form in (lambda d: terminal(d, capsys, monkeypatch), to_markdown, lambda d: Page(to_html(d)).text):
        assert "UNFAIR: lattice is better than vanilla in accuracy, by less" in form(result)
        assert "UNFAIR: no verdict" not in form(result)
    assert 'class="better"' not in to_html(result)


def test_the_page_needs_nothing_else() -> None:
    text = to_html(invented())
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "img", "iframe"} & page.counts.keys()
    assert not re.search(r"https?://|url\(|@import", text)
    assert {key for _, key, _ in page.attributes} & {"src", "href", "onclick", "onload"} == set()
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_text_of_the_file_is_escaped() -> None:
    page = Page(to_html(invented()))
    assert "Is <b>this</b> & that so?" in page.text


def test_figures_hold_every_seed_and_mark_the_lost_one() -> None:
    text = to_html(invented())
    for metric in METRICS:
        (drawn,) = re.findall(rf'<svg[^>]*aria-label="{metric} of every seed, by arm">.*?</svg>', text)
        assert len(re.findall("<circle", drawn)) == 17
        assert len(re.findall('class="lost"', drawn)) == 1
        assert "wild, seed 5: diverged" in drawn
        assert len(re.findall('class="pair"', drawn)) == 11  # six pairs, and five
    assert len(re.findall(r'aria-label="\w+ on validation over training steps"', text)) == 2


def drawn_as(steps: list[float], values: list[float]) -> Curve:
    """A curve without spread."""
    return Curve(steps=steps, mean=values, low=values, high=values)


def test_a_curve_is_drawn_where_its_numbers_are() -> None:
    drawn = svg.curves([("a", 0, drawn_as([0, 100], [0.0, 1.0]))], "m", (0.0, 1.0))
    (line,) = re.findall(r'<polyline[^>]*points="([^"]*)"', drawn)
    assert line == f"{svg.LEFT}.0,{svg.HEIGHT - svg.BOTTOM}.0 {svg.WIDTH - svg.RIGHT}.0,{svg.TOP}.0"


def test_nothing_to_draw_is_no_figure() -> None:
    assert svg.curves([("a", 0, drawn_as([], []))], "m") == ""
    assert svg.points([("a", 0, [None, None])], [0, 1], "m") == ""
    assert curve([], "m").steps == []


def test_equal_values_still_make_a_figure() -> None:
    assert "nan" not in svg.points([("a", 0, [0.0, 0.0]), ("b", 1, [0.0, 0.0])], [0, 1], "m")
    assert "nan" not in svg.curves([("a", 0, drawn_as([5.0], [1.0]))], "m")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.03, 0.041), (17, 23456), (1e-9, 3e-9), (-5, -4.9)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    found = svg.ticks(low, high)
    assert 2 <= len(found) <= 7
    assert low - 1e-6 * (high - low) <= found[0]
    assert found[-1] <= high + 1e-6 * (high - low)
    assert all(len(f"{tick:.3g}") <= 8 for tick in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (numbers.number(None), "–"),
        (numbers.number(12345.6), "12,346"),
        (numbers.number(float("nan"), absent="not finite"), "not finite"),
        (numbers.signed(0.01234), "+0.0123"),
        (numbers.signed(0.0), "0"),
        (numbers.interval(-1.0, 2.5), "[-1, +2.5]"),
        (numbers.interval(None, 2.5), ""),
        (numbers.p_equals(0.0123), "p = 0.0123"),
        (numbers.p_equals(1e-9), "p < 0.0001"),
        (numbers.compact(1.23e9, "B"), "1.23 GB"),
        (numbers.compact(12.0), "12"),
        (numbers.seconds(2.5e-5), "25 µs"),
        (numbers.seconds(1.5), "1.5 s"),
        (numbers.seconds(3e-8), "30 ns"),
        (numbers.binary_bytes(1536), "1.5 KiB"),
        (numbers.ratio(12345.6), "12,346"),
    ],
)
def test_numbers_in_words(text: str, expected: str) -> None:
    assert text == expected
