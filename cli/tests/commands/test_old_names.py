"""Names that were changed: the command that a user types says the new one, in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

RUN = ["run", "--task", "copy_reverse", "--print-config"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--attn", "lattice", "--set", "attn.neighbourhood=moore"],
            "attn.neighbourhood: unknown option; did you mean 'neighborhood'?",
        ),
        (
            ["--attn", "interference", "--set", "attn.normalise=row"],
            "attn.normalise: unknown option; did you mean 'normalize'?",
        ),
        (
            ["--attn", "lattice", "--set", "attn.score=neighbours"],
            "attn.score: expected 'phase' or 'neighbors' or 'head' (did you mean 'neighbors'?), got 'neighbours'",
        ),
    ],
)
def test_an_old_option_answers_with_the_new_one(lot: Callable, arguments: list[str], said: str) -> None:
    done = lot(*RUN, *arguments)
    assert (done.code, done.out, done.err) == (2, "", f"error: {said}\n")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("{name: lattice, neighbourhood: moore}", "attn.neighbourhood: unknown option; did you mean 'neighborhood'?"),
        ("{name: interference, normalise: row}", "attn.normalise: unknown option; did you mean 'normalize'?"),
    ],
)
def test_so_does_a_file(lot: Callable, table: str, said: str) -> None:
    Path("run.yaml").write_text(f"task: {{name: copy_reverse}}\nattn: {table}\n")
    done = lot("run", "--config", "run.yaml", "--print-config")
    assert (done.code, done.out, done.err) == (2, "", f"error: {said}\n")


def test_an_old_hook_answers_with_the_new_one(lot: Callable, site: Path) -> None:
    plugin = site / "plug_calm" / "plugin.py"
    plugin.write_text(plugin.read_text().replace("def lot_attentions", "def lot_attention"))
    said = "unknown hook 'lot_attention'; did you mean 'lot_attentions'?"
    done = lot("plugins")
    assert f"  {said}" in done.out.splitlines()
    assert "loss        calm" in done.out  # the other hooks still count
    done = lot("plugins", "check", "lot-calm")
    assert done.code == 1
    assert f"  FAIL  loads\n        {said}\n" in done.out
