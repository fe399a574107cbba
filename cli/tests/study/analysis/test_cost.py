"""What an arm costs is counted again where the file that keeps it is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from study_support import RUN

from lot.config.load import load_config
from lot_cli.study.analysis.cost import cost_of, count_operations

pytest.importorskip("lot_tasks")


@pytest.mark.parametrize(
    "damaged",
    [{"uncounted": 3}, {"uncounted": [3]}, {"uncounted": "aten::mm"}, {"flops_per_token": "many"}, {"peak_bytes": []}],
)
def test_a_damaged_file_of_costs_is_made_again(tmp_path: Path, damaged: dict[str, Any]) -> None:
    config = load_config(RUN)
    first = cost_of([tmp_path / "run"], config, "cpu", 32)
    kept = tmp_path / "run.cost.json"
    sound = json.loads(kept.read_text())
    kept.write_text(json.dumps({**sound, **damaged}))
    again = cost_of([tmp_path / "run"], config, "cpu", 32)
    assert (
        (again.flops_per_token, again.uncounted)
        == (first.flops_per_token, first.uncounted)
        == (sound["flops_per_token"], [])
    )
    assert json.loads(kept.read_text()).keys() == sound.keys()


def test_what_an_earlier_rule_counted_is_kept(tmp_path: Path) -> None:
    kept = tmp_path / "run.cost.json"
    kept.write_text(json.dumps({"flops_per_token": 7, "peak_bytes": None}))
    cost = cost_of([tmp_path / "run"], load_config(RUN), "cpu", 32)
    assert (cost.flops_per_token, cost.uncounted) == (7, None)


def test_what_the_cache_holds_of_a_prefix_counts_nothing_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    tree = {**RUN, "model": {"width": 16, "heads": 2, "layers": 3}}
    plain, kept = (
        load_config(tree, overrides=["train.only=['blocks.2.*']", f"train.cache_prefix={value}"])
        for value in ("false", "true")
    )
    whole = count_operations(plain, "cpu")
    assert count_operations(kept, "cpu") == count_operations(kept, "cpu") == whole
