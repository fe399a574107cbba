"""The training loop. Read it top to bottom: `Trainer.run_all`, then `loop`, then `train_step`.

What a run saves and restores is in `saving.py`, what it tells in `reporting.py`, its state between two steps in
`progress.py`.
"""

from __future__ import annotations

import math
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from lot.config.schedule import learning_rate_factor
from lot.contracts import Batch, Split
from lot.devices.precision import autocast, choose_precision
from lot.devices.processes import Team
from lot.errors import Diverged, Interrupted
from lot.model.measure import measure_split
from lot.model.prefix import prefix_of
from lot.nn.documents import context
from lot.plugins.discovery import reason
from lot.random import derive
from lot.runs.directory import RunDir
from lot.runs.environment import environment, fingerprint, kernel_forms, model_origin
from lot.runs.examples import ExampleLosses, new_example_losses
from lot.runs.kept_model import kept_files, save_model
from lot.runs.named_files import named_files
from lot.runs.shown import Shown, Table, written
from lot.storage.assets import save_assets
from lot.training.collector import collector_resting
from lot.training.compose import Composition
from lot.training.diagnose import Diagnosing
from lot.training.divergence import DivergenceWatch
from lot.training.events import Report, run_header
from lot.training.extension import Parent
from lot.training.given_weights import GivenWeights
from lot.training.interruption import StopSignal
from lot.training.objective import Whole
from lot.training.parallel import gradient_norm, spread
from lot.training.progress import Progress
from lot.training.reporting import Reporter
from lot.training.saving import Saving
from lot.training.trust import Trust


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """What a finished run gives.

    run_dir: its directory. step: optimizer steps done. best_step: the step of the best validation, or None.
    metrics: the final ones by name, on the test split (on validation where `train.test` is false), in the units of the
    task. leak: whether the model saw what it was asked to predict (`allow_leak`), as it declares or as was measured.
    """

    run_dir: Path
    step: int
    best_step: int | None
    metrics: dict[str, float]
    leak: bool

    def table(self) -> Table:
        """The final metrics."""
        best = "" if self.best_step is None else f", the best after {self.best_step:,}"
        rows = [(name, written(value)) for name, value in self.metrics.items()]
        return Table(f"{self.run_dir}: {self.step:,} steps{best}", rows, leak=self.leak)


class Trainer:
    """A run, from its first step to its result.

    Under torchrun every process has one and they go in step. What the main one alone does, and may fail in, is done in
    `team.lead`, so that all fail together.
    """

    def __init__(
        self,
        composition: Composition,
        run: RunDir,
        team: Team,
        report: Report,
        stop: StopSignal,
        parent: Parent | None = None,
        weights: GivenWeights | None = None,
    ) -> None:
        """parent: the checkpoint that a new run goes on from. weights: what initial values the model was given."""
        self.composition, self.run, self.team, self.stop = composition, run, team, stop
        self.parent, self.weights = parent, weights
        self.config, self.task = composition.config, composition.task
        self.settings = settings = self.config.train
        self.precision = choose_precision(settings.precision, team.device)
        self.compiled = settings.compile == "on" or (settings.compile == "auto" and team.device.type == "cuda")
        self.parallel = spread(
            composition.model, team, settings.parallel, compiled=self.compiled, probed=bool(composition.diagnostics)
        )
        self.model = self.parallel.model
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        with collector_resting():  # the first optimizer of a process imports torch._dynamo
            self.optimizer = self.parallel.optimizer(lambda model: self.config.optim.create("optim", model))
        self.peak_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.progress = Progress(DivergenceWatch(team.device, settings.spike_factor))
        kernels = kernel_forms(composition.attention_distributions, team.device)
        self.fingerprint = {
            **fingerprint(team.device, self.precision, self.compiled, team.world, kernels),
            "parallel": self.parallel.kind,
            "data": self.task.origin,
            **({} if (origin := model_origin(self.config)) is None else {"model": origin}),
        }
        self.reporter = Reporter(run, report, settings.steps, composition.recorders)
        self.diagnosing = Diagnosing(composition, run, self.reporter, self.optimizer)
        self.saving = Saving(run, self.config, self.parallel, self.optimizer, self.fingerprint, self._warn)
        self.trust = Trust(composition, self.parallel, self.precision, run, self._warn)
        if (prefix := prefix_of(composition.model)) is not None:
            prefix.warn = self._warn
        stop.give_up = self.give_up

    @property
    def step(self) -> int:
        """Optimizer steps that are done."""
        return self.progress.step

    # The life of a run

    def run_all(self, resume: bool) -> Result:
        """Start or resume, train, test, and finish."""
        log_lengths = self.saving.restore(self.progress) if resume else None
        if self.parent is not None and log_lengths is None:
            self.saving.begin_from(self.parent.folder, self.progress)
        self.trust.before_training(self.step, log_lengths is not None, self.saving.last_good)
        self.team.lead(lambda: self._open(log_lengths))
        self.trust.recorded()
        header = run_header(
            self.composition,
            self.run.path,
            self.parallel,
            precision=self.precision,
            compiled=self.compiled,
            step=self.step,
            leak=self.trust.leak,
            beginning=self._beginning(),
        )
        self.reporter.report("start" if log_lengths is None else "resume", header)
        if log_lengths is None:
            self.diagnose()
            if self.parent is not None:  # what it goes on from may be the best, and is kept here
                self.validate()
                self.save()
        elif missing := self.team.lead(lambda: self.diagnosing.missing(self.step)):
            self._warn(f"snapshots of diagnostics are missing: {missing}")
        self.loop()
        return self.finish()

    def loop(self) -> None:
        """Every step: train; then log, measure, validate, save as often as the configuration says."""
        s = self.settings
        self.model.train()
        self.reporter.start_clock(self.step)
        while self.step < s.steps and not self.progress.best.stale_for(s.early_stop):
            self.train_step()
            last = self.step == s.steps
            if self.step % s.log_every == 0 or last:
                self.write_log()
            self.diagnose()
            improved = (self.step % s.eval_every == 0 or last) and self.validate()
            signal_number = self.team.largest(self.stop.at_boundary())
            if improved or self.step % s.save_every == 0 or last or signal_number:
                self.save()
            if signal_number:
                name = signal.Signals(signal_number).name
                raise Interrupted(
                    f"stopped by {name}; saved at step {self.step}; {self.saving.how_to_resume()}", signal_number
                )

    def train_step(self) -> None:
        """One optimizer step over `accumulate` micro-steps. Data and noise are keyed by (seed, step, micro-step)."""
        s, device = self.settings, self.team.device
        factor = learning_rate_factor(self.step, s.steps, s.warmup, s.decay, s.min_lr_ratio)
        for group, peak in zip(self.optimizer.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * factor
        ctx_step = torch.full((), self.step, device=device)  # torch.tensor would wait for a GPU
        indices = range(self.step * s.accumulate, (self.step + 1) * s.accumulate)
        shares = [self.team.share(self.task.batch("train", index, s.batch_size, device)) for index in indices]
        whole = self._whole([share.batch for share in shares])
        loss = torch.zeros((), device=device)
        for micro, (batch, start) in enumerate(shares):
            ctx = context(batch, ctx_step, start=start, group=self.team.group)
            torch.manual_seed(derive(self.config.seed, "noise", self.step, micro, self.team.rank) >> 1)
            with self.parallel.micro_step(last=micro == s.accumulate - 1):
                with autocast(device, self.precision):
                    output = self.parallel.forward(batch.inputs, ctx)
                    total, terms = self.composition.objective(output, batch, ctx, self.step, whole)
                total.backward()  # type: ignore[no-untyped-call]
            loss = loss + total.detach()
            self.progress.add({name: term.detach() for name, term in terms.items()})
        norm = gradient_norm(self.parameters, s.clip)
        self.progress.add({"loss": loss, "grad_norm": norm})
        self.progress.divergence.update(loss, norm)
        if device.type == "cpu":  # waiting costs nothing here: stop before the update
            self._refuse_bad(self.step + 1)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1

    def write_log(self) -> None:
        """One row: means over the steps since the last row. Also the moment at which divergence is noticed."""
        s, progress = self.settings, self.progress
        steps = (self.step - 1) % s.log_every + 1
        means = {name: float(self.team.mean(value / steps)) for name, value in progress.sums.items()}
        self._refuse_bad(self.step)
        if (spikes := self.team.largest(progress.divergence.longest_spikes())) >= s.spike_limit:
            raise Diverged(
                f"diverged at step {self.step}: {spikes} steps in a row with a gradient norm more than "
                f"{s.spike_factor:g} times its running mean; {self.saving.last_good()}"
            )
        progress.sums = {}
        row = {"step": self.step, "split": "train", "lr": self.optimizer.param_groups[0]["lr"], **means}
        tokens_per_step = s.batch_size * s.accumulate * self.task.seq_len
        self.team.lead(lambda: self.reporter.train_row(row, tokens_per_step, self.team.device))

    def validate(self) -> bool:
        """Measure the validation split; whether the primary metric is the best so far."""
        self.trust.at_validation(self.step, self.saving.last_good)
        metrics = self._measure("validation", self.settings.eval_examples)
        higher = self.task.metrics()[self.task.primary].higher_is_better
        value, loss = metrics[self.task.primary], metrics["loss"]
        best = self.progress.best.update(self.step, value, bool(higher), loss)
        self.team.lead(lambda: self.reporter.validation(self.step, metrics, best))
        for name, number in {self.task.primary: value, "loss": loss}.items():
            if not math.isfinite(number):
                self._warn(f"{name} is not finite on the validation split at step {self.step}")
        return best

    def diagnose(self) -> None:
        """Run the diagnostics that are due, on the main process."""
        if names := self.diagnosing.due(self.step):
            model = self.parallel.whole()
            self.team.lead(lambda: self.diagnosing.look(model, names, self.step, self.team.device, self.precision))

    def save(self) -> None:
        """Write a checkpoint, unless a step since the last one was bad."""
        self._refuse_bad(self.step)
        lengths = self.team.lead(self.reporter.log.offsets)
        folder = self.saving.save(self.progress, lengths, self.team.lead(self.reporter.log.digest))
        self.team.lead(lambda: self.reporter.saved(self.progress, folder))

    def finish(self) -> Result:
        """Test the best checkpoint, write metrics.json, and close."""
        if self.step == 0:
            self.validate()
            self.save()
        if not self.progress.best.finite:
            raise Diverged(
                f"no validation gave a finite loss and {self.task.primary}, although the training loss is finite; "
                f"{self.saving.last_good()}"
            )
        tested = self.saving.load_best(self.progress)
        self.trust.before_test(self.step, self.saving.last_good)
        split: Split = "test" if self.settings.test else "validation"
        examples = new_example_losses(self.task.length("test") or 0) if self.settings.test else None
        metrics = self._measure(split, None if examples is not None else self.settings.eval_examples, examples)
        self.reporter.report("test", {"step": tested, "split": split, **metrics})
        for name, value in metrics.items():
            if not math.isfinite(value):
                self._warn(f"{name} is not finite on the {split} split")
        if examples is not None:
            self._save_examples(examples)
        trust = self.trust.facts()
        self.team.lead(self._show_pictures)
        self.team.lead(lambda: self.reporter.complete(split, tested, self.progress, metrics, trust))
        return Result(self.run.path, self.step, self.progress.best.step, metrics, self.trust.leak)

    def end(self, state: str, exit_code: int, message: str) -> None:
        """Record why the run stopped before its end."""
        self.reporter.ended(self.team.main, state, exit_code, self.step, message)

    def give_up(self, signal_number: int) -> None:
        """Say that the process ends now, in the middle of a step. Called from another thread than the loop's."""
        name = signal.Signals(signal_number).name
        if not (self.run.path / "config.yaml").exists():
            self._warn(f"stopped by {name} before the first step")
            self.run.remove_if_empty()
            return
        message = f"stopped by {name} in the middle of a step, so nothing of it is saved; {self.saving.last_good()}"
        self._warn(f"{message}; {self.saving.how_to_resume()}")
        self.reporter.ended(self.team.main, "interrupted", 128 + signal_number, self.step, message)

    def _beginning(self) -> str:
        """Where the weights come from, for people; empty where they were drawn or are this run's own."""
        if self.parent is not None:
            return f"goes on from step {self.parent.step} of {self.parent.path}"
        return "" if self.weights is None else str(self.weights)

    # Parts of the above

    def _open(self, log_lengths: tuple[int, int] | None) -> None:
        if log_lengths is None:
            facts = {
                "command": sys.argv,
                "seed": self.config.seed,
                "parameters": self.composition.parameters,
                **({} if not (resting := self.composition.resting) else {"resting": resting}),
                **self.trust.record(),
                **({"repeats": self.task.repeats} if self.task.repeats else {}),
                **({} if self.parent is None else {"parent": self.parent.as_dict()}),
                **({} if self.weights is None else {"init_from": self.weights.as_dict()}),
                "files": named_files(self.config, self.task),
                "environment": environment(self.team.device),
                "fingerprint": self.fingerprint,
            }
            self.run.create(self.config.to_yaml(), facts)
            save_assets(self.run.path, self.task.assets())
            save_model(self.run.path, kept_files(self.config.model, self.fingerprint.get("model")))
        self.reporter.open(self.config, self.trust.leak, self.step, log_lengths)

    def _whole(self, batches: list[Batch]) -> Whole:
        """What the parts of this step's batch share: those of this process, and those of the others."""
        counts = self.composition.objective.count(batches)
        if self.team.world > 1:  # one message, whatever their number
            flat = [count for terms in counts.values() for count in terms.values()]
            summed = iter(self.team.add_up(torch.stack([count.double() for count in flat])).unbind())
            counts = {
                name: {term: next(summed).to(count.dtype) for term, count in terms.items()}
                for name, terms in counts.items()
            }
        return Whole(counts, self.team.world, self.team.add_up)

    def _measure(self, split: Split, limit: int | None, examples: ExampleLosses | None = None) -> dict[str, float]:
        with self.trust.evaluation():
            return measure_split(
                self.model,
                self.task,
                split,
                batch_size=self.settings.batch_size,
                device=self.team.device,
                precision=self.precision,
                step=self.step,
                limit=limit,
                forward=self.parallel.measuring,
                team=self.team,
                together=self.parallel.together,
                observe=None if examples is None else examples.add,
            )

    def _save_examples(self, examples: ExampleLosses) -> None:
        """Write what every process saw of the test split."""
        parts = self.team.gather(examples)
        loss = torch.stack([part.loss for part in parts]).sum(0)
        scored = torch.stack([part.scored for part in parts]).sum(0)
        whole = ExampleLosses(loss, scored, examples.size)
        self.team.lead(lambda: whole.save(self.run.path))

    def _show_pictures(self) -> None:
        """Draw the diagnostics for the recorders that want it; one that cannot be drawn costs its picture only."""
        if not self.reporter.recorders.want_pictures:
            return
        for name in self.composition.diagnostics:
            try:
                png = self.diagnosing.picture(name, self.trust.leak)
            except Exception as error:
                self._warn(f"diagnostic {name} could not be drawn ({reason(error)})")
                continue
            if png is not None:
                self.reporter.recorders.picture(name, self.step, png)

    def _warn(self, text: str) -> None:
        self.reporter.warn(self.step, text)

    def _refuse_bad(self, step: int) -> None:
        """Raises Diverged, in all processes, where a step so far was not finite in any (waits for the device)."""
        if self.team.largest(int(self.progress.divergence.bad())):
            raise Diverged(
                f"loss or gradient is not finite at step {step}; nothing of it was saved; {self.saving.last_good()}; "
                f"a lower optim.lr or train.clip may help"
            )
