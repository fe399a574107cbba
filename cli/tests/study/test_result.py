"""The result as a file: the same after reading, results of before still read, and damage named by file and key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from invented_result import invented
from study_support import Made

from lot.devices.device import choose_device
from lot.errors import BadInput
from lot.runs.environment import environment
from lot_cli.study import Result, load_result
from lot_cli.study.report.html import to_html
from lot_cli.study.report.markdown import to_markdown
from lot_cli.study.report.terminal import show
from lot_cli.study.report.wording import conclusion
from lot_cli.study.result import Environment, OtherFormat
from lot_cli.study.result_file import save_result

STUDIES = Path(__file__).resolve().parents[3] / "benchmarks/results/studies"
KEPT = sorted(file for file in STUDIES.glob("*.json") if not file.stem.endswith(".registration"))


def holds(found: Any, expected: Any) -> bool:
    """Whether `found` has all that `expected` has; tables may have further keys."""
    if isinstance(expected, dict):
        return expected.keys() <= found.keys() and all(holds(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(holds, found, expected))
    return bool(found == expected)


def test_a_result_is_its_file(made: Made, tmp_path: Path) -> None:
    save_result(made.result, tmp_path / "study.json")
    assert load_result(tmp_path / "study.json") == made.result
    file = made.folder / "study.json"  # as the study left it
    read = load_result(file)
    assert read is not None
    assert read.to_dict() == json.loads(file.read_text())


def test_a_result_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        invented().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_results_of_this_repository_are_read_and_reported(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = load_result(file)
    assert result is not None
    kept = json.loads(file.read_text())
    earlier = kept["format"] == 1
    if earlier:
        del kept["format"]
        for comparison in kept["comparisons"]:
            comparison["p_adjusted"] = comparison.pop("p_holm")  # its name today
    assert holds(result.to_dict(), kept)
    assert (result.rule == "Holm") == earlier
    show(result)
    for form in (capsys.readouterr().out, to_markdown(result), to_html(result)):
        assert ("udged by the earlier rule" in form) == earlier
        for comparison in result.comparisons:
            assert conclusion(comparison) in form


def test_a_comparison_of_before_fairness_was_kept_has_that_of_the_whole() -> None:
    data = invented().to_dict()
    data["format"] = 1
    for comparison in data["comparisons"]:
        del comparison["fair"], comparison["against"]
        comparison["p_holm"] = comparison.pop("p_adjusted")
    data["fairness"]["fair"] = False
    assert not any(comparison.fair for comparison in Result.from_dict(data).comparisons)


DAMAGE: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda d: d.pop("reference"), "reference: required, but not given"),
    (lambda d: d.update(serious=1), "serious: unknown option; "),
    (lambda d: d["arms"]["wild"]["cost"].pop("peak_bytes"), "arms.wild.cost.peak_bytes: required, but not given"),
    (lambda d: d["runs"][3].update(stat="x"), "runs.3.stat: unknown option; did you mean 'state'?"),
    (lambda d: d["comparisons"][1].update(verdict="good"), "comparisons.1.verdict: expected 'better' or 'worse'"),
    (lambda d: d["claims"][0].pop("measured"), "claims.0.measured: required, but not given"),
    (lambda d: d["fairness"].update(budget=None), "fairness.budget: expected a table, got None"),
    (lambda d: d["fairness"]["matched"][1].pop("arm"), "fairness.matched.1.arm: required, but not given"),
    (lambda d: d["arms"]["wild"]["tuned"]["trials"].append(3), "arms.wild.tuned.trials.1: expected a table, got 3"),
    (lambda d: d["environment"]["plugins"]["lot-core"].pop("commit"), "environment.plugins.lot-core.commit: required"),
    (lambda d: d["registration"].update(hash=3), "registration.hash: expected str, got 3"),
    (lambda d: d.update(arms=[]), "arms: expected table, got []"),
]


@pytest.mark.parametrize(("damage", "line"), DAMAGE, ids=[line.partition(":")[0] for _, line in DAMAGE])
def test_a_damaged_file_is_told_in_one_line_with_its_key(
    tmp_path: Path, damage: Callable[[dict[str, Any]], Any], line: str
) -> None:
    data = invented().to_dict()
    damage(data)
    file = tmp_path / "study.json"
    file.write_text(json.dumps(data))
    with pytest.raises(BadInput) as raised:
        load_result(file)
    assert str(raised.value).startswith(f"{file}: damaged, {line}")
    assert str(raised.value).endswith("; remove it and run the study again; its runs are kept")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"format": 99}'])
def test_what_is_no_result_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "study.json"
    file.write_text(text)
    with pytest.raises(BadInput) as raised:
        load_result(file)
    assert str(raised.value).startswith(f"{file}: ")
    assert isinstance(raised.value, OtherFormat) == ("99" in text)


def test_no_file_is_no_result(tmp_path: Path) -> None:
    assert load_result(tmp_path / "study.json") is None
    save_result(invented(), tmp_path / "study.json")
    assert load_result(tmp_path / "study.json") == invented()


def test_the_environment_of_a_run_fits_that_of_a_result() -> None:
    recorded = environment(choose_device("cpu"))
    assert list(recorded) == [field.name for field in attrs.fields(Environment)]
    assert recorded["torch"] == torch.__version__
