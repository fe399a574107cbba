"""`lot plugins check`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lot.plugins.discovery import Plugin
from lot_cli.commands.plugins_check import _check_plugin

LOSSES = """
from lot import IGNORED, Loss

class CalmLoss(Loss):
    def __init__(self, config): pass
    def __call__(self, output, batch, ctx):
        scored = batch.targets != IGNORED
        square = output.logits.float().square().mean(-1)
        return {"calm": square.masked_fill(~scored, 0.0).sum()}

class Broken(CalmLoss):
    def __call__(self, output, batch, ctx):
        raise ValueError("no calm")

class Nothing(CalmLoss):
    def __call__(self, output, batch, ctx):
        return {"calm": 0.0 * super().__call__(output, batch, ctx)["calm"].detach()}
"""
REGISTER = """
@hookimpl
def lot_losses():
    return [Component(name="{name}", summary="S.", factory="plug_calm.losses:{factory}", reference="{reference}")]
"""


@pytest.fixture
def loss(site: Path) -> Callable[..., None]:
    """Makes a loss the only component of lot-calm."""

    def register(factory: str, reference: str = "A book") -> None:
        (site / "plug_calm" / "losses.py").write_text(LOSSES)
        code = REGISTER.format(name="quiet", factory=factory, reference=reference)
        imports = "from lot import Component, hookimpl\n"
        (site / "plug_calm" / "plugin.py").write_text(imports + code)

    return register


@pytest.mark.parametrize("name", ["quiet", "lot-calm:quiet", "lot-calm", "plug_calm", "Lot_Calm"])
def test_a_good_component_passes(lot: Callable, loss: Callable, name: str) -> None:
    loss("CalmLoss")
    done = lot("plugins", "check", name)
    assert done.code == 0, done.out
    assert "quiet  loss of lot-calm\n  ok    description\n  ok    builds\n" in done.out
    assert done.out.splitlines()[-1].endswith(" 0 failed")
    whole = ":" not in name and name != "quiet"
    assert ("lot-calm 1.2  plug_calm.plugin\n  ok    loads\n  ok    imports no torch\n" in done.out) == whole


def test_a_bad_component_fails_with_what_is_wrong(lot: Callable, loss: Callable) -> None:
    loss("Nothing")
    done = lot("plugins", "check", "quiet")
    assert done.code == 1
    failed = [line for line in done.out.splitlines() if line.startswith("  FAIL")]
    assert failed
    assert done.out.splitlines()[-1].endswith(f" {len(failed)} failed")
    assert done.err == ""


def test_an_error_names_the_line_of_the_component_once_and_the_seed_that_repeats_it(
    lot: Callable, loss: Callable
) -> None:
    loss("Broken")
    done = lot("plugins", "check", "quiet", "--seed", "7")
    told = " ".join(done.out.split())
    assert done.code == 1
    assert told.count("no calm") == 1
    assert "losses.py:13, in __call__)" in told
    assert "8 further checks stopped at the same error as terms: " in told
    assert told.endswith("lot plugins check quiet --kind loss --seed 7 2 passed, 2 skipped, 9 failed")
    assert lot("plugins", "check", "quiet", "--seed", "-1").code == 2


def test_a_component_that_says_nothing_about_itself_fails(lot: Callable, loss: Callable) -> None:
    loss("CalmLoss", reference="")
    done = lot("plugins", "check", "quiet")
    assert done.code == 1
    assert "  FAIL  description\n        reference: missing\n" in done.out


def test_a_broken_distribution_fails(lot: Callable, site: Path) -> None:
    done = lot("plugins", "check", "lot-storm")
    assert done.code == 1
    assert "  FAIL  loads\n        did not load: ModuleNotFoundError" in done.out
    assert lot("plugins", "check", "lot-storm", "--kind", "task").out.splitlines()[:-1] == done.out.splitlines()[:-1]


def test_a_plugin_that_imports_torch_fails() -> None:
    plugin = Plugin(distribution="slow", version="1", entry_point="x", module="slow.plugin", imports_torch=True)
    assert [result.status for result in _check_plugin(plugin)] == ["ok", "FAIL"]


def test_an_unknown_name(lot: Callable, site: Path) -> None:
    done = lot("plugins", "check", "nothing")
    assert (done.code, done.out) == (2, "")
    assert "unknown component 'nothing'" in done.err
    done = lot("plugins", "check", "lot-calm", "--kind", "task")
    assert (done.code, done.out) == (2, "")


def test_a_component_that_needs_options_says_how_to_check_it(lot: Callable, site: Path) -> None:
    done = lot("plugins", "check", "calm", "--kind", "attention")
    assert done.code == 0, done.out
    told = " ".join(done.out.split())
    how = "from Python: lot.testing.examine(component, {'seed': ...})"
    assert f"skip behavior option seed has no default; {how}" in told


def test_defaults_that_their_own_bounds_refuse_fail(lot: Callable, site: Path) -> None:
    plugin = site / "plug_calm" / "plugin.py"
    plugin.write_text(plugin.read_text().replace("option(0.5, ge=0", "option(0.5, ge=1").replace("seed: int", "# seed"))
    done = lot("plugins", "check", "calm", "--kind", "attention")
    assert done.code == 1
    assert "  FAIL  default options\n        calm.strength: expected a number >= 1 and < 2, got 0.5\n" in done.out


def test_options_and_the_model_around_are_those_that_are_set(lot: Callable) -> None:
    done = lot(
        "plugins", "check", "vanilla", "--set", "attn.causal=false", "--set", "dims.width=8", "--set", "dims.heads=2"
    )
    assert done.code == 0, done.out
    assert "  skip  causal: forward\n        it is built non-causal, and says so" in done.out
    assert lot("plugins", "check", "adamw", "--set", "optim.weight_decay=0.5").code == 0
    assert lot("plugins", "check", "cross_entropy", "--set", "losses.cross_entropy.label_smoothing=0.1").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vanilla", "--set", "coupling=1"], "--set: expected attn.OPTION=VALUE or dims.NAME=VALUE, got 'coupling=1'"),
        (["vanilla", "--set", "attn.caussal=true"], "vanilla.caussal: unknown option; did you mean 'causal'?"),
        (["vanilla", "--set", "dims.widths=8"], "--set dims.widths: expected one of width, heads, max_len"),
        (["vanilla", "--set", "dims.width=wide"], "--set dims.width: expected a value like 64, got 'wide'"),
        (["vanilla", "--set", "dims.heads=0"], "--set dims.heads: expected a number that a model can have, got 0"),
        (["vanilla", "--set", "dims.layer=3"], "--set dims.layer: expected from 0 to 2, one of 3 layers, got 3"),
        (["vanilla", "--set", "dims.positions=some"], "--set dims.positions: expected learned or rotary or none"),
        (["adamw", "--set", "dims.width=8"], "--set: expected optim.OPTION=VALUE, got 'dims.width=8'"),
        (
            ["adamw", "--device", "cuda"],
            "--device: expected cpu, where the kit checks one of kind optimizer, got 'cuda'",
        ),
        (["lot-core", "--set", "attn.causal=true"], "--set: expected one component that the kit checks, got"),
    ],
)
def test_a_setting_that_a_component_does_not_have_is_refused(lot: Callable, words: list[str], said: str) -> None:
    done = lot("plugins", "check", *words)
    assert done.code == 2
    assert said in " ".join(done.err.split())
