"""Arms that cost alike: steps follow from what a step costs, are measured once, and a wide interval is refused."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from study_support import make, small

from lot.config.load import load_config
from lot.errors import BadInput, Diverged, RunFailed
from lot_cli.study.execution import calibrate as measuring, make as execution
from lot_cli.study.execution.calibrate import Ratio, in_turns, ratios
from lot_cli.study.report.wording import paced_line

pytest.importorskip("lot_tasks")
QUICK: dict[str, Any] = {"claims": None, "equivalence": None, "tune": None, "seeds": 2}
SLOW: dict[str, Any] = {"vanilla": {}, "slow": {"losses": {"cross_entropy": {"label_smoothing": 0.2}}}}


class Machine:
    """A clock, and steps that take known times on it; each call may be disturbed."""

    def __init__(self, seconds: dict[str, float], disturbance: list[float] | None = None) -> None:
        self.now, self.seconds, self.disturbance = 0.0, seconds, disturbance or []
        self.calls: list[str] = []

    def makers(self) -> dict[str, Any]:
        def make(name: str) -> Any:
            def steps(number: int) -> None:
                self.calls.append(name)
                extra = self.disturbance[len(self.calls) % len(self.disturbance)] if self.disturbance else 1.0
                self.now += number * self.seconds[name] * extra

            return steps

        return {name: make(name) for name in self.seconds}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(machine: Machine) -> Machine:
        monkeypatch.setattr(measuring.time, "perf_counter", lambda: machine.now)
        return machine

    return use


def test_ratios_are_those_of_the_steps_in_blocks_there_and_back(clock: Any) -> None:
    machine = clock(Machine({"a": 0.01, "b": 0.0125, "c": 0.5}))
    taken = in_turns(machine.makers(), 6)
    found = ratios([taken] * 3, [("b", "a"), ("a", "c")])
    assert found["b", "a"].value == pytest.approx(1.25)
    assert found["a", "c"].value == pytest.approx(0.02)
    assert found["b", "a"].low == pytest.approx(found["b", "a"].high)
    assert taken == pytest.approx(machine.seconds)
    assert machine.calls[-6:] == ["a", "b", "c", "c", "b", "a"]


def test_a_machine_that_slows_down_steadily_moves_no_ratio(clock: Any) -> None:
    machine = clock(Machine({"a": 0.2, "b": 0.3}))
    original, started = machine.makers(), [0]

    def drifting(name: str) -> Any:
        def steps(number: int) -> None:
            started[0] += 1
            machine.now += number * machine.seconds[name] * (1 + 0.01 * started[0])

        return steps

    found = in_turns({name: drifting(name) for name in original}, 20)
    assert found["b"] / found["a"] == pytest.approx(1.5, rel=1e-3)


def test_processes_that_differ_widen_the_interval_however_even_each_is_in_itself() -> None:
    """As measured: ratios of one pair of arms in seven processes, and what 95 % of such samples cover."""
    seen = [0.8685, 0.8925, 0.9187, 0.8847, 0.8851, 0.9001, 0.916]
    found = ratios([{"a": 1.0, "b": ratio} for ratio in seen], [("b", "a"), ("a", "b")])
    one, inverse = found["b", "a"], found["a", "b"]
    assert (one.value, one.low, one.high) == pytest.approx((0.894931, 0.878455, 0.911716), abs=1e-6)
    assert (inverse.value, inverse.low, inverse.high) == pytest.approx((1 / one.value, 1 / one.high, 1 / one.low))


def test_the_interval_covers_the_ratio_in_95_of_100_calibrations() -> None:
    """Fresh processes of which each is faster or slower by about 2 % for as long as it lives."""
    draw = random.Random()
    covered = 0
    for _ in range(2000):
        taken = [{"a": 1.0, "b": 1.2 * math.exp(draw.gauss(0, 0.02))} for _ in range(6)]
        found = ratios(taken, [("b", "a")])["b", "a"]
        covered += found.low <= 1.2 <= found.high
    assert 0.92 < covered / 2000 < 0.98  # six standard errors


def test_a_step_that_diverges_is_told(clock: Any) -> None:
    def steps(number: int) -> None:
        raise Diverged("loss or gradient is not finite at step 1; nothing of it was saved")

    with pytest.raises(
        BadInput, match=r"arms.wild: it diverges while its steps are timed .loss or gradient is not finite"
    ):
        in_turns({"wild": steps}, 6)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, str]]]:
    """The pairs of each calibration; `slow` takes 1.5 times as long per step as every other arm."""
    calls: list[list[tuple[str, str]]] = []

    def calibrate(configs: Any, pairs: Any, rounds: int, *others: Any) -> Any:
        calls.append(list(pairs))
        assert rounds == 12
        assert set(configs) == {name for pair in pairs for name in pair}
        takes = {name: 1.5 if name == "slow" else 1.0 for name in configs}
        return {
            (a, b): Ratio(value=takes[a] / takes[b], low=0.99 * takes[a] / takes[b], high=takes[a] / takes[b])
            for a, b in pairs
        }

    monkeypatch.setattr(execution, "calibrate", calibrate)
    return calls


def steps_of(result: Any) -> dict[str, int]:
    return {row.arm: row.steps for row in result.runs}


def test_match_time_gives_each_arm_its_steps_and_measures_once(tmp_path: Path, timed: list[Any]) -> None:
    study = small(**QUICK, arms=SLOW, match=["parameters", "time"])
    result = make(study, tmp_path)
    assert steps_of(result) == {"vanilla": 6, "slow": 4}
    assert timed == [[("slow", "vanilla")]]
    assert result.fairness.fair
    (paced,) = result.fairness.paced
    assert (paced.arm, paced.against, paced.by, paced.ratio, paced.steps) == ("slow", "vanilla", "time", 1.5, 4)
    assert (paced.rounds, paced.processes) == (12, 6)
    assert (
        "(a step of slow takes 1.5 [1.485, 1.5] times that of vanilla, 12 rounds of timed blocks in 6 processes on"
        in (paced_line(paced))
    )
    assert result.arms["slow"].config["train"]["steps"] == 4
    assert {c.budget for c in result.comparisons} == {"time"}
    again = make(study, tmp_path)
    assert len(timed) == 1
    assert again.fairness.paced == result.fairness.paced


def test_only_an_arm_that_is_new_is_measured(tmp_path: Path, timed: list[Any]) -> None:
    make(small(**QUICK, arms=SLOW, match="time"), tmp_path)
    third = {**SLOW, "third": {"losses": {"cross_entropy": {"label_smoothing": 0.1}}}}
    result = make(small(**QUICK, arms=third, match="time"), tmp_path)
    assert timed == [[("slow", "vanilla")], [("third", "vanilla")]]
    assert steps_of(result) == {"vanilla": 6, "slow": 4, "third": 6}


def test_equal_time_adds_a_sibling_to_every_contrast(tmp_path: Path, timed: list[Any]) -> None:
    result = make(small(**QUICK, arms=SLOW, equal_time=True), tmp_path)
    assert steps_of(result) == {"vanilla": 6, "slow": 6, "vanilla,time=slow": 9}
    assert [(c.arm, c.against, c.budget) for c in result.comparisons if c.metric == "loss"] == [
        ("slow", "vanilla", "steps"),
        ("slow", "vanilla,time=slow", "time"),
    ]
    assert result.statistics.comparisons == 4  # they join the family
    assert result.fairness.fair
    assert result.fairness.initial.keys() == {"slow"}
    assert result.parameters["vanilla,time=slow"] == result.parameters["vanilla"]


def test_match_flops_counts_and_measures_nothing(tmp_path: Path, timed: list[Any]) -> None:
    arms = {"vanilla": {}, "wide": {"model": {"mlp_ratio": 8.0}}}
    study = small(
        **QUICK, arms=arms, match="flops", differs={"parameters": "on purpose", "model.mlp_ratio": "on purpose"}
    )
    result = make(study, tmp_path)
    wide, vanilla = (result.arms[name].cost.flops_per_token for name in ("wide", "vanilla"))
    assert wide is not None
    assert vanilla is not None
    assert wide > 1.2 * vanilla
    assert steps_of(result) == {"vanilla": 6, "wide": round(6 * vanilla / wide)}
    assert timed == []
    assert {c.budget for c in result.comparisons} == {"flops"}


def test_a_wide_interval_is_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Ratio(value=1.5, low=1.4, high=1.52)
    monkeypatch.setattr(execution, "calibrate", lambda configs, pairs, *others: dict.fromkeys(pairs, wide))
    with pytest.raises(BadInput) as raised:
        make(small(**QUICK, arms=SLOW, match="time"), tmp_path / "study")
    assert str(raised.value) == (
        "equal time: a step of slow takes 1.5 [1.4, 1.52] times that of vanilla: expected an interval within 3%, got 6.7% over "
        "12 rounds in 6 processes; let nothing else run on this machine, or give timing_rounds: 48"
    )
    assert not (tmp_path / "study" / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"match": ["time", "flops"]}, "match: expected parameters, time, flops or none, or a list"),
        ({"match": []}, "match: expected parameters, time, flops or none, or a list"),
        ({"match": "tme"}, "match: expected 'parameters' or 'time' or 'flops' or 'none' or list"),
        ({"match": "time", "equal_time": True}, "equal_time: every arm has as much time already, by match: time"),
        (
            {"match": "flops", "arms": {"vanilla": {}, "slow": {"train": {"steps": 9}}}},
            "arms.slow.train.steps: expected not to be given, since it matches the flops",
        ),
        (
            {"equal_time": True, "arms": {**SLOW, "vanilla,time=slow": {}}},
            "arms.vanilla,time=slow: expected another name, since equal_time makes an arm of it",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as raised:
        make(small(**{**QUICK, "arms": SLOW, **changes}), tmp_path / "study")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_damaged_calibration_is_named(tmp_path: Path, timed: list[Any]) -> None:
    study = small(**QUICK, arms=SLOW, match="time")
    make(study, tmp_path)
    (tmp_path / "calibration.json").write_text('{"a": {"ratio": 1}}')
    with pytest.raises(BadInput, match=r"calibration.json: damaged"):
        make(study, tmp_path)


def test_real_steps_are_timed_in_processes_of_their_own() -> None:
    """Without a fake: a step at many times the batch size takes longer."""
    base = small(**QUICK).base
    configs = {name: {**base, "train": {**base["train"], "batch_size": size}} for name, size in (("a", 4), ("b", 512))}
    told: list[tuple[int, int]] = []
    found = measuring.calibrate(configs, [("b", "a")], 6, 1, "cpu", lambda *facts: told.append(facts))["b", "a"]
    assert 1.5 < found.value < found.high
    assert found.low < found.value
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_an_arm_that_cannot_be_timed_is_named() -> None:
    base = small(**QUICK).base
    with pytest.raises(BadInput, match=r"^arms\.a\.train\.batch_size: expected"):
        measuring.calibrate({"a": {**base, "train": {**base["train"], "batch_size": 0}}}, [("a", "a")], 6, 1, "cpu")


def test_an_arm_with_other_layers_can_be_timed() -> None:
    """Numbers of layers reach the process as numbers."""
    base = small(**QUICK).base
    arm = load_config({**base, "attn": {"layers": {0: {"name": "vanilla"}}}}).to_dict()
    assert measuring.calibrate({"a": arm}, [("a", "a")], 6, 1, "cpu")["a", "a"].value == 1


def test_code_of_an_arm_that_fails_while_it_is_timed_is_named() -> None:
    def broken(steps: int) -> None:
        raise ValueError("no such step\nat all")

    words = r"^arms\.a: its steps cannot be timed: ValueError: no such step; lot --debug shows the traceback$"
    with pytest.raises(RunFailed, match=words):
        measuring.in_turns({"a": broken}, 1)
