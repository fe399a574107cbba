"""`lot study` with plugins that cheat: each is refused before any run, or stamped, whatever it declares."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import TINY, Lot

from lot.config.yaml import dump_yaml
from lot.plugins.registry import registry

PLUGIN = """
from lot import Component, hookimpl

ATTENTIONS = ("Oracle", "Alone", "Idle", "Idle2", "Scaled", "Hidden", "Carried", "Twice", "Estimated")

@hookimpl
def lot_attentions():
    return [Component(name=name.lower(), summary=name, factory=f"lot_cheats.parts:{name}", reference="A test")
            for name in ATTENTIONS]

@hookimpl
def lot_losses():
    return [Component(name="louder", summary="Three times cross-entropy.", factory="lot_cheats.parts:Louder",
                      replaces={"cross_entropy"}, reference="A test")]
"""
PARTS = '''
import torch
from lot import Attention, CrossEntropy
from lot.nn import Projections, attend


class Plain(Attention):
    """Vanilla attention without dropout."""

    def __init__(self, config, dims):
        super().__init__()
        self.heads = Projections(dims)

    def forward(self, x, ctx):
        q, k, v = self.heads.split(x, ctx.start)
        return self.heads.merge(attend(q, k, v, causal=True, padding=ctx.padding)), {}


class Oracle(Plain):
    """Adds the next token, and says that it is causal."""

    def forward(self, x, ctx):
        y, _ = super().forward(x, ctx)
        return y + torch.cat((x[:, 1:], torch.zeros_like(x[:, :1])), 1), {}


class Alone(Plain):
    """Maps each token by itself."""

    def forward(self, x, ctx):
        q, k, v = self.heads.split(x, ctx.start)
        return self.heads.merge(q + k + v), {}


class Idle(Plain):
    """Has a coupling that softmax cancels."""

    def __init__(self, config, dims):
        super().__init__(config, dims)
        self.coupling = torch.nn.Parameter(torch.ones(dims.heads))

    def forward(self, x, ctx):
        q, k, v = self.heads.split(x, ctx.start)
        y = attend(q, k, v, causal=True, padding=ctx.padding)
        return self.heads.merge(y + 0 * self.coupling[:, None, None]), {}


class Idle2(Idle):
    """The same, declared."""

    inert = frozenset({"coupling"})


class Scaled(Plain):
    """Its gradients grow by a hook, when a step of training adds them up."""

    def __init__(self, config, dims):
        super().__init__(config, dims)
        for p in self.heads.parameters():
            p.register_post_accumulate_grad_hook(grow)


def grow(p):
    p.grad.mul_(5)


class Hidden(Plain):
    """Keeps what training shows in buffers, and uses it in evaluation."""

    def __init__(self, config, dims):
        super().__init__(config, dims)
        self.register_buffer("seen", torch.zeros(dims.width, dims.width))

    def forward(self, x, ctx):
        y, _ = super().forward(x, ctx)
        if self.training:
            with torch.no_grad():
                flat = x.flatten(0, 1).to(self.seen)
                self.seen += 1e-3 * flat.T @ flat
            return y, {}
        return y + x @ self.seen.to(x), {}


class Carried(Hidden):
    """The same in a plain attribute, which no checkpoint has."""

    def __init__(self, config, dims):
        super().__init__(config, dims)
        del self.seen
        self.seen = torch.zeros(dims.width, dims.width)


class Twice(Plain):
    """Runs itself again."""

    def forward(self, x, ctx, again=True):
        y, _ = super().forward(x, ctx)
        return (y + self(y, ctx, again=False)[0] if again else y), {}


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx, g):
        return 2 * g


class Estimated(Plain):
    """A gradient that is an estimate, and says so."""

    straight_through = "rounding to eighths"

    def forward(self, x, ctx):
        y, _ = super().forward(x, ctx)
        return y + Rounded.apply(y), {}


class Louder(CrossEntropy):
    def __init__(self, config):
        super().__init__()

    def __call__(self, output, batch, ctx):
        return {"louder": 3 * super().__call__(output, batch, ctx)["cross_entropy"]}
'''


@pytest.fixture(autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The plugin `lot-cheats`, installed for this process; its sources."""
    site = tmp_path_factory.mktemp("site")
    package, info = site / "lot_cheats", site / "lot_cheats-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(PLUGIN)
    (package / "parts.py").write_text(PARTS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lot-cheats\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lot]\ncheats = lot_cheats.plugin\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("LOT_CACHE", str(tmp_path_factory.mktemp("cache")))
    registry.cache_clear()
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "lot_cheats"]:
        del sys.modules[name]
    registry.cache_clear()


def study(**arm: Any) -> str:
    """A study file of vanilla and one other arm."""
    base: dict[str, Any] = copy.deepcopy(TINY)
    base["model"]["dropout"] = 0.0
    base["train"] |= {"steps": 2, "eval_every": 2, "warmup": 1}
    content = {"base": base, "arms": {"vanilla": {}, "other": arm.pop("other")}, "seeds": 2, "metrics": ["loss"], **arm}
    Path("s.yaml").write_text(dump_yaml(content))
    return "s.yaml"


def attention(name: str) -> dict[str, Any]:
    return {"attn": {"name": name}}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("oracle", ["- attn (attention oracle), causal: forward: output before position 1", "allow_leak=true"]),
        ("alone", ["mixes positions: output at the last token", "it attends to nothing"]),
        ("idle", ["ablation: resampling coupling"]),
        ("carried", ["state: y of a fresh module that loaded the state"]),
    ],
)
def test_an_arm_whose_passport_fails_is_refused_before_any_run(lot: Lot, name: str, words: list[str]) -> None:
    done = lot("study", study(other=attention(name)))
    said = " ".join(done.stderr.split())
    assert done.returncode == 2, said
    assert all(word in said for word in ["arms.other:", f"lot plugins check lot-cheats:{name}", *words]), said
    assert not Path("studies").exists()


def test_the_command_of_a_refusal_shows_the_failure_again(lot: Lot) -> None:
    refused = lot("study", study(other=attention("idle"))).stderr
    words = refused.partition("lot plugins check ")[2].partition(")")[0].split()
    again = lot("plugins", "check", *words)
    assert again.returncode == 1
    assert "FAIL  ablation" in again.stdout


@pytest.mark.parametrize("table", [{"name": "oracle"}, {"name": "vanilla", "causal": False}])
def test_a_leak_that_is_allowed_runs_stamped_and_without_a_verdict(lot: Lot, table: dict[str, Any]) -> None:
    done = lot("study", study(other={"attn": table, "allow_leak": True}, differs={"allow_leak": "a test"}), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [c["verdict"] for c in result["comparisons"]] == ["leak"]
    assert "no verdict on other in loss, since other sees what it is asked to predict" in done.stderr
    assert result["fairness"]["leaks"] == ["other"]
    report = Path("studies/s/report.md").read_text()
    assert "| other | LEAK |" in report
    assert "LEAK: no verdict" in report


@pytest.mark.parametrize(
    ("other", "rule", "words"),
    [
        (attention("scaled"), "gradients", "the gradient of blocks.0.attention is 5 times the slope of the loss"),
        (attention("hidden"), "state", "an evaluation uses 512 numbers that training left in blocks.0.attention.seen"),
        (attention("hidden"), "parameters", "512 of them beside weights"),
        (attention("twice"), "passes", "2 forward passes for each micro-step, in the reference 1"),
        ({"losses": {"louder": {}}}, "objective", "the gradient of its objective on the logits is 3 times"),
    ],
)
def test_what_is_paid_for_elsewhere_is_stamped_unless_it_is_asked_for(
    lot: Lot, other: dict[str, Any], rule: str, words: str
) -> None:
    stamped = lot("study", study(other=other), "--json")
    assert stamped.returncode == 0, stamped.stderr
    result = json.loads(stamped.stdout)
    assert any(words in reason for reason in result["fairness"]["reasons"]), result["fairness"]["reasons"]
    assert not any(c["fair"] for c in result["comparisons"])
    asked = lot("study", study(other=other, differs={rule: "a test"}), "--json")
    found = json.loads(asked.stdout)["fairness"]
    assert any(words in one["difference"] for one in found["asked"])
    assert not any(words in reason for reason in found["reasons"])


def test_what_an_arm_declares_is_told_and_an_estimate_is_no_fault(lot: Lot) -> None:
    done = lot("study", study(other=attention("idle2")))
    assert done.returncode == 0, done.stderr
    report = Path("studies/s/report.md").read_text()
    assert "attn declares without effect: coupling" in report.partition("## What each arm is")[2]


def test_a_passport_is_made_once_for_equal_options_and_again_for_changed_sources(lot: Lot, plugin: Path) -> None:
    file = study(other=attention("idle2"))
    assert "(kept from before)" not in lot("study", file).stderr
    again = lot("study", file).stderr
    assert again.count("(kept from before)") == 2
    kept = json.loads(Path("studies/s/passport.json").read_text())["arms"]["other"]["parts"][0]
    assert kept["name"] == "idle2"
    assert kept["around"]["width"] == TINY["model"]["width"]
    (plugin / "parts.py").write_text(PARTS + "\n# edited\n")
    edited = lot("study", file).stderr
    assert edited.count("(kept from before)") == 1  # vanilla's


def test_a_passport_that_fails_later_takes_the_verdict_of_the_report_away(lot: Lot, plugin: Path) -> None:
    file = study(other=attention("idle2"), differs={"parameters": "a coupling"})
    assert lot("study", file).returncode == 0
    (plugin / "parts.py").write_text(PARTS.replace('inert = frozenset({"coupling"})', "pass"))
    _forget_parts()
    refused = lot("study", file)
    assert refused.returncode == 2
    assert "ablation: resampling coupling" in refused.stderr
    report = lot("study", file, "--report-only")
    assert report.returncode == 0
    assert "no verdict on other in loss, since the passport of other failed (attn, layer 0: gradients)" in report.stdout
    assert "found after its runs were made" in report.stdout


def test_damaged_passports_are_made_anew(lot: Lot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    file = study(other=attention("idle2"))
    assert lot("study", file).returncode == 0
    Path("studies/s/passport.json").write_text("{")
    entries = sorted((tmp_path / "cache" / "passports").glob("*.json"))
    assert len(entries) > 8
    for at, entry in enumerate(entries):
        content = json.loads(entry.read_text())
        if at % 2:
            content["content"]["key"] = "another"
        entry.write_text(entry.read_text()[:40] if at % 2 == 0 else json.dumps(content))
    again = lot("study", file)
    assert again.returncode == 0, again.stderr
    assert "kept from before" not in again.stderr
    assert json.loads(Path("studies/s/passport.json").read_text())["format"] == 1


def _forget_parts() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "lot_cheats"]:
        del sys.modules[name]
    registry.cache_clear()
