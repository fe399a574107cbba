"""The engine: what a step is, what is recorded, what early stopping and the best checkpoint mean."""

from __future__ import annotations

import json
import math
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import toy_config

from lot.builtin.grad_norm import GradNorm
from lot.config.schedule import learning_rate_factor
from lot.config.schema import Config
from lot.contracts import Context, Output
from lot.errors import BadInput, Diverged, RunFailed
from lot.model.decoder import Decoder
from lot.model.measure import measure_split
from lot.runs.directory import RunDir
from lot.runs.environment import fingerprint
from lot.runs.load import load_run
from lot.storage import checkpoint
from lot.storage.folder import folder_of, saved_steps
from lot.training.best_validation import BestValidation
from lot.training.compose import compose
from lot.training.saving import Saving
from lot.training.train import train
from lot.training.trainer import Result, Trainer


def rows(folder: Path, split: str) -> list[dict[str, Any]]:
    return [row for row in RunDir(folder).rows() if row.get("split") == split]


def by_hand(config: Config) -> dict[str, torch.Tensor]:
    """The weights after training as a plain loop would do it."""
    composition = compose(config)
    model, task, s = composition.model.train(), composition.task, config.train
    optimizer = config.optim.component.create(config.optim.options, model)
    for step in range(s.steps):
        for group in optimizer.param_groups:
            factor = learning_rate_factor(step, s.steps, s.warmup, s.decay, s.min_lr_ratio)
            group["lr"] = config.optim.options.lr * factor
        for micro in range(s.accumulate):
            batch = task.batch("train", step * s.accumulate + micro, s.batch_size)
            logits = model(batch.inputs, Context()).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
            (loss / s.accumulate).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), s.clip)
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_engine_does_what_a_plain_loop_does(tmp_path: Path, accumulate: int) -> None:
    config = toy_config(f"train.accumulate={accumulate}", "train.clip=0.1")
    train(config, tmp_path / "x")
    saved = checkpoint.load(folder_of(tmp_path / "x/checkpoints", 12)).model
    for name, tensor in by_hand(config).items():
        torch.testing.assert_close(saved[name], tensor)


def test_it_learns_and_records(tmp_path: Path) -> None:
    config = toy_config("train.steps=150", "train.eval_every=50", "optim.lr=0.01")
    events: list[str] = []
    result = train(config, tmp_path / "x", report=lambda event, facts: events.append(event))
    assert result.metrics["loss"] < 0.1
    assert events[0] == "start"
    assert events[-2:] == ["test", "end"]
    folder = tmp_path / "x"
    assert [row["step"] for row in rows(folder, "train")] == list(range(3, 151, 3))
    assert [row["step"] for row in rows(folder, "validation")] == [50, 100, 150]
    assert json.loads((folder / "status.json").read_text())["state"] == "complete"
    assert json.loads((folder / "metrics.json").read_text())["metrics"] == result.metrics
    assert json.loads((folder / "run.json").read_text())["environment"]["torch"] == torch.__version__
    assert (folder / "best").resolve() == folder_of(folder.resolve() / "checkpoints", 150)
    assert list(folder.glob("events.out.tfevents*"))


def test_logged_losses_are_means_over_the_steps_between(tmp_path: Path) -> None:
    for name, every in (("each", 1), ("fifth", 5)):
        train(toy_config(f"train.log_every={every}"), tmp_path / name)
    each, fifth = ([row["loss"] for row in rows(tmp_path / name, "train")] for name in ("each", "fifth"))
    means = [sum(each[start:stop]) / (stop - start) for start, stop in ((0, 5), (5, 10), (10, 12))]
    assert fifth == pytest.approx(means, rel=1e-5)


def test_a_logged_loss_is_the_mean_over_micro_steps(tmp_path: Path) -> None:
    train(toy_config("train.accumulate=3", "train.steps=1", "train.log_every=1"), tmp_path / "x")
    assert rows(tmp_path / "x", "train")[0]["loss"] == pytest.approx(math.log(7), rel=0.05)


def test_noise_is_another_in_every_micro_step_and_the_same_in_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_step: list[bool] = []
    step = Trainer.train_step

    def noted(self: Trainer) -> None:
        in_step.append(True)
        step(self)
        in_step.clear()

    monkeypatch.setattr(Trainer, "train_step", noted)
    seeds: dict[str, list[int]] = {"one": [], "same": [], "other": []}
    for name, found in seeds.items():
        config = toy_config("train.accumulate=2", "train.steps=3", f"seed={int(name == 'other')}")

        def note(model: torch.nn.Module, _inputs: Any, found: list[int] = found) -> None:
            if model.training and in_step:
                found.append(torch.initial_seed())

        hook = torch.nn.modules.module.register_module_forward_pre_hook(
            lambda module, inputs, note=note: note(module, inputs) if isinstance(module, Decoder) else None
        )
        try:
            train(config, tmp_path / name)
        finally:
            hook.remove()
    assert len(set(seeds["one"])) == len(seeds["one"]) == 6
    assert seeds["one"] == seeds["same"]
    assert not set(seeds["one"]) & set(seeds["other"])


def test_the_best_checkpoint_is_kept_and_tested(tmp_path: Path) -> None:
    """With a rate that ruins what was learned, the best validation is not the last; test uses the best."""
    config = toy_config("train.steps=60", "optim.lr=0.03", "train.warmup=50", "train.decay=constant", "train.keep=2")
    config_best = toy_config("train.steps=60", "train.early_stop=3", "optim.lr=1.0", "train.decay=constant")
    for name, one in (("calm", config), ("wild", config_best)):
        result = train(one, tmp_path / name)
        found = rows(tmp_path / name, "validation")
        best = min(found, key=lambda row: row["loss"])
        assert result.best_step == best["step"]
        assert best["step"] in saved_steps(tmp_path / name / "checkpoints")
        assert json.loads((tmp_path / name / "metrics.json").read_text())["step"] == best["step"]
    assert result.step < 60, "early stopping stops"
    assert [row["step"] for row in found][-1] == result.best_step + 3 * 4


def test_a_best_checkpoint_that_was_damaged_is_not_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config("train.steps=60", "train.early_stop=3", "optim.lr=1.0", "train.decay=constant")
    finish = Trainer.finish

    def damaged(self: Trainer) -> Result:
        assert self.progress.best.step != self.step
        with (self.run.path / "best/model.safetensors").open("ab") as file:
            file.write(b"x")
        return finish(self)

    monkeypatch.setattr(Trainer, "finish", damaged)
    warnings: list[str] = []
    result = train(config, tmp_path / "x", report=lambda event, f: warnings.append(f["text"]) if "text" in f else None)
    assert json.loads((tmp_path / "x/metrics.json").read_text())["step"] == result.step
    assert len(warnings) == 1
    assert "is damaged (model.safetensors has" in warnings[0]
    assert warnings[0].endswith("testing the last weights instead")
    assert "set aside as .damaged-step_" in warnings[0]
    assert json.loads((tmp_path / "x/metrics.json").read_text())["weights"] == "last"


def test_evaluation_covers_every_example_once_whatever_the_batch() -> None:
    composition = compose(toy_config())
    options = {"device": torch.device("cpu"), "precision": "fp32", "step": 0}
    sizes = [measure_split(composition.model, composition.task, "test", batch_size=10, **options)["loss"]]  # type: ignore[arg-type]
    assert sizes[0] == pytest.approx(math.log(7), rel=0.05)

    class Counting:
        """Counts what the metrics are given."""

        seen = 0

        def to(self, device: object) -> Counting:
            return self

        def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
            assert logits.shape[:2] == targets.shape
            self.seen += len(targets)

        def compute(self) -> dict[str, float]:
            return {"seen": self.seen}

    for size, limit, expected in ((3, None, 10), (4, 7, 7), (10, 99, 10), (1, 1, 1)):
        composition.task.metrics = Counting  # type: ignore[method-assign, assignment]
        found = measure_split(composition.model, composition.task, "test", batch_size=size, limit=limit, **options)  # type: ignore[arg-type]
        assert found == {"seen": expected}


def test_evaluation_drops_nothing_and_hands_on_step_and_padding() -> None:
    composition = compose(toy_config("model.dropout=0.5"))
    model, task = composition.model.train(), composition.task
    padding = torch.zeros(10, task.seq_len, dtype=torch.bool)
    plain, seen = task.batch, []
    task.batch = lambda *arguments: plain(*arguments)._replace(padding=padding)  # type: ignore[method-assign]

    def forward(ids: torch.Tensor, ctx: Context) -> Output:
        seen.append((model.training, int(ctx.step), ctx.padding is padding))
        return model(ids, ctx)  # type: ignore[no-any-return]

    options = {"device": torch.device("cpu"), "precision": "fp32", "step": 7, "batch_size": 10}
    measure_split(model, task, "test", forward=forward, **options)  # type: ignore[arg-type]
    assert seen == [(False, 7, True)]
    assert model.training  # as it was


def test_a_diagnostic_changes_no_bit_of_training(tmp_path: Path) -> None:
    plain = toy_config("model.dropout=0.2")
    probed = toy_config("model.dropout=0.2", "diagnostics.grad_norm.every=1")
    for name, config in (("plain", plain), ("probed", probed)):
        train(config, tmp_path / name)
    files = [tmp_path / name / "checkpoints/step_00000012/model.safetensors" for name in ("plain", "probed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(list((tmp_path / "probed/snapshots/grad_norm").iterdir())) == 13


def test_an_alarm_remembers_what_was_measured_before_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[tuple[int, float]]] = []
    monkeypatch.setattr(
        GradNorm, "alarm", lambda self, records: seen.append([(r.step, float(r.values["total"])) for r in records])
    )
    config = toy_config("train.steps=6", "train.save_every=2", "diagnostics.grad_norm.every=1")
    train(config, tmp_path / "whole")
    whole = list(seen)
    cut_off(config, tmp_path / "cut", monkeypatch)
    seen.clear()
    train(config, tmp_path / "cut", resume=True)
    assert seen == whole[5:], "it resumes after step 4"


def cut_off(config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that fails after step 5, and can be resumed although the toy is not installed."""
    step = Trainer.train_step

    def failing(self: Trainer) -> None:
        if self.step == 5:
            raise RuntimeError
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", failing)
        with pytest.raises(RuntimeError):
            train(config, folder)
    monkeypatch.setattr(RunDir, "config", lambda self: config)


def test_a_resume_on_other_numerics_is_told_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config("train.steps=6", "train.save_every=2")
    told: dict[str, list[str]] = {"same": [], "other": []}
    for name, warnings in told.items():
        cut_off(config, tmp_path / name, monkeypatch)
        if name == "other":
            module = import_module("lot.training.trainer")
            monkeypatch.setattr(module, "fingerprint", lambda *facts: {**fingerprint(*facts), "threads": 99})

        def report(event: str, facts: dict[str, Any], warnings: list[str] = warnings) -> None:
            if event == "warning":
                warnings.append(facts["text"])

        assert train(config, tmp_path / name, resume=True, report=report).step == 6
    assert told["same"] == []
    threads = torch.get_num_threads()
    assert told["other"] == [f"resuming on other numerics or data, so bits may differ: threads was {threads}, is 99"]


def test_spikes_in_a_row_stop_the_run(tmp_path: Path) -> None:
    config = toy_config("train.steps=200", "train.spike_factor=1.01", "train.spike_limit=1", "optim.lr=1.0")
    with pytest.raises(RunFailed, match=r"diverged at step \d+: \d+ steps? in a row.*last good checkpoint is"):
        train(config, tmp_path / "x")
    assert RunDir(tmp_path / "x").status()["exit_code"] == 3


def test_zero_steps_evaluates_the_initial_model(tmp_path: Path) -> None:
    result = train(toy_config("train.steps=0"), tmp_path / "x")
    assert result.metrics["loss"] == pytest.approx(math.log(7), rel=0.05)


def test_best_tells_ties_by_the_loss_and_forgets_nan() -> None:
    best = BestValidation()
    assert best.update(1, float("nan"), True, 1.0)
    assert best.update(2, 0.5, True, 1.0)
    assert not best.update(3, 0.5, True, 1.0)
    assert not best.update(4, float("nan"), True, 0.1)
    assert best.stale_for(2)
    assert best.update(5, 0.5, True, 0.9)
    assert not best.stale_for(1)
    assert best.step == 5


# What is not finite, damaged or gone is told


def test_a_validation_that_is_not_finite_is_no_best_one() -> None:
    best, nan = BestValidation(), math.nan
    assert best.update(1, 0.0, True, nan), "something must be tested, if nothing better comes"
    assert not best.finite
    assert best.update(2, 0.0, True, 5.0), "a finite loss beats one that is not"
    assert not best.update(3, 1.0, True, nan)
    assert not best.update(4, nan, True, 1.0)
    assert not best.update(5, math.inf, True, 1.0)
    assert (best.step, best.stale) == (2, 3)


def test_a_model_whose_evaluation_is_never_finite_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "_logits", not_finite_in_evaluation(Decoder._logits))
    warnings: list[str] = []
    with pytest.raises(Diverged, match="no validation gave a finite loss"):
        train(toy_config("train.steps=4", "train.eval_every=2"), tmp_path / "x", report=collect(warnings))
    assert warnings.count("loss is not finite on the validation split at step 2") == 1
    assert RunDir(tmp_path / "x").state() == "failed"
    assert not (tmp_path / "x/metrics.json").exists()


def not_finite_in_evaluation(logits: Any) -> Any:
    def wrapped(self: Decoder, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = logits(self, x)
        return result if self.training else result * math.nan

    return wrapped


def collect(warnings: list[str]) -> Any:
    return lambda event, facts: warnings.append(facts["text"]) if event == "warning" else None


def test_links_and_pruning_are_made_up_for_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config("train.steps=6", "train.save_every=1", "train.keep=2")

    def killed(self: Saving, newest: Path, best: int | None) -> None:
        if newest.name.endswith("6"):
            raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(Saving, "tidy", killed)
        with pytest.raises(RuntimeError):
            train(config, tmp_path / "x")
    assert saved_steps(tmp_path / "x/checkpoints") == [1, 2, 3, 4, 5, 6]
    monkeypatch.setattr(RunDir, "config", lambda self: config)
    result = train(config, tmp_path / "x", resume=True)
    assert (tmp_path / "x/last").resolve().name == "step_00000006"
    assert (tmp_path / "x/best").resolve().name == f"step_{result.best_step:08d}"
    assert saved_steps(tmp_path / "x/checkpoints") == sorted({5, 6, result.best_step})


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
def test_a_log_that_changed_behind_a_checkpoint_is_told(
    harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config("train.steps=6", "train.save_every=2", "train.log_every=1")
    cut_off(config, tmp_path / "x", monkeypatch)
    log = tmp_path / "x/metrics.jsonl"
    content = log.read_bytes()
    where = content.index(b"loss") + 8
    log.write_bytes({"flipped": content[:where] + b"9" + content[where + 1 :], "cut": content[:40], "gone": b""}[harm])
    if harm == "gone":
        log.unlink()
        warnings: list[str] = []
        train(config, tmp_path / "x", resume=True, report=collect(warnings))
        assert warnings == [f"{log} is gone: its rows up to step 4 are lost"]
        return
    with pytest.raises(BadInput, match=r"metrics.jsonl: damaged, or changed since step_00000004 was written"):
        train(config, tmp_path / "x", resume=True)
    assert saved_steps(tmp_path / "x/checkpoints") == [2, 4], "nothing was touched"


def test_a_log_that_changed_behind_a_complete_run_is_refused(tmp_path: Path) -> None:
    train(toy_config("train.steps=2", "train.log_every=1"), tmp_path / "x")
    assert len(rows(tmp_path / "x", "train")) == 2
    log = tmp_path / "x/metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:1]))
    with pytest.raises(BadInput, match=r"its checksum is not that in metrics\.json"):
        rows(tmp_path / "x", "train")


def test_snapshots_that_are_gone_are_told_on_resuming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config("train.steps=6", "train.save_every=2", "diagnostics.grad_norm.every=1")
    cut_off(config, tmp_path / "x", monkeypatch)
    (tmp_path / "x/snapshots/grad_norm/step_00000003.safetensors").unlink()
    warnings: list[str] = []
    train(config, tmp_path / "x", resume=True, report=collect(warnings))
    assert warnings == ["snapshots of diagnostics are missing: grad_norm at 3"]


def test_events_of_a_start_without_a_checkpoint_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config("train.steps=6", "train.save_every=6", "train.eval_every=6", "train.log_every=1")
    cut_off(config, tmp_path / "x", monkeypatch)
    assert saved_steps(tmp_path / "x/checkpoints") == []
    (first,) = (tmp_path / "x").glob("events.out.tfevents*")
    first.rename(tmp_path / "x/events.out.tfevents.of-the-first-start")
    train(config, tmp_path / "x", resume=True)
    (second,) = (tmp_path / "x").glob("events.out.tfevents*")
    assert second.name != "events.out.tfevents.of-the-first-start"


def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = toy_config("train.steps=2")

    def refused(self: Trainer, resume: bool) -> Result:
        raise BadInput("no")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_all", refused)
        with pytest.raises(BadInput):
            train(config, name="mine")
    assert list((tmp_path / "runs").iterdir()) == []
    train(config, name="mine")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_all", refused)
        with pytest.raises(BadInput):
            train(config, name="mine")
    assert [path.name for path in (tmp_path / "runs/mine").iterdir()] == ["version_0"]


def test_a_run_whose_checkpoints_are_all_damaged_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config("train.steps=2")
    train(config, tmp_path / "x")
    monkeypatch.setattr(RunDir, "config", lambda self: config)
    for file in (tmp_path / "x/checkpoints").glob("step_*/model.safetensors"):
        file.write_bytes(b"nonsense")
    with pytest.raises(BadInput, match=r"no sound checkpoint; step_00000002 is damaged \(model\.safetensors has"):
        load_run(tmp_path / "x", device="cpu")
