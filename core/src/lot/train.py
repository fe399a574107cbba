"""Training, from a configuration to a finished run directory. Read it top to bottom: `train`, then `Trainer.loop`."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lot import checkpoint
from lot.compose import Composition, compose
from lot.config import Config, load_config
from lot.contracts import Context, Record
from lot.environment import device_name, environment, fingerprint
from lot.errors import BadInput, Interrupted, RunFailed
from lot.evaluate import autocast, choose_precision, load_weights, measure_split
from lot.guard import Guard
from lot.probing import measure, save_snapshot
from lot.random import derive
from lot.run_dir import Log, RunDir, find_run, new_run_dir
from lot.schedule import learning_rate_factor
from lot.team import Team, join_team

Report = Callable[[str, dict[str, Any]], None]
"""Told what happens: (event, facts), event being start, resume, log, validation, diagnostic, checkpoint, warning, test or end."""


def _silent(event: str, facts: dict[str, Any]) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Result:
    """What a finished run gives: its directory, the last step, the final metrics (test split), and the best step."""

    run_dir: Path
    step: int
    best_step: int | None
    metrics: dict[str, float]


def train(
    config: Config | None,
    run_dir: str | Path | None = None,
    *,
    name: str | None = None,
    resume: bool = False,
    device: str = "auto",
    report: Report | None = None,
) -> Result:
    """Train what `config` describes and return the result; everything is recorded in a run directory.

    run_dir: the very directory (default: `runs/NAME/version_N`, N counting up); it must be new or empty unless `resume`.
    name: NAME, default `task-attention`. resume: go on from the newest sound checkpoint, bit for bit; without `run_dir` the
    newest version of NAME; `config` may then be None. A complete run is returned as it is. device: `auto`, `cpu`, `cuda`...

    Raises BadInput (nothing touched), RunFailed (diverged, or storage failed; the last checkpoint stands) or
    Interrupted (by SIGINT or SIGTERM: saved first).
    """
    path = _find(config, run_dir, name, resume)
    recorded = load_config(path / "config.yaml") if path is not None and (path / "config.yaml").exists() else None
    if path is not None and recorded is None and config is None:
        raise BadInput(
            f"{path}: no run there to resume (no config.yaml)", fix="say what to run, or name another directory"
        )
    if recorded is not None and config is not None:
        _check_equal(f"{path} was started with another configuration", recorded.to_dict(), config.to_dict())
    config = config if config is not None else recorded
    assert config is not None
    if path is not None and not resume and not RunDir(path).is_empty():
        raise BadInput(f"{path}: holds a run already", fix="add --resume to continue it, or choose another directory")

    team = join_team(device, config.train.batch_size)
    report = report if report is not None and team.main else _silent
    composition = compose(config)
    if path is None:
        path = Path(team.text(str(new_run_dir(Path("runs"), name or config.title)) if team.main else ""))
    run = RunDir(path)
    with _held(run, team):
        finished = run.metrics()
        if finished is not None:
            report("end", {"run": str(path), "metrics": finished, "already": True})
            status = run.status()
            return Result(path, status.get("step", 0), status.get("best_step"), finished)
        with _deterministic(config, team.device), _StopSignal() as stop:
            trainer = Trainer(composition, run, team, report, stop)
            try:
                return trainer.run_all(resume)
            except BadInput:
                raise
            except RunFailed as error:
                trainer.end("failed", error.exit_code, str(error))
                raise
            except Interrupted as error:
                trainer.end("interrupted", error.exit_code, str(error))
                raise
            except OSError as error:
                message = f"storage failed at step {trainer.step}: {error}; {trainer.last_good()}"
                trainer.end("failed", RunFailed.exit_code, message)
                raise RunFailed(message) from error
            except BaseException as error:
                trainer.end("failed", 1, f"{type(error).__name__}: {error}")
                raise


class Trainer:
    """A run between two steps. `step` counts the optimizer steps that are done."""

    def __init__(self, composition: Composition, run: RunDir, team: Team, report: Report, stop: _StopSignal) -> None:
        self.composition, self.run, self.team, self.report, self.stop = composition, run, team, report, stop
        self.config, self.task, self.objective = composition.config, composition.task, composition.objective
        self.device = team.device
        self.settings = self.config.train
        self.precision = choose_precision(self.settings.precision, self.device)
        self.compiled = self.settings.compile == "on" or (
            self.settings.compile == "auto" and self.device.type == "cuda"
        )
        self.model = composition.model.to(self.device)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = self.config.optim.component.create(self.config.optim.options, self.model)
        self.peaks = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.forward = self._wrap()
        self.guard = Guard(self.device, self.settings.spike_factor)
        self.step = 0
        self.sums: dict[str, Tensor] = {}
        self.best = Best()
        self.fingerprint = fingerprint(self.device, self.precision, self.compiled, team.world)
        self.log: Log | None = None
        self.timing: Log | None = None
        self.board: Any = None
        self.recent: dict[str, deque[Record]] = {}
        self.clock = (time.perf_counter(), 0)

    # The life of a run

    def run_all(self, resume: bool) -> Result:
        """Start or resume, train, test, and finish."""
        restored = self._restore() if resume else False
        self._open(restored)
        self.report("resume" if restored else "start", self._header())
        if not restored:
            self.diagnose()
        self.loop()
        return self.finish()

    def loop(self) -> None:
        """Every step: train; then log, measure, validate, save as often as the configuration says."""
        s = self.settings
        self.model.train()
        self.clock = (time.perf_counter(), self.step)
        while self.step < s.steps and not self.best.stale_for(s.early_stop):
            self.train_step()
            last = self.step == s.steps
            if self.step % s.log_every == 0 or last:
                self.write_log()
            self.diagnose()
            improved = (self.step % s.eval_every == 0 or last) and self.validate()
            signal_number = self.team.largest(self.stop.number)
            if improved or self.step % s.save_every == 0 or last or signal_number:
                self.save()
            if signal_number:
                name = signal.Signals(signal_number).name
                raise Interrupted(
                    f"stopped by {name}; saved at step {self.step}; {self._how_to_resume()}", signal_number
                )

    def train_step(self) -> None:
        """One optimizer step over `accumulate` micro-steps. Data and noise are keyed by (seed, step, micro-step)."""
        s = self.settings
        factor = learning_rate_factor(self.step, s.steps, s.warmup, s.decay, s.min_lr_ratio)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        ctx_step = torch.tensor(self.step, device=self.device)
        loss = torch.zeros((), device=self.device)
        for micro in range(s.accumulate):
            index = self.step * s.accumulate + micro
            batch = self.team.share(self.task.batch("train", index, s.batch_size, self.device))
            ctx = Context(step=ctx_step, padding=batch.padding)
            torch.manual_seed(derive(self.config.seed, "noise", self.step, micro, self.team.rank) >> 1)
            with self._no_sync(micro), autocast(self.device, self.precision):
                output = self.forward(batch.inputs, ctx)
                total, terms = self.objective(output, batch, ctx, self.step)
            (total / s.accumulate).backward()  # type: ignore[no-untyped-call]
            loss = loss + total.detach() / s.accumulate
            self._add({name: term.detach() / s.accumulate for name, term in terms.items()})
        norm = nn.utils.clip_grad_norm_(self.parameters, math.inf if s.clip is None else s.clip)
        self._add({"loss": loss, "grad_norm": norm})
        self.guard.update(loss, norm)
        if self.device.type == "cpu" and self.guard.bad():  # waiting costs nothing here: stop before the update
            self._fail_bad(self.step + 1)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def write_log(self) -> None:
        """One row: means over the steps since the last row. Also the moment at which divergence is noticed."""
        steps = (self.step - 1) % self.settings.log_every + 1
        means = {name: float(self.team.mean(value / steps)) for name, value in self.sums.items()}
        if self.guard.bad():
            self._fail_bad(self.step)
        if (spikes := self.guard.longest_spikes()) >= self.settings.spike_limit:
            raise RunFailed(
                f"diverged at step {self.step}: {spikes} steps in a row with a gradient norm more than "
                f"{self.settings.spike_factor:g} times its running mean; {self.last_good()}"
            )
        self.sums = {}
        row = {"step": self.step, "split": "train", "lr": self.optimizer.param_groups[0]["lr"], **means}
        self._write("train", row)
        now, (then, from_step) = time.perf_counter(), self.clock
        self.clock = (now, self.step)
        tokens = self.settings.batch_size * self.settings.accumulate * self.task.seq_len * (self.step - from_step)
        facts: dict[str, Any] = {"step": self.step, "seconds": now - then, "tokens_per_second": tokens / (now - then)}
        if self.device.type == "cuda":
            facts["peak_memory_bytes"] = torch.cuda.max_memory_allocated(self.device)
        if self.timing is not None:
            self.timing.write(facts)
            self._board_row("speed", {"step": self.step, "tokens_per_second": facts["tokens_per_second"]})
            self.run.set_status("running", step=self.step, steps=self.settings.steps)
        self.report("log", {**row, **facts})

    def validate(self) -> bool:
        """Measure the validation split; whether the primary metric is the best so far."""
        metrics = self._measure("validation", self.settings.eval_examples)
        higher = self.task.metrics()[self.task.primary].higher_is_better
        improved = self.best.update(self.step, metrics[self.task.primary], bool(higher), metrics["loss"])
        self._write("validation", {"step": self.step, "split": "validation", **metrics})
        self.report("validation", {"step": self.step, "best": improved, **metrics})
        return improved

    def diagnose(self) -> None:
        """Run the diagnostics that are due. Scalars go to the log, everything to a snapshot."""
        for name, (chosen, diagnostic) in self.composition.diagnostics.items():
            if (self.step % chosen.every and self.step != self.settings.steps) or not self.team.main:
                continue
            values = measure(self.composition, name, diagnostic, self.step, self.device, self.precision)
            save_snapshot(self.run.snapshots, name, self.step, values)
            scalars = {key: float(value) for key, value in values.items() if value.numel() == 1}
            self._write(name, {"step": self.step, "diagnostic": name, **scalars})
            self.report("diagnostic", {"step": self.step, "name": name, "headline": diagnostic.headline, **scalars})
            recent = self.recent.setdefault(name, deque(maxlen=8))
            recent.append(Record(self.step, {key: torch.tensor(value) for key, value in scalars.items()}))
            if (line := diagnostic.alarm(list(recent))) is not None:
                self._warn(f"{name}: {line}")

    def save(self) -> None:
        """Write a checkpoint, unless a step since the last one was bad."""
        if self.guard.bad():
            self._fail_bad(self.step)
        if self.team.main:
            assert self.log is not None
            assert self.timing is not None
            state = {
                "optimizer": self.optimizer.state_dict(),
                "guard": self.guard.state_dict(),
                "sums": dict(self.sums),
                "best": self.best.as_dict(),
                "log_bytes": self.log.offset(),
                "timing_bytes": self.timing.offset(),
                "config": self.config.to_dict(),
                "fingerprint": self.fingerprint,
            }
            folder = checkpoint.save(self.run.checkpoints, self.step, self.model.state_dict(), state)
            checkpoint.link(self.run.path / "last", folder)
            if self.best.step is not None:
                checkpoint.link(self.run.path / "best", checkpoint.folder_of(self.run.checkpoints, self.best.step))
            checkpoint.prune(self.run.checkpoints, self.settings.keep, self.best.step)
            self.run.set_status("running", step=self.step, best_step=self.best.step)
            self.report("checkpoint", {"step": self.step, "path": str(folder)})
        self.team.wait()

    def finish(self) -> Result:
        """Test the best checkpoint, write metrics.json, and close."""
        if self.step == 0:
            self.validate()
            self.save()
        best_step = self.step if self.best.step is None else self.best.step
        if best_step != self.step:
            folder = checkpoint.folder_of(self.run.checkpoints, best_step)
            load_weights(self.composition.model, checkpoint.load(folder, self.device).model, folder)
        split = "test" if self.settings.test else "validation"
        metrics = self._measure(split, None if self.settings.test else self.settings.eval_examples)
        self.report("test", {"step": best_step, "split": split, **metrics})
        if self.team.main:
            self._close()
            self.run.set_status("complete", exit_code=0, step=self.step, best_step=best_step, message="")
            self.run.complete(
                {
                    "split": split,
                    "step": best_step,
                    "steps": self.step,
                    "leak": self.composition.leak,
                    "metrics": {key: value if math.isfinite(value) else None for key, value in metrics.items()},
                }
            )
        self.report("end", {"run": str(self.run.path), "metrics": metrics, "already": False})
        return Result(self.run.path, self.step, self.best.step, metrics)

    def end(self, state: str, exit_code: int, message: str) -> None:
        """Record why the run stopped, as far as the disk still lets us."""
        with contextlib.suppress(OSError):
            self._close()
        if self.team.main:
            with contextlib.suppress(OSError):
                self.run.set_status(state, exit_code=exit_code, step=self.step, message=message)

    def last_good(self) -> str:
        """The last checkpoint, for a message."""
        found = checkpoint.steps(self.run.checkpoints)
        if not found:
            return "there is no checkpoint yet"
        return f"the last good checkpoint is {checkpoint.folder_of(self.run.checkpoints, found[-1])}"

    # Parts of the above

    def _wrap(self) -> nn.Module:
        forward: nn.Module = self.model
        if self.team.world > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            unused = any(attention.inert for attention in self.model.attentions)
            forward = nn.parallel.DistributedDataParallel(forward, device_ids=ids, find_unused_parameters=unused)
        return torch.compile(forward) if self.compiled else forward  # type: ignore[return-value]

    def _no_sync(self, micro: int) -> contextlib.AbstractContextManager[Any]:
        if self.team.world > 1 and micro < self.settings.accumulate - 1:
            parallel: Any = self.forward
            return parallel.no_sync()  # type: ignore[no-any-return]
        return contextlib.nullcontext()

    def _add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def _measure(self, split: Any, limit: int | None) -> dict[str, float]:
        return measure_split(
            self.model,
            self.task,
            split,
            batch_size=self.settings.batch_size,
            device=self.device,
            precision=self.precision,
            step=self.step,
            limit=limit,
            forward=self.forward if self.compiled and self.team.world == 1 else None,
            team=self.team,
        )

    def _restore(self) -> bool:
        """Load the newest sound checkpoint; False where the run was killed before its first."""
        folder = checkpoint.latest_sound(self.run.checkpoints, self._warn) if self.team.main else None
        chosen = self.team.text("" if folder is None else str(folder))
        if not chosen:
            return False
        loaded = checkpoint.load(Path(chosen))
        _check_equal(f"{chosen} belongs to another configuration", loaded.state["config"], self.config.to_dict())
        load_weights(self.composition.model, loaded.model, Path(chosen))
        self.optimizer.load_state_dict(loaded.state["optimizer"])
        self.guard.load_state_dict(loaded.state["guard"])
        self.sums = {name: value.to(self.device) for name, value in loaded.state["sums"].items()}
        self.best = Best(**loaded.state["best"])
        self.step = loaded.step
        self.offsets = (loaded.state["log_bytes"], loaded.state["timing_bytes"])
        changed = [
            f"{key} was {was!r}, is {self.fingerprint.get(key)!r}"
            for key, was in loaded.state["fingerprint"].items()
            if was != self.fingerprint.get(key)
        ]
        if changed:
            self._warn(f"resuming on other numerics, so bits may differ: {'; '.join(changed)}")
        return True

    def _open(self, restored: bool) -> None:
        if not self.team.main:
            return
        from tensorboardX import SummaryWriter

        if not restored:
            facts = {
                "command": sys.argv,
                "seed": self.config.seed,
                "parameters": self.composition.parameters,
                "leak": self.composition.leak,
                "environment": environment(self.device),
                "fingerprint": self.fingerprint,
            }
            self.run.create(self.config.to_yaml(), facts)
        log_bytes, timing_bytes = self.offsets if restored else (0, 0)
        self.log = Log(self.run.path / "metrics.jsonl", log_bytes)
        self.timing = Log(self.run.path / "timing.jsonl", timing_bytes)
        self.board = SummaryWriter(str(self.run.path), purge_step=self.step + 1 if restored else None)
        self.run.set_status("running", exit_code=None, step=self.step, steps=self.settings.steps, message="")

    def _close(self) -> None:
        for writer in (self.log, self.timing, self.board):
            if writer is not None:
                writer.close()
        self.log = self.timing = self.board = None

    def _write(self, group: str, row: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write(row)
            self._board_row(group, row)

    def _board_row(self, group: str, row: dict[str, Any]) -> None:
        for key, value in row.items():
            if key != "step" and isinstance(value, (int, float)):
                self.board.add_scalar(f"{group}/{key}", value, row["step"])

    def _warn(self, text: str) -> None:
        self.report("warning", {"step": self.step, "text": text})

    def _header(self) -> dict[str, Any]:
        attentions: list[Any] = list(self.model.attentions)
        notes = [a.describe() for a in attentions if hasattr(a, "describe")]
        return {
            "run": str(self.run.path),
            "config": self.config.to_dict(),
            "title": self.config.title,
            "parameters": self.composition.parameters,
            "attention": [self.config.attention_of(layer).name for layer in range(len(attentions))],
            "notes": list(dict.fromkeys(notes)),
            "device": device_name(self.device),
            "processes": self.team.world,
            "precision": self.precision,
            "compile": self.compiled,
            "steps": self.settings.steps,
            "step": self.step,
            "tokens_per_step": self.settings.batch_size * self.settings.accumulate * self.task.seq_len,
            "primary": self.task.primary,
            "leak": self.composition.leak,
            "tolerance": max(a.tolerance for a in attentions),
        }

    def _fail_bad(self, step: int) -> None:
        raise RunFailed(
            f"loss or gradient is not finite at step {step}; nothing of it was saved; {self.last_good()}; "
            f"a lower optim.lr or train.clip may help"
        )

    def _how_to_resume(self) -> str:
        return f"continue with: lot run --resume --run-dir {self.run.path}"


@dataclass
class Best:
    """The best validation so far. Equal primary metrics are told apart by the loss."""

    step: int | None = None
    value: float | None = None
    loss: float | None = None
    stale: int = field(default=0)

    def update(self, step: int, value: float, higher: bool, loss: float) -> bool:
        """Take in an evaluation; whether it is the best. One that is not finite never is, unless it is the first."""
        sign = 1.0 if higher else -1.0
        first = self.value is None or self.loss is None or math.isnan(self.value)
        if first or (sign * value, -loss) > (sign * self.value, -self.loss):  # type: ignore[operator]
            self.step, self.value, self.loss, self.stale = step, value, loss, 0
            return True
        self.stale += 1
        return False

    def stale_for(self, evaluations: int | None) -> bool:
        """Whether that many evaluations in a row brought nothing better."""
        return evaluations is not None and self.stale >= evaluations

    def as_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"step": self.step, "value": self.value, "loss": self.loss, "stale": self.stale}


class _StopSignal:
    """While active, the first SIGINT or SIGTERM is noted in `number` (else 0); a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


@contextlib.contextmanager
def _held(run: RunDir, team: Team) -> Iterator[None]:
    """The run directory, held by the main process while the team works."""
    if team.main:
        run.acquire()
    try:
        team.wait()
        yield
    finally:
        if team.main:
            run.release()
            run.remove_if_empty()


@contextlib.contextmanager
def _deterministic(config: Config, device: torch.device) -> Iterator[None]:
    """torch's deterministic algorithms where the configuration asks for them and they are not the rule anyway."""
    before = torch.are_deterministic_algorithms_enabled()
    if config.train.deterministic and device.type == "cuda":
        import os

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _find(config: Config | None, run_dir: str | Path | None, name: str | None, resume: bool) -> Path | None:
    """The directory that the caller means, or None for a fresh version."""
    if run_dir is not None:
        path = Path(run_dir)
        return find_run(path) if resume and not RunDir(path).is_empty() else path
    if not resume:
        if config is None:
            raise BadInput("nothing to run", fix="give a configuration")
        return None
    if name is None and config is None:
        raise BadInput("nothing to resume", fix="name the run's directory with --run-dir")
    return find_run(Path("runs") / (name or config.title))  # type: ignore[union-attr]


def _check_equal(what: str, recorded: dict[str, Any], given: dict[str, Any]) -> None:
    """Raises BadInput that lists the keys in which two configurations differ."""
    ours, theirs = _flat(given), _flat(recorded)
    differing = [
        f"{key} is {ours.get(key, 'absent')!r}, was {theirs.get(key, 'absent')!r}"
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key, "absent") != theirs.get(key, "absent")
    ]
    if differing:
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise BadInput(
            f"{what}: {'; '.join(differing[:5])}{more}", fix="resume without options, or choose another directory"
        )


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {path: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found.update(_flat(value, f"{path}.{key}" if path else str(key)))
    return found
