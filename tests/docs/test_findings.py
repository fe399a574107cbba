"""Every figure of docs/findings.md, recomputed from the published studies, so that text and data cannot disagree."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

import numpy as np
import pytest
from support import ROOT

from lot_cli.study.analysis.statistics import sign_flip_test, summarize

STUDIES = ROOT / "benchmarks" / "results" / "studies"
NAMES = sorted(path.stem for path in STUDIES.glob("*.json") if not path.stem.endswith(".registration"))
TEXT = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
PROSE = " ".join(TEXT.split())
INTERVAL = re.compile(r"[+−]\d+\.\d+ \[[+−]\d+\.\d+, [+−]\d+\.\d+\]")
ARMS = {
    "vanilla": "vanilla",
    "vanilla, rotary": "vanilla",
    "vanilla, learned positions": "vanilla_learned",
    "vanilla, 360 steps instead of 300": "vanilla_longer",
    "lattice": "lattice",
    "lattice, rotary": "lattice",
    "lattice, learned positions": "lattice_learned",
    "lattice, `score: neighbors`": "neighbours",
    "lattice, `score: head` (as published)": "no_effect",
    "phase in one of two layers, learned positions": "phase",
    "toroidal, two platters": "toroidal",
    "toroidal_latent": "toroidal_latent",
    "interference (defaults), learned positions": "interference",
    "pure_wave (defaults), learned positions": "pure_wave",
}


class Table(NamedTuple):
    """A table of the page: the study that it quotes, the arm that all are compared with, its rows of cells."""

    study: str
    reference: str
    rows: list[list[str]]


def tables() -> list[Table]:
    """The tables with a column of differences, in order; the study is the last one that was named before."""
    found, study = [], ""
    for block in re.split(r"\n{2,}", TEXT):
        named = re.findall(r"experiments/survey/(\w+)\.yaml", block)
        study = f"survey_{named[-1]}" if named else study
        lines = block.splitlines()
        if lines[0].startswith("| arm |"):
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            column = next(cell for cell in rows[0] if cell.startswith("difference"))
            reference = "vanilla_learned" if column.endswith("learned positions") else "vanilla"
            found.append(Table(study, reference, [rows[0], *rows[2:]]))
    return found


def study(name: str) -> dict[str, Any]:
    return json.loads((STUDIES / f"{name}.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def scores(name: str, arm: str) -> np.ndarray:
    data = study(name)
    return np.array(data["arms"][arm]["scores"][next(iter(data["metrics"]))])


def signed(value: float, digits: int) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def difference(name: str, arm: str, reference: str, digits: int) -> str:
    """Mean and 95 % interval of the paired difference, as the page writes them."""
    s = summarize(scores(name, arm) - scores(name, reference))
    return f"{signed(s.mean, digits)} [{signed(s.low, digits)}, {signed(s.high, digits)}]"


def digits_of(cell: str) -> int:
    return len(re.match(r"[+−]\d+\.(\d+)", cell)[1])  # type: ignore[index]


def test_the_page_has_a_table_of_every_survey() -> None:
    assert [(table.study, table.reference) for table in tables()] == [
        ("survey_language", "vanilla"),
        ("survey_language", "vanilla_learned"),
        ("survey_why", "vanilla"),
        ("survey_copying", "vanilla"),
        ("survey_patterns", "vanilla"),
        ("survey_patterns", "vanilla_learned"),
    ]


@pytest.mark.parametrize("table", tables(), ids=lambda table: f"{table.study}-{table.reference}")
def test_every_cell_of_a_table_is_what_the_study_gives(table: Table) -> None:
    data = study(table.study)
    reported = {comparison["arm"]: comparison for comparison in data["comparisons"]}
    header, *rows = table.rows
    for label, *cells in rows:
        arm = ARMS[label]
        for column, cell in zip(header[1:], cells, strict=True):
            if column in ("loss", "right"):
                assert cell == f"{scores(table.study, arm).mean():.3f}", label
            elif column == "p":
                p = float(sign_flip_test(scores(table.study, arm) - scores(table.study, table.reference)))
                assert cell == f"{p:.3f}", label
            elif arm == table.reference:
                assert cell in ("", "reference"), label
            elif column == "verdict":
                assert cell.startswith(reported[arm]["verdict"].replace("±", "")), label
            else:
                assert cell == difference(table.study, arm, table.reference, digits_of(cell)), label


@pytest.mark.parametrize("table", tables(), ids=lambda table: f"{table.study}-{table.reference}")
def test_a_table_leaves_no_arm_out(table: Table) -> None:
    shown = {ARMS[row[0]] for row in table.rows[1:]}
    assert set(study(table.study)["arms"]) - shown in (set(), {"vanilla", "vanilla_learned", "lattice"})


def told() -> list[str]:
    """What the prose says, with its figures computed here."""
    confirm = difference("survey_confirm", "lattice", "vanilla", 3)
    gains = scores("survey_confirm", "lattice") - scores("survey_confirm", "vanilla")
    left = scores("survey_language", "lattice") - scores("survey_language", "vanilla")
    longer = scores("survey_why", "vanilla_longer") - scores("survey_why", "lattice")
    torus = {arm: (scores("survey_patterns", "toroidal") - scores("survey_patterns", arm)).mean() for arm in
             ("vanilla", "vanilla_learned")}  # fmt: skip
    rotary = sorted(scores("survey_patterns", "vanilla"))
    least = max(scores("survey_patterns", arm).max() for arm in ("toroidal", "phase", "vanilla_learned"))
    corrected = study("survey_patterns")["comparisons"][0]
    assert corrected["arm"] == "vanilla_learned"

    def slower(name: str, arm: str) -> float:
        cost = {key: value["cost"]["seconds_per_step"] for key, value in study(name)["arms"].items()}
        return float(cost[arm] / cost["vanilla"])

    def again(name: str) -> list[str]:
        against = {each["against"]: each for each in study(name)["comparisons"]}
        assert against["vanilla"]["verdict"] == "better"
        assert against["vanilla,time=lattice"]["verdict"] == "equivalent"
        assert against["vanilla,time=lattice"]["margin"] == 0.02
        won = int((scores(name, "lattice") < scores(name, "vanilla")).sum())
        return [
            f"| {difference(name, 'lattice', 'vanilla', 3)}, better, in {won} of 16 seeds "
            f"| {difference(name, 'lattice', 'vanilla,time=lattice', 3)}, equivalent within 0.02 |"
        ]

    paced = [study(name)["fairness"]["paced"][0] for name in ("survey_again", "survey_again_shakespeare")]
    took = " and ".join(f"{each['ratio']:.3f} [{each['low']:.3f}, {each['high']:.3f}]" for each in paced)
    assert {each["processes"] for each in paced} == {20}
    off = [max(each["high"] / each["ratio"] - 1, 1 - each["low"] / each["ratio"]) for each in paced]
    unsure = [each["steps"] * share for each, share in zip(paced, off)]  # steps
    bought = [
        (scores(name, "vanilla") - scores(name, "vanilla,time=lattice")).mean()
        / (each["steps"] - each["against_steps"])
        for name, each in zip(("survey_again", "survey_again_shakespeare"), paced)
    ]  # nats per further step

    def percent(name: str) -> str:
        return f"{100 * (slower(name, 'lattice') - 1):.0f} % more"

    assert percent("survey_copying") == percent("survey_patterns")
    return [
        f"the gain is **{-gains.mean():.3f} nats**, difference {confirm}, "
        f"in {(gains < 0).sum()} of {len(gains)} seeds (p = {study('survey_confirm')['comparisons'][0]['p']:.4f})",
        f"What is left for the lattice is {-left.mean():.3f} nats",
        f"A step with the lattice took {percent('survey_why')} time here",
        f"ends below the lattice by {-longer.mean():.3f} nats: "
        f"{difference('survey_why', 'vanilla_longer', 'lattice', 4)}, p = {float(sign_flip_test(longer)):.4f}",
        f"took {percent('survey_language')} time in the survey of text and {percent('survey_patterns')} in those",
        f"no difference shown (p = {corrected['p_holm']:.3f} after correction)",
        f"it lowers perplexity by {100 * (1 - math.exp(torus['vanilla'])):.1f} %",
        f"the closer control, by {100 * (1 - math.exp(torus['vanilla_learned'])):.2f} %",
        f"A step of it took {slower('survey_patterns', 'toroidal'):.1f} times as long",
        f"five between {rotary[0]:.3f} and {rotary[4]:.3f} and five between {rotary[5]:.3f} and {rotary[9]:.3f}",
        f"no seed ends above {least:.3f}",
        *again("survey_again"),
        *again("survey_again_shakespeare"),
        f"took {took} times that of the lattice, measured over 20 processes",
        f"uncertain by {100 * off[0]:.1f} and {100 * off[1]:.1f} %, or {unsure[0]:.0f} and {unsure[1]:.0f} steps",
        f"worth {unsure[0] * bought[0]:.3f} and {unsure[1] * bought[1]:.3f} nats",
        f"makes {paced[0]['steps']} and {paced[1]['steps']} steps in place of {paced[0]['against_steps']}",
    ]


@pytest.mark.parametrize("sentence", told())
def test_the_prose_tells_what_the_studies_give(sentence: str) -> None:
    assert sentence in PROSE


def test_no_interval_stands_outside_what_is_recomputed() -> None:
    cells = [cell for table in tables() for row in table.rows for cell in row]
    checked = {found for text in (*cells, *told()) for found in INTERVAL.findall(text)}
    assert set(INTERVAL.findall(PROSE)) == checked


def test_warnings_about_learning_rates_are_told() -> None:
    edges = [warning for warning in study("survey_copying")["warnings"] if "the best may lie beyond" in warning]
    assert len(edges) == 6
    assert "Six arms chose the largest or least learning rate" in PROSE


def test_the_saturated_controls_are_saturated() -> None:
    for name, least in (("mqar", 0.9999), ("memorization", 1.0)):
        assert scores(name, "vanilla").min() >= least
        assert scores(name, "lattice").min() == 1.0
        assert len(scores(name, "vanilla")) == 6


@pytest.mark.parametrize("name", NAMES)
def test_every_study_says_when_it_was_made_here_and_at_the_head_of_its_page(name: str) -> None:
    data = study(name)
    day, commit = data["date"][:10], data["environment"]["plugins"]["lot-core"]["commit"][:7]
    assert f"| `{name}` | {day}, at {commit}" in TEXT
    head = (STUDIES / f"{name}.md").read_text(encoding="utf-8").splitlines()[0]
    assert head.startswith(f"> Made on {day}, at {commit}, before ")
    assert "docs/findings.md" in head
