"""The training loop. Read it top to bottom: `Trainer.run_all`, then `loop`, then `train_step`."""

from __future__ import annotations

import contextlib
import math
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lot.config.compare import differences, require_none
from lot.config.schedule import learning_rate_factor
from lot.contracts import Context
from lot.devices.precision import autocast, choose_precision
from lot.devices.team import Team
from lot.errors import Diverged, Interrupted
from lot.model.measure import measure_split
from lot.random import derive
from lot.runs.directory import RunDir
from lot.runs.environment import environment, fingerprint, kernel_forms
from lot.runs.log import Recorder
from lot.storage import checkpoint
from lot.storage.folder import folder_of, latest_sound, link_to, problem_of, prune, saved_steps
from lot.training.best import Best
from lot.training.compose import Composition
from lot.training.diagnose import Diagnosing
from lot.training.divergence import Guard
from lot.training.events import Report, run_header
from lot.training.interruption import StopSignal
from lot.training.parallel import gradient_norm, spread


@dataclass(frozen=True)
class Result:
    """What a finished run gives: its directory, the last and the best step, the final metrics (test split).

    leak: whether the model saw what it was asked to predict (`allow_leak`).
    """

    run_dir: Path
    step: int
    best_step: int | None
    metrics: dict[str, float]
    leak: bool


class Trainer:
    """A run between two steps. `step` counts the optimizer steps that are done.

    Under torchrun every process has one and they go in step. What the main one alone does, and may fail in, is done in
    `team.lead`, so that all fail together.
    """

    def __init__(self, composition: Composition, run: RunDir, team: Team, report: Report, stop: StopSignal) -> None:
        self.composition, self.run, self.team, self.report, self.stop = composition, run, team, report, stop
        self.config, self.task, self.objective = composition.config, composition.task, composition.objective
        self.device = team.device
        self.settings = self.config.train
        self.precision = choose_precision(self.settings.precision, self.device)
        self.compiled = self.settings.compile == "on" or (
            self.settings.compile == "auto" and self.device.type == "cuda"
        )
        self.parallel = spread(
            composition.model,
            team,
            self.settings.parallel,
            compiled=self.compiled,
            probed=bool(composition.diagnostics),
        )
        self.model = self.parallel.model
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        optim = self.config.optim
        self.optimizer = self.parallel.optimizer(lambda model: optim.component.create(optim.options, model))
        self.peaks = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.guard = Guard(self.device, self.settings.spike_factor)
        self.step = 0
        self.sums: dict[str, Tensor] = {}
        self.best = Best()
        kernels = kernel_forms(composition.attention_distributions, self.device)
        self.fingerprint = {
            **fingerprint(self.device, self.precision, self.compiled, team.world, kernels),
            "parallel": self.parallel.kind,
            "data": self.task.origin,
        }
        self.recorder = Recorder(run)
        self.diagnosing = Diagnosing(composition, run, self.recorder, report)
        self.offsets: tuple[int, int] | None = None
        self.clock = (time.perf_counter(), 0)

    # The life of a run

    def run_all(self, resume: bool) -> Result:
        """Start or resume, train, test, and finish."""
        restored = self._restore() if resume else False
        self.team.lead(lambda: self._open(restored))
        self.report("resume" if restored else "start", run_header(self))
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
                    f"stopped by {name}; saved at step {self.step}; {self.how_to_resume()}", signal_number
                )

    def train_step(self) -> None:
        """One optimizer step over `accumulate` micro-steps. Data and noise are keyed by (seed, step, micro-step)."""
        s = self.settings
        factor = learning_rate_factor(self.step, s.steps, s.warmup, s.decay, s.min_lr_ratio)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        ctx_step = torch.full((), self.step, device=self.device)  # torch.tensor would wait for a GPU
        loss = torch.zeros((), device=self.device)
        for micro in range(s.accumulate):
            index = self.step * s.accumulate + micro
            batch, weight, start = self.team.share(self.task.batch("train", index, s.batch_size, self.device))
            weight = weight / s.accumulate
            ctx = Context(step=ctx_step, start=start, padding=batch.padding, group=self.team.group)
            torch.manual_seed(derive(self.config.seed, "noise", self.step, micro, self.team.rank) >> 1)
            with self.parallel.micro_step(last=micro == s.accumulate - 1):
                with autocast(self.device, self.precision):
                    output = self.parallel.forward(batch.inputs, ctx)
                    total, terms = self.objective(output, batch, ctx, self.step)
                (total * weight).backward()  # type: ignore[no-untyped-call]
            loss = loss + total.detach() * weight
            self._add({name: term.detach() * weight for name, term in terms.items()})
        norm = gradient_norm(self.parameters, s.clip)
        self._add({"loss": loss, "grad_norm": norm})
        self.guard.update(loss, norm)
        if self.device.type == "cpu":  # waiting costs nothing here: stop before the update
            self._refuse_bad(self.step + 1)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def write_log(self) -> None:
        """One row: means over the steps since the last row. Also the moment at which divergence is noticed."""
        steps = (self.step - 1) % self.settings.log_every + 1
        means = {name: float(self.team.mean(value / steps)) for name, value in self.sums.items()}
        self._refuse_bad(self.step)
        if (spikes := self.team.largest(self.guard.longest_spikes())) >= self.settings.spike_limit:
            raise Diverged(
                f"diverged at step {self.step}: {spikes} steps in a row with a gradient norm more than "
                f"{self.settings.spike_factor:g} times its running mean; {self.last_good()}"
            )
        self.sums = {}
        row = {"step": self.step, "split": "train", "lr": self.optimizer.param_groups[0]["lr"], **means}
        now, (then, from_step) = time.perf_counter(), self.clock
        self.clock = (now, self.step)
        tokens = self.settings.batch_size * self.settings.accumulate * self.task.seq_len * (self.step - from_step)
        facts: dict[str, Any] = {"step": self.step, "seconds": now - then, "tokens_per_second": tokens / (now - then)}
        if self.device.type == "cuda":
            facts["peak_memory_bytes"] = torch.cuda.max_memory_allocated(self.device)

        def record() -> None:
            self.recorder.write("train", row)
            self.recorder.write_timing(facts)
            self.run.set_status("running", step=self.step, steps=self.settings.steps)

        self.team.lead(record)
        self.report("log", {**row, **facts})

    def validate(self) -> bool:
        """Measure the validation split; whether the primary metric is the best so far."""
        metrics = self._measure("validation", self.settings.eval_examples)
        higher = self.task.metrics()[self.task.primary].higher_is_better
        improved = self.best.update(self.step, metrics[self.task.primary], bool(higher), metrics["loss"])
        self.team.lead(lambda: self.recorder.write("validation", {"step": self.step, "split": "validation", **metrics}))
        self.report("validation", {"step": self.step, "best": improved, **metrics})
        return improved

    def diagnose(self) -> None:
        """Run the diagnostics that are due, on the main process."""
        if names := self.diagnosing.due(self.step):
            model = self.parallel.whole()
            self.team.lead(lambda: self.diagnosing.look(model, names, self.step, self.device, self.precision))

    def save(self) -> None:
        """Write a checkpoint, unless a step since the last one was bad."""
        self._refuse_bad(self.step)
        metrics_bytes, timing_bytes = self.team.lead(self.recorder.offsets)
        state = {
            "optimizer": self.optimizer.state_dict(),
            "guard": self.guard.state_dict(),
            "sums": self.team.gather({name: value.cpu() for name, value in self.sums.items()}),
            "best": self.best.as_dict(),
            "log_bytes": metrics_bytes,
            "timing_bytes": timing_bytes,
            "config": self.config.to_dict(),
            "fingerprint": self.fingerprint,
        }
        folder = self.parallel.save(self.run.checkpoints, self.step, state)
        self.team.lead(lambda: self._tidy(folder))
        self.report("checkpoint", {"step": self.step, "path": str(folder)})

    def finish(self) -> Result:
        """Test the best checkpoint, write metrics.json, and close."""
        if self.step == 0:
            self.validate()
            self.save()
        tested = self._load_best()
        split = "test" if self.settings.test else "validation"
        metrics = self._measure(split, None if self.settings.test else self.settings.eval_examples)
        self.report("test", {"step": tested, "split": split, **metrics})

        def complete() -> None:
            self.recorder.close()
            self.run.set_status("complete", exit_code=0, step=self.step, best_step=tested, message="")
            self.run.complete(
                {
                    "split": split,
                    "step": tested,
                    "steps": self.step,
                    "leak": self.composition.leak,
                    "metrics": {key: value if math.isfinite(value) else None for key, value in metrics.items()},
                }
            )

        self.team.lead(complete)
        leak = self.composition.leak
        self.report("end", {"run": str(self.run.path), "metrics": metrics, "already": False, "leak": leak})
        return Result(self.run.path, self.step, self.best.step, metrics, leak)

    def end(self, state: str, exit_code: int, message: str) -> None:
        """Record why the run stopped, as far as the disk still lets us."""
        with contextlib.suppress(OSError):
            self.recorder.close()
        if self.team.main:
            with contextlib.suppress(OSError):
                self.run.set_status(state, exit_code=exit_code, step=self.step, message=message)

    def last_good(self) -> str:
        """The last checkpoint, for a message."""
        found = saved_steps(self.run.checkpoints)
        if not found:
            return "there is no checkpoint yet"
        return f"the last good checkpoint is {folder_of(self.run.checkpoints, found[-1])}"

    def how_to_resume(self) -> str:
        """The command that goes on from the last checkpoint, for a message."""
        return f"continue with: lot run --resume --run-dir {shlex.quote(str(self.run.path))}"

    # Parts of the above

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
            forward=self.parallel.measuring,
            team=self.team,
            together=self.parallel.together,
        )

    def _restore(self) -> bool:
        """Load the newest sound checkpoint; False where the run was killed before its first."""
        chosen = self.team.lead(lambda: str(latest_sound(self.run.checkpoints, self._warn) or ""))
        if not chosen:
            return False
        folder = Path(chosen)
        origin = checkpoint.facts(folder)
        differing = differences(origin["config"], self.config.to_dict(), known_only=True)
        require_none(f"{folder} belongs to another configuration", differing)
        loaded = self.parallel.load(folder, self.optimizer)
        state = loaded.state
        self.guard.load_state_dict(state["guard"])
        self.sums = self._own(state["sums"])
        self.best = Best(**state["best"])
        self.step = loaded.step
        self.offsets = (state["log_bytes"], state["timing_bytes"])
        changed = [
            f"{key} was {was!r}, is {self.fingerprint.get(key)!r}"
            for key, was in state["fingerprint"].items()
            if was != self.fingerprint.get(key)
        ]
        if changed:
            self._warn(f"resuming on other numerics or data, so bits may differ: {'; '.join(changed)}")
        return True

    def _own(self, sums: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """This process's sums of those of all that were saved; where the team has another size, their mean."""
        if len(sums) == self.team.world:
            return {name: value.to(self.device) for name, value in sums[self.team.rank].items()}
        return {name: torch.stack([one[name] for one in sums]).mean(0).to(self.device) for name in sums[0]}

    def _load_best(self) -> int:
        """Put the weights of the best checkpoint into the model, unless it is damaged; their step."""
        best = self.best.step
        if best is None or best == self.step:
            return self.step
        folder = folder_of(self.run.checkpoints, best)
        problem = self.team.lead(lambda: problem_of(folder))
        if problem is not None:
            self._warn(f"the best checkpoint, {folder.name}, is damaged ({problem}); testing the last weights instead")
            return self.step
        self.parallel.load(folder)
        return best

    def _open(self, restored: bool) -> None:
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
        self.recorder.open(self.step, self.offsets)
        self.run.set_status("running", exit_code=None, step=self.step, steps=self.settings.steps, message="")

    def _tidy(self, newest: Path) -> None:
        """After a save: links for people, no more checkpoints than wanted, the status."""
        link_to(self.run.path / "last", newest)
        if self.best.step is not None:
            link_to(self.run.path / "best", folder_of(self.run.checkpoints, self.best.step))
        prune(self.run.checkpoints, self.settings.keep, self.best.step)
        self.run.set_status("running", step=self.step, best_step=self.best.step)

    def _warn(self, text: str) -> None:
        self.report("warning", {"step": self.step, "text": text})

    def _refuse_bad(self, step: int) -> None:
        """Raises RunFailed, in all processes, where a step so far was not finite in any (waits for the device)."""
        if self.team.largest(int(self.guard.bad())):
            raise Diverged(
                f"loss or gradient is not finite at step {step}; nothing of it was saved; {self.last_good()}; "
                f"a lower optim.lr or train.clip may help"
            )
