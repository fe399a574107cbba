"""The harness of benchmarks: what it counts, what it concludes, and what it refuses."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from lot.errors import BadInput
from lot_cli.bench import Case
from lot_cli.bench.harness import Measured, judge, measure, median_interval, peak_bytes
from lot_cli.bench.page import PAGE, page
from lot_cli.commands.bench import line


def judged(ratios: list[float], **claim: float) -> Measured:
    """What is concluded from pairs in which the candidate takes 1 s and the baseline so many (or the reverse)."""
    case = Case(name="c", candidate=list, baseline=list, baseline_name="b", **claim)  # type: ignore[arg-type]
    return judge(case, [[(1.0, ratio) if "speedup" in claim else (ratio, 1.0) for ratio in ratios]])


def measured(case: Case, **how: float) -> Measured:
    """The case as this process measures it."""
    return judge(case, [measure(case, **how)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ratios", "claim", "verdict"),
    [
        ([5.0] * 11, {"speedup": 4.0}, "holds"),
        ([5.0] * 11, {"speedup": 6.0}, "fails"),
        ([*[3.0] * 5, *[5.0] * 6], {"speedup": 4.0}, "open"),
        ([1.02] * 11, {"cost": 1.05}, "holds"),
        ([1.08] * 11, {"cost": 1.05}, "fails"),
        ([*[1.04] * 5, *[1.06] * 6], {"cost": 1.05}, "open"),
        ([1.02] * 11, {}, None),
    ],
)
def test_a_claim_holds_or_fails_only_with_its_whole_interval(
    ratios: list[float], claim: dict[str, float], verdict: str | None
) -> None:
    found = judged(ratios, **claim)
    assert found.verdict == verdict
    assert found.ratio == sorted(ratios)[5]


def test_no_ratio_is_printed_whose_spread_is_larger_than_what_it_claims() -> None:
    wide = judged([0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4], cost=1.05)
    assert not wide.decided
    assert line(wide).startswith("c: undecided, ratio somewhere in 0.7 to 1.4;")
    assert "x of it" not in line(wide)
    narrow = judged([0.99, 1.0, 1.01] * 5, cost=1.05)
    assert narrow.decided
    assert "c: 1x of it (0.99 to 1.01, 15 pairs)" in line(narrow)
    assert "claim <= 1.05x: holds" in line(narrow)


@pytest.mark.parametrize("n", [6, 9, 12])
def test_the_interval_of_the_median_has_the_widest_ranks_that_cover_95_percent(n: int) -> None:
    """The median lies between ranks a and b unless a or fewer, or n - b + 1 or fewer, of n fair coins fall on one side."""

    def coverage(rank: int) -> float:
        return sum(math.comb(n, k) for k in range(rank, n - rank + 1)) / 2**n

    low, high = median_interval([float(i) for i in range(n)])
    rank = int(low) + 1
    assert high == n - rank
    assert coverage(rank) >= 0.95
    assert coverage(rank + 1) < 0.95


def test_too_few_pairs_give_their_whole_range() -> None:
    assert median_interval([1.0, 2.0, 9.0]) == (1.0, 9.0)
    assert all(median_interval(list(pair)) == pair for pair in combinations((1.0, 2.0, 3.0), 2))


def test_pairs_are_measured_and_the_slower_is_told() -> None:
    a, b = torch.randn(20, 20), torch.randn(400, 400)
    found = measured(Case(name="c", candidate=lambda: a @ a, baseline=lambda: b @ b, baseline_name="b"), seconds=0)
    assert found.pairs == 11
    assert found.ratio < 0.5


def test_waiting_costs_time_of_the_wall_but_none_of_the_cpu() -> None:
    wait = partial(time.sleep, 0.05)
    wall, cpu = (
        measured(
            Case(name="c", candidate=wait, baseline=list, baseline_name="b", clock=clock),  # type: ignore[arg-type]
            seconds=0.0,
            min_pairs=1,
        )
        for clock in ("wall", "cpu")
    )
    assert wall.candidate >= 0.05
    assert cpu.candidate < 0.02


def test_a_case_may_measure_its_pairs_itself() -> None:
    baselines = iter(range(1, 100))
    case = Case(name="x", pair=lambda: (1.0, next(baselines) * 1.0), baseline_name="y", cost=1)
    found = measured(case, seconds=0.0)
    assert found.samples == [[(1.0, float(b)) for b in range(1, 12)]]
    assert (found.candidate, found.baseline) == (1, 6)
    assert found.verdict == "holds"


def test_a_case_may_count_bytes_itself() -> None:
    found = measured(Case(name="x", what="memory", pair=lambda: (10.0, 40.0), baseline_name="y"))
    assert (found.candidate, found.baseline, found.ratio, found.pairs) == (10.0, 40.0, 0.25, 1)


@pytest.mark.parametrize("sides", [(), ("candidate",), ("baseline",), ("candidate", "baseline", "pair")])
def test_a_case_has_two_callables_or_one_that_measures_pairs(sides: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="expected a candidate and a baseline, or a pair"):
        Case(name="x", baseline_name="y", **dict.fromkeys(sides, lambda: None))


def test_peak_memory_counts_what_is_held_at_a_time() -> None:
    megabyte = 1 << 20

    def one_after_the_other() -> None:
        for _ in range(5):
            torch.empty(megabyte, dtype=torch.uint8)

    def together() -> list[torch.Tensor]:
        return [torch.empty(megabyte, dtype=torch.uint8) for _ in range(5)]

    assert peak_bytes(one_after_the_other) == megabyte
    assert peak_bytes(together) == 5 * megabyte


BENCHMARK = """
from lot_cli.bench import Case
def cases():
    for name in ("first", "second"):
        yield Case(name=name, candidate=lambda: sum(range(10)), baseline=lambda: sum(range(1000)), baseline_name="long sum",
                   speedup=2)
"""


UNEVEN = """
import os
from lot_cli.bench import Case
ratio = 1 + os.getpid() % 7 / 100  # as a process is faster or slower than the next, and steady in itself
def cases():
    yield Case(name="uneven", pair=lambda: (ratio, 1.0), baseline_name="even", cost=1.01)
    yield Case(name="bytes", what="memory", pair=lambda: (2.0, 1.0), baseline_name="even")
"""


def test_the_interval_holds_what_differs_between_processes(lot: Callable) -> None:
    Path("uneven.py").write_text(UNEVEN)
    one = json.loads(lot("bench", "uneven.py", "--seconds", "0", "--processes", "1", "--json").out)["cases"][0]
    assert one["low"] == one["high"]
    done = lot("bench", "uneven.py", "--seconds", "0", "--processes", "4", "--json", "--out", "results")
    assert done.code == 0
    many, memory = json.loads(done.out)["cases"]
    medians = [process[0][0] / process[0][1] for process in many["samples"]]
    assert len(medians) == many["processes"] == 4
    assert many["pairs"] == 12
    logs = np.log(medians)
    low, high = stats.t.interval(0.95, 3, logs.mean(), stats.sem(logs)) if len(set(medians)) > 1 else [logs[0]] * 2
    assert [many["ratio"], many["low"], many["high"]] == pytest.approx(np.exp([logs.mean(), low, high]).tolist())
    assert "12 pairs in 4 processes" in done.err or "undecided" in done.err
    assert (memory["ratio"], memory["pairs"], memory["processes"]) == (2.0, 1, 1)
    assert ", 4 processes." in Path("results/RESULTS.md").read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("os._exit(3)", "ended without an answer: exit code 3"),
        ("os._exit(0)", "ended without an answer: exit code 0"),
        ("raise SystemExit(0)", "once.py:6: SystemExit: 0; lot --debug shows the traceback"),
        ("raise ValueError('broken here')", "once.py:6: ValueError: broken here; lot --debug shows the traceback"),
        ("from lot.errors import BadInput\n    raise BadInput('no such thing here')", "error: no such thing here"),
        (
            "yield Case(name='other', candidate=list, baseline=list, baseline_name='b')",
            "gives other cases in another process",
        ),
    ],
)
def test_a_process_that_fails_is_told_in_one_line(lot: Callable, text: str, words: str) -> None:
    Path("once.py").write_text(
        "import os\nfrom lot_cli.bench import Case\ndef cases():\n"
        "  yield Case(name='c', candidate=list, baseline=list, baseline_name='b')\n"
        f"  if os.getpid() != {os.getpid()}:\n    {text}\n"
    )
    done = lot("bench", "once.py", "--seconds", "0")
    assert done.code in (2, 3)
    assert words in done.err
    assert "Traceback" not in done.err


FAULTS = {
    "candidate=lambda: 1 / 0, baseline=list": (
        3,
        "faulty.py:3: ZeroDivisionError: division by zero; lot --debug shows",
    ),
    "candidate=lambda: exit(0), baseline=list": (3, "faulty.py:3: SystemExit: 0; lot --debug shows the traceback"),
    "pair=lambda: (0.0, 1.0)": (2, "case c: expected two finite numbers above 0, of the candidate and of its baseline"),
    "pair=lambda: (1.0, float('nan'))": (2, "got (1.0, nan)"),
    "pair=lambda: None": (2, "got None"),
    "pair=lambda: 'no'": (2, "got 'no'"),
}


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(("sides", "code", "words"), [(sides, *told) for sides, told in FAULTS.items()])
def test_a_case_that_cannot_be_measured_is_told_alike(
    sides: str, code: int, words: str, processes: str, lot: Callable
) -> None:
    Path("faulty.py").write_text(
        f"from lot_cli.bench import Case\ndef cases():\n  yield Case(name='c', baseline_name='b', {sides})\n"
    )
    done = lot("bench", "faulty.py", "--seconds", "0", "--processes", processes)
    assert done.code == code
    assert words in done.err
    assert "Traceback" not in done.err
    if code == 3:
        assert "in <lambda>" in lot("--debug", "bench", "faulty.py", "--seconds", "0", "--processes", processes).err


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_benchmark_may_print_change_the_directory_and_count_with_numpy(processes: str, lot: Callable) -> None:
    Path("elsewhere").mkdir()
    Path("loud.py").write_text(
        "import os\nimport numpy as np\nfrom lot_cli.bench import Case\nprint('begun')\n"
        "os.chdir(os.path.join(os.path.dirname(__file__), 'elsewhere'))\n"
        "def cases():\n"
        "  yield Case(name='c', baseline_name='b', pair=lambda: (print('x'), (np.float32(2), np.float32(1)))[1])\n"
    )
    here = Path.cwd()
    try:
        done = lot("bench", "loud.py", "--seconds", "0", "--processes", processes, "--json", "--out", "results")
    finally:
        os.chdir(here)
    assert done.code == 0, done.err
    assert json.loads(done.out)["cases"][0]["ratio"] == 2.0
    assert "begun" in done.err
    assert [each.name for each in Path("results").glob("loud-*.json")]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a process does not know that its parent is gone")
def test_no_process_measures_on_for_one_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(
        "import os, time\ndef answer(question):\n"
        "  open('pid.part', 'w').write(str(os.getpid()))\n  os.rename('pid.part', 'pid')\n  time.sleep(60)\n"
    )
    asks = "from lot_cli.bench.process import ask_new_process; ask_new_process('sleeper', {})"
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    parent = subprocess.Popen([sys.executable, "-c", asks], cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths})
    try:
        until(lambda: (tmp_path / "pid").exists())
    finally:
        parent.kill()
        parent.wait()
    until(lambda: ended(int((tmp_path / "pid").read_text())))


def until(true: Callable[[], bool]) -> None:
    """Wait, but not for ever."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def ended(pid: int) -> bool:
    """Whether a process is gone, or a child that nobody has asked for its exit code yet."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return not state.strip() or state.startswith("Z")


def test_results_are_kept_with_machine_versions_and_date(lot: Callable) -> None:
    Path("sums.py").write_text(BENCHMARK)
    Path("results").mkdir()
    for other in ("README.md", "package.json"):  # what a folder may hold already
        Path("results", other).write_text("mine")
    done = lot("bench", "sums.py", "--only", "second", "--seconds", "0", "--out", "results")
    assert done.code == 0
    assert all(Path("results", other).read_text() == "mine" for other in ("README.md", "package.json"))
    assert "second: " in done.err
    assert "first" not in done.err
    (file,) = Path("results").glob("*-*.json")
    document = json.loads(file.read_text())
    assert file.name == f"sums-{'gpu' if torch.cuda.is_available() else 'cpu'}.json"
    assert document["environment"]["torch"] == torch.__version__
    assert document["date"]
    (case,) = document["cases"]
    assert (case["name"], case["verdict"], case["pairs"], case["processes"]) == ("second", "holds", 15, 5)
    table = Path("results/RESULTS.md").read_text()
    assert "## sums\n" in table
    assert (
        f"| second | long sum | {case['ratio']:.3g} | {case['low']:.3g} to {case['high']:.3g} | >= 2x faster | holds |"
        in table
    )


def test_a_benchmark_may_define_dataclasses(lot: Callable) -> None:
    size = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Size:\n    T: int\n"
    )
    Path("sizes.py").write_text(size + BENCHMARK)
    assert lot("bench", "sizes.py", "--only", "first", "--seconds", "0").code == 0


def test_the_page_of_this_repository_is_that_of_its_results() -> None:
    results = Path(__file__).parents[3] / "benchmarks/results"
    if not results.is_dir():
        pytest.skip("needs the source tree")
    assert page(results) == (results / PAGE).read_text()


def test_a_selection_of_nothing_is_refused_and_keeps_what_was_measured(lot: Callable) -> None:
    Path("sums.py").write_text(BENCHMARK)
    Path("kept").mkdir()
    Path("kept/sums-cpu.json").write_text("mine")
    with pytest.raises(BadInput, match="no result of lot bench"):
        page(Path("kept"))
    done = lot("bench", "sums.py", "--only", "third", "--seconds", "0", "--out", "kept")
    assert done.code == 2
    assert "--only: expected a part of one of the names first, second, got third" in done.err
    assert Path("kept/sums-cpu.json").read_text() == "mine"
    assert lot("bench", "sums.py", "--seconds", "0", "--out", "sums.py/x").code == 2
    Path("notes.md").write_text("x")
    assert "no such benchmark" in lot("bench", "notes.md").err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["absent.py", "no such benchmark"]),
        ("x = 1", ["absent.py", "define cases()"]),
        ("def cases(): return [1]", ["absent.py: cases() gives 1; define cases()"]),
        ("def cases(): return []", ["absent.py: cases() gives no case"]),
    ],
)
def test_what_is_no_benchmark_is_refused(lot: Callable, text: str | None, words: list[str]) -> None:
    if text is not None:
        Path("absent.py").write_text(text)
    done = lot("bench", "absent.py")
    assert done.code == 2
    assert all(word in done.err for word in words)
