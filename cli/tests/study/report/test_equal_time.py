"""The comparison at equal time stands beside that at equal steps in every report: measured, or with its price."""

from __future__ import annotations

import attrs
import pytest
from invented_result import changed, invented

from lot_cli.study import Result
from lot_cli.study.design.fairness import Paced
from lot_cli.study.report import equal_time
from lot_cli.study.report.html import to_html
from lot_cli.study.report.markdown import to_markdown
from lot_cli.study.report.terminal import show
from lot_cli.study.report.wording import conclusion, paced_line


def slower(result: Result, seconds: float = 0.0246) -> Result:
    """The arm lattice takes twice as long per step."""
    arm = result.arms["lattice"]
    return attrs.evolve(
        result,
        arms={**result.arms, "lattice": attrs.evolve(arm, cost=attrs.evolve(arm.cost, seconds_per_step=seconds))},
    )


def timed(result: Result) -> Result:
    """With the contrasts of lattice run at equal time too."""
    added = [
        attrs.evolve(c, against="vanilla,time=lattice", budget="time", mean=0.03, low=0.01, high=0.05)
        for c in result.comparisons
        if c.arm == "lattice"
    ]
    return attrs.evolve(result, comparisons=[*result.comparisons, *added])


def test_what_was_not_run_is_told_with_its_price() -> None:
    result = slower(invented())
    rows = list(equal_time.rows(result))
    # 40 steps of 12.3 ms for each of six seeds and two tuning runs
    assert rows[0] == (
        "lattice − vanilla",
        "accuracy",
        "+0.0995 [+0.0913, +0.108] better, by less than 0.2",
        "not run: 40 steps of vanilla, a step of lattice takes 2 times that of vanilla; 3.94 s for 6 seeds",
    )
    assert equal_time.line(result) == (
        "At equal time 2 contrasts were not run; that would take about 5.9 s one by one (equal_time: true in the study file)."
    )


def test_without_logs_no_price_is_made_up() -> None:
    result = slower(invented(), seconds=0.0)
    assert next(equal_time.rows(result))[-1] == "not run; no times were logged"
    assert "about 1.97 s" in equal_time.line(result)  # of the other arm


def test_what_was_run_stands_beside_it() -> None:
    rows = list(equal_time.rows(timed(invented())))
    assert rows[0][-1] == "+0.03 [+0.01, +0.05] better, by less than 0.2"
    assert rows[2][-1].startswith("not run: ")  # of the arm wild
    assert "At equal time 1 contrast was not run" in equal_time.line(timed(invented()))


def test_every_form_says_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    show(invented())
    for form in (capsys.readouterr().out, to_markdown(invented()), to_html(invented())):
        assert "At equal time 2 contrasts were not run" in form
    for form in (to_markdown(invented()), to_html(invented())):
        assert "Nothing is read off the curve of a run of another length" in form


def test_verdicts_say_what_was_equal() -> None:
    result = changed(invented(), budget="time")
    said = [conclusion(c) for c in result.comparisons if c.arm == "lattice"]
    assert said[0] == "lattice is better than vanilla in accuracy at equal time, by less than the margin of 0.2"
    assert said[1] == "lattice is better than vanilla in loss at equal time"
    every = attrs.evolve(result, comparisons=[attrs.evolve(c, budget="flops") for c in result.comparisons])
    assert list(equal_time.rows(every)) == []
    assert next(equal_time.lines(every)).startswith("Every arm had equal FLOPs; ")


def test_how_steps_were_set_is_told() -> None:
    paced = Paced(
        arm="vanilla,time=lattice",
        against="lattice",
        by="time",
        ratio=0.8264,
        low=0.823,
        high=0.831,
        steps=484,
        against_steps=400,
        rounds=12,
        machine="CPU, 1 thread, 2026-01-01",
        sibling=True,
    )
    assert paced_line(paced) == (
        "vanilla,time=lattice: 484 steps, which cost the time of 400 of lattice (a step of vanilla takes 0.8264 "
        "[0.823, 0.831] times that of lattice, 12 rounds of timed blocks in one process on CPU, 1 thread, 2026-01-01)"
    )
    counted = attrs.evolve(
        paced, arm="lattice", against="vanilla", by="flops", low=None, high=None, rounds=0, sibling=False
    )
    assert paced_line(counted) == (
        "lattice: 484 steps, which cost the FLOPs of 400 of vanilla (a step of lattice counts 0.8264 times that of vanilla, "
        "counted)"
    )
