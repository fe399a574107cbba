"""Reports: every number in each form, and one page that needs no network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import attrs
import pytest
from invented_result import METRICS, changed, invented, invented_fairness

from lot_cli.study import Result
from lot_cli.study.report.html import to_html
from lot_cli.study.report.markdown import to_markdown
from lot_cli.study.report.terminal import show
from lot_cli.study.result import Curve, Looks

VOID = {"meta", "br", "link", "img", "input", "hr"}


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
    "+0.0995 [+0.0913, +0.108], 6 pairs, p = 0.0312",
    "no difference shown between wild and vanilla in accuracy",
    "0 [0, 0] scored, 5 + 1 scored pairs, p = 1 (wild finished 5 of 6 seeds, vanilla 6; over the finishing pairs 0)",
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
            "over 4 comparisons: 0 lies outside an interval exactly where a difference is shown, at p ≤ 0.2",
            "approximate with a shared reference and skewed noise",
            "x 0.905",  # exp(-0.1), beside a difference of 0.1 nats
            "80 % interval",
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
    assert ["lattice", "+0.0995", "[+0.0913,", "+0.108]"] in [row[:4] for row in rows]
    assert any(line.startswith("loss against vanilla (lower is better)") for line in lines)


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


def test_contrasts_with_several_arms_name_both(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = changed(invented(), against="wild")
    for form in (lambda d: terminal(d, capsys, monkeypatch), to_markdown, lambda d: Page(to_html(d)).text):
        shown = form(result)
        assert "lattice − wild" in shown
        assert "ontrasts" in shown
        assert "lattice is better than wild in accuracy" in shown


def test_caveats_stand_beside_the_verdicts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    result = invented()
    learned = {"attn": {"name": "phase"}, "model": {"positions": "learned"}}
    rotary = {"attn": {"name": "vanilla"}, "model": {"positions": "rotary"}}
    fair = {"attn": {"name": "vanilla"}, "model": {"positions": "learned"}}
    configs = {"vanilla": rotary, "lattice": learned, "wild": fair}
    arms = {name: attrs.evolve(arm, config=configs[name]) for name, arm in result.arms.items()}
    result = attrs.evolve(result, arms=arms, study=attrs.evolve(result.study, caveats=["One text & no other."]))
    for form in (lambda d: terminal(d, capsys, monkeypatch), to_markdown, lambda d: Page(to_html(d)).text):
        shown = " ".join(form(result).split())
        assert "One text & no other." in shown
        assert (
            "lattice has learned positions and vanilla has rotary ones: their difference is that of the mechanisms and of the "
            "positions; compare it with wild" in shown
        )
        assert "positions" not in form(invented())


def test_looks_are_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    planned = Looks(known=True, number=1, planned=True, plan=[6, 10], level=0.025, discarded=[], mark="a")
    unknown = attrs.evolve(planned, known=False)
    for form in (lambda d: terminal(d, capsys, monkeypatch), to_markdown, lambda d: Page(to_html(d)).text):
        shown = form(invented(looks=planned))
        assert "This is look 1; looks at 6, 10 pairs were planned." in shown
        assert "Up to this one 0.025 of 0.05 may be spent" in shown
        assert "The same command goes on to 10 pairs." in shown
        assert "Looks unknown" in form(invented(looks=unknown))


def test_the_page_needs_nothing_else() -> None:
    text = to_html(invented())
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "img", "iframe"} & page.counts.keys()
    assert not re.search(r"https?://|url\(|@import", text)
    assert {key for _, key, _ in page.attributes} & {"src", "onclick", "onload"} == set()
    assert {value for _, key, value in page.attributes if key == "href"} == {"runs/k/"}  # the folders of its runs
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_runs_have_names_that_lead_to_their_folders() -> None:
    result = invented()
    named = attrs.evolve(result, runs=[attrs.evolve(run, key=f"{run.seed:016x}") for run in result.runs])
    page = Page(to_html(named))
    links = [value for tag, key, value in page.attributes if (tag, key) == ("a", "href")]
    assert links == [f"runs/{run.seed:016x}/" for run in result.runs]
    for form in (page.text, to_markdown(named)):
        assert all(f"{arm}-seed{seed}" in form for arm in result.arms for seed in result.seeds)
    assert "wild-seed5diverged" in page.text


@pytest.mark.parametrize("key", ["../../etc", "javascript:alert(1)", '"><script>', "/etc", "//host/x"])
def test_a_link_leads_below_the_folder_of_the_study(key: str) -> None:
    result = invented()
    page = Page(to_html(attrs.evolve(result, runs=[attrs.evolve(run, key=key) for run in result.runs])))
    links = {value for _, name, value in page.attributes if name == "href"}
    assert len(links) == 1
    assert re.fullmatch(r"runs/[^/:<>\"]+/", links.pop())


def test_diagnostics_of_arms_are_drawn_together() -> None:
    result = invented()
    one, other = ([0.2, 0.5, 0.9], [0.3, 0.5, 0.8])

    def measured(values: list[float]) -> Curve:
        return Curve(steps=[0.0, 10.0, 20.0], mean=values, low=values, high=values)

    arms = {name: attrs.evolve(arm, measured={"entropy.mean": measured(one)}) for name, arm in result.arms.items()}
    arms["wild"] = attrs.evolve(arms["wild"], measured={"entropy.mean": measured(other), "order.R": measured(one)})
    result = attrs.evolve(result, arms=arms)
    text = to_html(result, {"wild": ("wild-seed0", "<p>drawn</p>")})
    (drawn,) = re.findall(r'<svg[^>]*aria-label="entropy.mean over training steps">.*?</svg>', text)
    assert re.findall(r'<polyline class="line series-(\d) dash-(\d)"', drawn) == [("0", "0"), ("1", "1"), ("2", "2")]
    assert "entropy.mean on validation; mean and 95 % t interval; vanilla and lattice coincide" in text
    (alone,) = re.findall(r'<svg[^>]*aria-label="order.R over training steps">.*?</svg>', text)
    assert re.findall(r'<polyline class="line series-(\d) dash-(\d)"', alone) == [("2", "2")]
    assert "wild-seed0: pictures of its diagnostics" in text
    assert "What diagnostics measured" not in to_html(invented())
    assert Result.from_dict(result.to_dict()) == result


def test_results_from_before_diagnostics_were_kept_are_read() -> None:
    data = invented().to_dict()
    for arm in data["arms"].values():
        del arm["measured"]
    assert Result.from_dict(data) == invented()


def test_what_opens_at_a_click_is_open_on_paper() -> None:
    text = to_html(invented())
    assert "<details>" in text
    assert re.search(r"@media print \{.*details::details-content \{[^}]*content-visibility: visible", text, re.DOTALL)


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


def test_no_text_of_a_result_becomes_html():
    """Every text anywhere in study.json, names included, arrives as text."""
    hostile = "<script>&\"'</script>"

    def spoiled(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            free = key in ("metrics", "arms", "scores", "summary", "curves", "initial", "plugins", "values", "rest")
            return {(hostile + name if free else name): spoiled(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [spoiled(item, key) for item in value]
        closed = ("verdict", "rule", "state", "shape", "kind", "budget")
        return hostile + value if isinstance(value, str) and key not in closed else value

    data = invented().to_dict()
    told = {**spoiled(data), "study": data["study"]}  # a study file is checked when it is read
    page = to_html(Result.from_dict(told))
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") > 50
