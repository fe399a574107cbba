"""A run measures whether its model sees what it is asked to predict; what an attention declares is not enough."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from kit_specimens.leaks import (
    Adding,
    BatchGradient,
    BatchMean,
    BatchNorm,
    CarriedState,
    DetachedLeak,
    ExcessiveTolerance,
    FiniteMask,
    GatedLeak,
    GradientLeak,
    Honest,
    NonCausal,
    Rounding,
    TrainingLeak,
    UndeclaredRounding,
)
from toy import toy_config
from training.specimen_runs import config_of, finished

from lot.contracts import IGNORED, Batch, Context, Dims
from lot.devices.processes import Team
from lot.errors import BadInput, RunFailed
from lot.options.declare import NoOptions
from lot.runs.directory import RunDir
from lot.runs.load import load_run
from lot.training.compose import compose
from lot.training.finding import Mode
from lot.training.parallel import Parallel
from lot.training.probe import LeakProbe
from lot.training.probe_inputs import Cuts, deviation, twins
from lot.training.probe_passes import Passes
from lot.training.train import train
from lot.training.trust import Trust


class NextToken(Honest):
    """Adds what comes next, and says that it is causal."""

    def forward(self, x: torch.Tensor, ctx: Context) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return torch.cat((x[:, 1:], torch.zeros_like(x[:, :1])), dim=1), {}


class OnePlaceLeak(Honest):
    """The last position but one sees the last one."""

    def forward(self, x: torch.Tensor, ctx: Context) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        y, signals = super().forward(x, ctx)
        return torch.cat((y[:, :-2], y[:, -2:-1] + x[:, -1:], y[:, -1:]), dim=1), signals


class EvaluationLeak(Adding):
    """Leaks in evaluation mode only."""

    def extra(self, x: torch.Tensor) -> torch.Tensor:
        return (0.0 if self.training else 1e-3) * x.mean(1, keepdim=True)


class LaterLeak(Honest):
    """Leaks from the third step on."""

    def forward(self, x: torch.Tensor, ctx: Context) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        y, signals = super().forward(x, ctx)
        return y + (ctx.step >= 3) * x.mean(1, keepdim=True), signals


class LastLayerLeak(Honest):
    """Leaks in the last layer only."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.share = 1e-2 if dims.layer == dims.layers - 1 else 0.0

    def forward(self, x: torch.Tensor, ctx: Context) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        y, signals = super().forward(x, ctx)
        return y + self.share * x.mean(1, keepdim=True), signals


class ByLength(Honest):
    """Turns every token by its place in the sequence at hand, and says so: at equal length, nothing later shows."""

    depends_on_length = True

    def forward(self, x: torch.Tensor, ctx: Context) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        angle = 2 * torch.pi * torch.arange(x.shape[1]) / x.shape[1]
        return super().forward(x * angle.cos()[:, None].to(x.dtype), ctx)

    def can_decode(self) -> bool:
        return False


class ByLengthLeak(ByLength):
    """Says the same, and sees the future beside."""

    def forward(self, x: torch.Tensor, ctx: Context) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        y, signals = super().forward(x, ctx)
        return y + 1e-3 * x.mean(1, keepdim=True), signals


class ReorderedSum(Adding):
    """As a choice of experts does: the order in which numbers are added depends on the batch, and no gradient does."""

    def extra(self, x: torch.Tensor) -> torch.Tensor:
        return 3e-7 * x.mean(1, keepdim=True).detach()


class Noisy(Adding):
    """Adds keyed noise from torch's generator in both modes, as a random phase would be."""

    def extra(self, x: torch.Tensor) -> torch.Tensor:
        return 0.1 * torch.randn_like(x)


class Unkeyed(Adding):
    """Adds noise that no key repeats, in which any leak could hide."""

    def extra(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.random.default_rng().standard_normal(x.shape)).to(x.dtype)


@pytest.mark.parametrize(
    ("attention", "words"),
    [
        (NextToken, ["layer 0", "position", "of the largest logit"]),
        (BatchMean, ["layer 0", "other sequences of its batch"]),
        (BatchNorm, ["layer 0", "training mode"]),
        (BatchGradient, ["layer 1", "gradient"]),
        (TrainingLeak, ["layer 0", "training mode"]),
        (EvaluationLeak, ["layer 0", "evaluation mode"]),
        (DetachedLeak, ["layer 0", "from position"]),
        (GradientLeak, ["layer 1", "gradient", "training mode"]),
        (FiniteMask, ["gradient"]),
        (LastLayerLeak, ["layer 1: attention specimen"]),
        (ExcessiveTolerance, ["layer 0"]),
        (UndeclaredRounding, ["sees what it is asked to predict"]),
        (ByLengthLeak, ["layer 0", "from position"]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_leak_is_refused_before_anything_is_started(attention: type, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        train(config_of(attention=attention), tmp_path / "x")
    told = str(refused.value)
    assert all(word in told for word in [*words, "allow_leak=true"]), told
    assert not (tmp_path / "x").exists()


def test_every_place_of_a_cut_takes_one_pass_over_the_batch_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 positions, 32 sequences: the batch, twins for all places, and training with its gradient, which equals evaluation."""
    made: list[str] = []
    original = Passes._pass

    def counted(self: Passes, model: object, ids: torch.Tensor, mode: Mode, precision: str) -> torch.Tensor:
        made.append(mode)
        return original(self, model, ids, mode, precision)

    monkeypatch.setattr(Passes, "_pass", counted)
    composition = compose(config_of("task.seq_len=64", "train.batch_size=32", attention=Honest))
    parallel = Parallel(composition.model, Team(0, 1, torch.device("cpu")), compiled=False)
    probe = LeakProbe(composition, parallel, "fp32")
    batch = composition.task.batch("train", 0, 32)
    assert probe.look(batch, 0, full=True, thorough=True).status == "passed"
    assert made == ["evaluation", "evaluation", "training", "evaluation"]
    made.clear()
    probe.look(batch, 0, full=True, thorough=False)
    assert made == ["evaluation", "evaluation", "training"]


@pytest.mark.parametrize("attention", [NextToken, BatchMean, GradientLeak], ids=lambda cls: cls.__name__)
def test_a_leak_that_is_allowed_is_recorded_wherever_the_run_is_read(attention: type, tmp_path: Path) -> None:
    config = config_of("allow_leak=true", attention=attention)
    assert not compose(config).leak, "the attention says that it is causal"
    done = finished(config, tmp_path / "x")
    assert done.result.leak
    for document in (done.facts, done.final):
        assert document["leak"] is True
        assert document["leak_probe"]["status"] == "leak"
        assert document["leak_probe"]["largest"] > 0
    assert len([text for text in done.warnings if "marked as leaking" in text]) == 1


def test_a_recorded_leak_stays_with_the_model_that_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("allow_leak=true", attention=NextToken)
    train(config, tmp_path / "x")
    monkeypatch.setattr(RunDir, "config", lambda self: config)
    assert load_run(tmp_path / "x").leak
    assert train(config, tmp_path / "x", resume=True).leak, "a complete run is returned as it is"


@pytest.mark.parametrize(
    ("attention", "step"), [(LaterLeak, 4), (GatedLeak, 2)], ids=lambda v: getattr(v, "__name__", "")
)
def test_a_leak_that_appears_later_ends_the_run_at_the_next_validation(
    attention: type, step: int, tmp_path: Path
) -> None:
    with pytest.raises(
        RunFailed, match=rf"stopped at step {step}: layer 0: .*last good checkpoint is .*step_0000000{step - 1}"
    ):
        train(config_of(attention=attention), tmp_path / "x")
    run = RunDir(tmp_path / "x")
    assert run.status()["exit_code"] == 3
    assert run.facts()["leak"] is True
    assert run.facts()["leak_probe"]["step"] == step


def test_a_leak_that_appears_later_and_is_allowed_stamps_the_run(tmp_path: Path) -> None:
    done = finished(config_of("allow_leak=true", attention=LaterLeak), tmp_path / "x")
    assert done.result.leak
    assert done.facts["leak"] is True


def test_a_leak_between_the_last_validation_and_the_test_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trust, "at_validation", lambda self, step, last_good: None)
    with pytest.raises(RunFailed, match="stopped at step 6"):
        train(config_of(attention=LaterLeak), tmp_path / "x")
    assert not (tmp_path / "x/metrics.json").exists()


@pytest.mark.parametrize(
    ("attention", "overrides"),
    [
        (Honest, []),
        (Honest, ["model.dropout=0.3", "model.recompute=true", "model.tie=true", "train.accumulate=2"]),
        (Honest, ["train.batch_size=1"]),
        (Honest, ["model.positions=learned", "losses.cross_entropy.label_smoothing=0.1"]),
        (Rounding, []),
        (ByLength, []),
        (Noisy, ["model.dropout=0.1"]),
    ],
)
def test_a_correct_design_raises_no_alarm(attention: type, overrides: list[str], tmp_path: Path) -> None:
    done = finished(config_of(*overrides, attention=attention), tmp_path / "x")
    assert done.warnings == []
    assert done.facts["leak"] is False
    assert done.facts["memory"] == []
    assert done.facts["leak_probe"]["status"] == "passed"
    assert done.final["leak_probe"]["step"] == 6, "it was measured to the end"


def test_rounding_is_told_with_its_size_and_is_no_leak(tmp_path: Path) -> None:
    done = finished(config_of(attention=ReorderedSum), tmp_path / "x")
    assert done.facts["leak"] is False
    assert done.facts["leak_probe"]["status"] == "rounding"
    assert 0 < done.facts["leak_probe"]["largest"] <= 1e-5
    assert len(done.warnings) == 1
    assert "no gradient" in done.warnings[0]


def test_noise_in_which_a_leak_could_hide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="two equal passes with equal noise differ by"):
        train(config_of(attention=Unkeyed), tmp_path / "x")


def test_on_a_task_that_is_not_causal_only_the_members_of_a_batch_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toy.Toy.causal", False)
    done = finished(config_of(attention=NonCausal), tmp_path / "x")
    assert done.facts["leak"] is False
    assert done.facts["leak_probe"]["status"] == "not_causal_task"
    with pytest.raises(BadInput, match="other sequences of its batch"):
        train(config_of(attention=BatchMean), tmp_path / "y")


@pytest.mark.parametrize("attention", [Honest, BatchNorm, CarriedState], ids=lambda cls: cls.__name__)
def test_the_probe_changes_no_bit_of_training(attention: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("model.dropout=0.2", "allow_leak=true", attention=attention)
    train(config, tmp_path / "probed")
    for name in ("before_training", "at_validation", "before_test"):
        monkeypatch.setattr(Trust, name, lambda self, *arguments: None)
    train(config, tmp_path / "plain")
    for file in ("metrics.jsonl", "checkpoints/step_00000006/model.safetensors"):
        assert (tmp_path / "probed" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()


def test_a_probe_leaves_generators_modes_buffers_and_gradients_alone() -> None:
    composition = compose(config_of("allow_leak=true", attention=BatchNorm))
    parallel = Parallel(composition.model, Team(0, 1, torch.device("cpu")), compiled=False)
    model = parallel.model.train()

    def everything() -> list[object]:
        generators = [torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()]
        return [
            *generators,
            model.want,
            [m.training for m in model.modules()],
            [p.grad for p in model.parameters()],
            [(id(b), b.tolist()) for b in model.buffers()],
            [len(m._forward_hooks) for m in model.modules()],
        ]

    before = everything()
    LeakProbe(composition, parallel, "fp32").look(composition.task.batch("train", 0, 8), 0, full=True, thorough=True)
    assert everything() == before


# What a probe feeds the model


def test_twins_agree_before_the_cuts_and_nowhere_after() -> None:
    inputs = torch.randint(0, 7, (16, 33), generator=torch.Generator().manual_seed(0))
    padding = torch.zeros(16, 33, dtype=torch.bool)
    padding[:, 30:] = True
    cuts = Cuts(inputs, np.random.default_rng(1))
    pair = twins(Batch(inputs, inputs, padding), 7, cuts, np.random.default_rng(0))
    before = torch.arange(33) < pair.cuts[:, None]
    assert torch.equal(pair.inputs == inputs, before)
    assert torch.equal(pair.kept, before & ~padding)
    assert int((pair.cuts == 33).sum()) == 4
    assert len(set(pair.cuts.tolist())) == 13, "each sequence that is cut has its own cut"
    assert int(pair.cuts.min()) >= 1


def test_every_place_is_cut_once_and_those_before_scored_targets_first() -> None:
    targets = torch.full((4, 12), IGNORED)
    targets[:, 7:10] = 1
    cuts = Cuts(targets, np.random.default_rng(0))
    assert set(cuts.take(3).tolist()) == {8, 9, 10}
    assert cuts.untried == 8
    assert set(cuts.take(8).tolist()) == {1, 2, 3, 4, 5, 6, 7, 11}
    assert cuts.untried == 0


def test_sequences_stay_uncut_where_that_costs_no_pass() -> None:
    def spared(rows: int, length: int = 64) -> int:
        return Cuts(torch.zeros(1, length, dtype=torch.int64), np.random.default_rng(0)).spared(rows)

    assert spared(32) == 1, "63 places and one sequence are two passes of 32"
    assert spared(40) == 10, "a quarter: two passes of 40 are more than enough"
    assert spared(128) == 32
    assert spared(2) == 1
    assert spared(1) == 0, "what is alone must be cut"


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("seed", range(4))
def test_a_leak_between_two_positions_alone_is_refused_before_training(
    seed: int, batch_size: int, tmp_path: Path
) -> None:
    config = config_of(f"train.batch_size={batch_size}", f"seed={seed}", attention=OnePlaceLeak)
    with pytest.raises(BadInput, match="sees what it is asked to predict"):
        train(config, tmp_path / "x")


def test_deviations_are_found_in_whatever_part_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lot.training.probe_inputs.CHUNK", 8)
    a = torch.zeros(5, 2, 4)
    a[0, 0, 0] = 2.0
    b = a.clone()
    b[3, 1, 2] = -1.0
    kept = torch.ones(5, 2, dtype=torch.bool)
    found = deviation(a, b, kept)
    assert (found.largest, found.scale, found.sequence, found.position) == (1.0, 2.0, 3, 1)
    a[4, 0, 0] = b[4, 0, 0] = torch.nan
    assert deviation(a, b, kept) == found, "what is not finite in both is equal"
    b[2, 0, 0] = torch.nan
    assert deviation(a, b, kept).largest == torch.inf
    kept[2] = kept[3] = False
    assert deviation(a, b, kept).largest == 0


def test_the_record_is_plain_json(tmp_path: Path) -> None:
    train(toy_config("train.steps=2"), tmp_path / "x")
    told = json.loads((tmp_path / "x/run.json").read_text())["leak_probe"]
    assert told == {"status": "passed", "largest": 0.0, "step": 2, "position": None, "layer": None, "mode": None}
