"""`lot run` with a plugin that cheats: it is refused or ended by what is measured, whatever it declares."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import TINY, Lot, sets

from lot.plugins.registry import registry

PLUGIN = '''
import attrs
from lot import Component, hookimpl, option


@attrs.frozen(kw_only=True)
class Options:
    """When and how much of the next token is added."""

    share: float = option(0.0, help="of what comes next")
    of_batch: float = option(0.0, help="of the mean over the batch")
    after: int = option(0, help="optimizer steps")


@hookimpl
def lot_attentions():
    return [Component(name="oracle", summary="Adds what comes next, and says that it is causal.",
                      factory="lot_cheat.parts:Oracle", config=Options)]


@hookimpl
def lot_diagnostics():
    return [Component(name="peek", summary="Trains on the test split.", factory="lot_cheat.parts:Peek")]
'''
PARTS = """
import torch
from lot import Attention, Diagnostic


class Oracle(Attention):
    causal = True

    def __init__(self, config, dims):
        super().__init__()
        self.config = config
        self.out = torch.nn.Linear(dims.width, dims.width)

    def forward(self, x, ctx):
        later = torch.cat((x[:, 1:], torch.zeros_like(x[:, :1])), dim=1)
        y = self.out(x) + (ctx.step >= self.config.after) * (
            self.config.share * later + self.config.of_batch * x.mean(0, keepdim=True)
        )
        return y, {}


class Peek(Diagnostic):
    def __init__(self, config):
        pass

    def measure(self, probe):
        batch = probe.task.batch("test", 0, 4)
        return {"seen": batch.inputs.float().mean()}
"""


@pytest.fixture(autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plugin `lot-cheat`, installed for this process."""
    site = tmp_path_factory.mktemp("site")
    package, info = site / "lot_cheat", site / "lot_cheat-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(PLUGIN)
    (package / "parts.py").write_text(PARTS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lot-cheat\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lot]\ncheat = lot_cheat.plugin\n")
    monkeypatch.syspath_prepend(str(site))
    registry.cache_clear()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "lot_cheat"]:
        del sys.modules[name]
    registry.cache_clear()


RUN = ["run", "--task", "copy_reverse", "--attn", "oracle", "--run-dir", "r", *sets(TINY)]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("attn.share=1.0", ["attn: layer 0: attention oracle sees what it is asked to predict", "position"]),
        ("attn.of_batch=0.1", ["attn: layer 0: attention oracle", "other sequences of its batch"]),
    ],
)
def test_an_attention_that_says_causal_and_is_not_is_refused(lot: Lot, option: str, words: list[str]) -> None:
    done = lot(*RUN, "--set", option)
    said = " ".join(done.stderr.split())
    assert done.returncode == 2, said
    assert all(word in said for word in [*words, "allow_leak=true"]), said
    assert not Path("r").exists()


def test_a_leak_that_opens_later_ends_the_run(lot: Lot) -> None:
    done = lot(*RUN, "--set", "attn.share=1.0", "--set", "attn.after=10")
    said = " ".join(done.stderr.split())
    assert done.returncode == 3, said
    assert "stopped at step 16: layer 0: attention oracle" in said
    assert "the last good checkpoint is r/checkpoints/step_00000012" in said
    assert json.loads(Path("r/run.json").read_text())["leak_probe"]["status"] == "leak"


def test_a_leak_that_is_allowed_is_marked_wherever_the_run_is_shown(lot: Lot) -> None:
    done = lot(*RUN, "--set", "attn.share=1.0", "--set", "allow_leak=true", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["leak"] is True
    assert json.loads(Path("r/metrics.json").read_text())["leak_probe"]["layer"] == 0
    assert "LEAK" in lot("eval", "r").stdout


def test_the_same_attention_without_a_leak_passes(lot: Lot) -> None:
    done = lot(*RUN, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["leak"] is False
    assert json.loads(Path("r/run.json").read_text())["leak_probe"]["status"] == "passed"


def test_a_diagnostic_that_reads_the_test_split_ends_the_run(lot: Lot) -> None:
    done = lot(*RUN, "--set", "diagnostics.peek.every=5")
    assert done.returncode == 3
    assert "diagnostic peek asked for the test split" in " ".join(done.stderr.split())


@pytest.mark.parametrize("attention", sorted(set(registry().names("attention")) - {"oracle"}))
def test_every_attention_that_is_installed_passes(lot: Lot, attention: str) -> None:
    changed = {"model": {"width": 32, "positions": "learned", "dropout": 0}, "train": {"steps": 2}}
    done = lot("run", "--task", "copy_reverse", "--attn", attention, "--run-dir", "r", *sets(TINY), *sets(changed))
    assert done.returncode == 0, done.stderr
    facts = json.loads(Path("r/run.json").read_text())
    assert (facts["leak"], facts["memory"]) == (False, [])
    assert facts["leak_probe"]["status"] in ("passed", "rounding")
    assert facts["leak_probe"]["largest"] <= 1e-3
