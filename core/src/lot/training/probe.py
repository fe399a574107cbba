"""Measures whether a composed model sees what it is asked to predict, on a batch of the run itself.

Longer than most files: every pass of a probe shares one state of the model, which `_Session` keeps.

A flag that says `causal` is a promise. Two passes that differ only in what comes later tell whether it is kept, so every
run makes them: with the model, the sizes, the precision and the noise that it trains with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lot.contracts import Batch, Context
from lot.devices.precision import autocast
from lot.model.measure import evaluating
from lot.random import derive, numpy_generator, torch_generator
from lot.training.compose import Composition
from lot.training.finding import Finding, Mode, worst
from lot.training.generators import generators_kept
from lot.training.module_state import ModuleState
from lot.training.parallel import Parallel
from lot.training.probe_inputs import Cuts, Deviation, Twins, deviation, twins

LARGEST_TOLERANCE = 1e-3
"""The largest tolerance that an attention may claim: above it a leak and a rounding error look the same."""
NOISE_FACTOR = 16
"""A difference counts when it is more than this many times that of a pass which repeats another exactly."""
ROUNDING = 1e-5
"""A difference of float32 logits up to this part of the largest may be rounding, if no gradient flows that way."""
SWEEPS = 4
"""Passes, at most, in which the places of a cut are tried that the first probe left out."""
SWEPT = 16
"""Sequences, at least, of such a pass: those of a smaller batch are taken several times."""
BLIND = 0.1
"""Where the noise of repeats could hide a difference of this part of the largest logit, a probe can tell nothing."""


@dataclass(frozen=True)
class _Gradient:
    """largest: of the gradient of logits before the cut at inputs from the cut on, relative to the largest gradient."""

    largest: float
    position: int
    layer: int | str | None


class LeakProbe:
    """Probes the model of a run. Every process of a team takes part with its share, and all come to the same finding."""

    def __init__(self, composition: Composition, parallel: Parallel, precision: str) -> None:
        self.composition, self.parallel, self.precision = composition, parallel, precision
        self.model, self.team = parallel.model, parallel.team
        declared = [attention.tolerance for attention in self.model.attentions.values()]
        self.tolerance = min(max(declared, default=0.0), LARGEST_TOLERANCE)
        self._places: Cuts | None = None

    def look(self, batch: Batch, step: int, *, full: bool, gradient: bool) -> Finding:
        """Probe the model with `batch`, this process's share of a batch, at `step`; nothing of the run is changed.

        full: whether the batch has the size of those in training, so that a compiled form can be used.
        gradient: whether to measure the gradient too, although no difference asks for it.
        """
        with generators_kept(self.team.device):
            rng = numpy_generator(self.composition.config.seed, "leak probe", step, self.team.rank)
            task = self.composition.task
            session = _Session(self, twins(batch, task.vocab_size, self._cuts(batch), rng), step, full)
            found = worst([session.values("evaluation"), session.values("training")])
            # Where values show a leak, they tell it better: layer, position and size.
            return worst([found, session.judge_gradient()]) if gradient and found.status != "leak" else found

    def sweep(self, batch: Batch, step: int) -> Finding | None:
        """Probe the places of a cut that were not tried yet, as far as `SWEEPS` passes reach, in evaluation mode.

        None where there are none left, or where the task is not causal.
        """
        cuts = self._cuts(batch)
        rows = max(SWEPT, len(batch.inputs))
        tiled = torch.arange(rows, device=batch.inputs.device) % len(batch.inputs)
        padding = None if batch.padding is None else batch.padding[tiled]
        many = Batch(batch.inputs[tiled], batch.targets[tiled], padding)
        findings = []
        with generators_kept(self.team.device):
            for sweep in range(SWEEPS):
                if not self.team.largest(0 if cuts is None else cuts.untried):
                    break
                rng = numpy_generator(self.composition.config.seed, "leak sweep", step, sweep, self.team.rank)
                pair = twins(many, self.composition.task.vocab_size, cuts, rng, uncut=False)
                findings.append(_Session(self, pair, step, full=False).values("evaluation"))
        return worst(findings) if findings else None

    def _cuts(self, batch: Batch) -> Cuts | None:
        """Where to cut next; None where the task is not causal."""
        if not self.composition.task.causal:
            return None
        if self._places is None:
            seed = self.composition.config.seed
            self._places = Cuts(batch.targets, numpy_generator(seed, "leak cuts", self.team.rank))
        return self._places

    def remembered(self, batch: Batch, step: int) -> list[str]:
        """What carries something from one batch to the next in evaluation: names of buffers, attributes or `model`."""
        with generators_kept(self.team.device):
            rng = numpy_generator(self.composition.config.seed, "memory probe", step)
            session = _Session(self, twins(batch, self.composition.task.vocab_size, None, rng), step, full=False)
            return session.remembered()


class _Session:
    """The passes of one probe."""

    def __init__(self, probe: LeakProbe, pair: Twins, step: int, full: bool) -> None:
        self.probe, self.pair, self.step, self.full = probe, pair, step, full
        self.model, self.team, self.config = probe.model, probe.team, probe.composition.config
        self.device = probe.team.device
        self.state = ModuleState(self.model)
        self._gradient: _Gradient | None = None

    # Values

    def values(self, mode: Mode) -> Finding:
        """What the logits before the cuts show in `mode`."""
        pair = self.pair
        with self._mode(mode):
            before = self._logits(pair.batch.inputs, mode)
            found = deviation(before, self._logits(pair.inputs, mode), pair.kept)
            if not self._any(found.largest > 0):
                return self._calm(mode, before, found)
            repeat = deviation(before, self._logits(pair.batch.inputs, mode), pair.kept).largest
            counts = found.largest > max(self.probe.tolerance * found.scale, NOISE_FACTOR * repeat)
            blind = NOISE_FACTOR * repeat > BLIND * found.scale
            small = self._any(counts) and self._is_rounding(found, mode, counts)
            layer = self._layer(mode) if self._any(counts and not small) else None
        own = self._calm(mode, before, found)
        if counts:
            own = self._rounding(mode, found) if small else self._leak(mode, found, layer)
        elif blind:
            noise = repeat / (found.scale or 1.0)
            text = (
                f"two equal passes with equal noise differ by {noise:.2g} of the largest logit in {mode} mode, "
                f"so that no leak can be told"
            )
            own = Finding("not_repeatable", noise, self.step, mode=mode, text=text)
        return worst(self.team.gather(own))

    def _calm(self, mode: Mode, logits: Tensor, found: Deviation) -> Finding:
        """No difference that counts."""
        if not found.scale and not bool(logits.isfinite().any()):
            return Finding("not_finite", 0.0, self.step, mode=mode)
        return Finding(self._passed, found.relative, self.step)

    @property
    def _passed(self) -> str:
        return "passed" if self.probe.composition.task.causal else "not_causal_task"

    def _rounding(self, mode: Mode, found: Deviation) -> Finding:
        text = f"logits differ by {found.relative:.1g} of the largest in {mode} mode, and no gradient flows that way"
        return Finding("rounding", found.relative, self.step, found.position, None, mode, text)

    def _leak(self, mode: Mode, found: Deviation, layer: int | str | None) -> Finding:
        T, cut = self.pair.inputs.shape[1], int(self.pair.cuts[found.sequence])
        changed = "other sequences of its batch" if cut == T else f"the inputs from position {cut} on"
        text = (
            f"{self._who(layer)} sees what it is asked to predict: with {changed} replaced, the logits at "
            f"position {found.position} change by {found.relative:.2g} of the largest logit ({mode} mode)"
        )
        return Finding("leak", found.relative, self.step, found.position, layer, mode, text)

    def _is_rounding(self, found: Deviation, mode: Mode, counts: bool) -> bool:
        """Whether the difference is one of float32 arithmetic: small in float32, and without a gradient."""
        if self.probe.precision != "fp32":
            pair = self.pair
            a, b = (self._logits(ids, mode, precision="fp32", full=False) for ids in (pair.batch.inputs, pair.inputs))
            found = deviation(a, b, pair.kept)
        if self._any(counts and found.relative > ROUNDING):
            return False
        with self._mode("training"):
            return not self._any(self._measured_gradient().largest > 0)

    def _layer(self, mode: Mode) -> int | str | None:
        """The first part of the model whose output differs before the cuts by more than rounding."""
        pair = self.pair
        outputs: list[list[Tensor]] = []
        for ids in (pair.batch.inputs, pair.inputs):
            with self._outputs(detach=True) as captured:
                self._logits(ids, mode, full=False)
            outputs.append(captured)
        apart = [deviation(a, b, pair.kept).relative for a, b in zip(*outputs, strict=True)]
        bound = max(self.probe.tolerance, 1e-6)
        first = next((i for i, relative in enumerate(apart) if relative > bound), None)
        return None if first is None else _name(first)

    # Gradient

    def judge_gradient(self) -> Finding:
        """What the gradient of the logits before the cuts shows, with respect to the embedded inputs from the cuts on."""
        with self._mode("training"):
            found = self._measured_gradient()
        own = Finding(self._passed, 0.0, self.step)
        if found.largest > self.probe.tolerance:
            text = (
                f"{self._who(found.layer)} sees what it is asked to predict: the gradient of logits reaches an "
                f"input at position {found.position} that is none of theirs, with {found.largest:.2g} of the largest "
                f"gradient (training mode)"
            )
            own = Finding("leak", found.largest, self.step, found.position, found.layer, "training", text)
        return worst(self.team.gather(own))

    def _measured_gradient(self) -> _Gradient:
        """Measured once; eager."""
        if self._gradient is not None:
            return self._gradient
        pair = self.pair
        generator = torch_generator(self.config.seed, "leak probe", "gradient", self.step)
        with self._outputs(detach=False) as outputs, torch.enable_grad():
            logits = self._pass(self.model, pair.batch.inputs, self.probe.precision).float()
            over_vocabulary = torch.randn(logits.shape[-1], generator=generator).to(self.device)
            over_positions = torch.randn(pair.kept.shape, generator=generator).to(self.device) * pair.kept
            total = ((logits @ over_vocabulary) * over_positions).sum()
            gradients = torch.autograd.grad(total, outputs, allow_unused=True)
        self.state.restore()
        later = torch.arange(pair.inputs.shape[1]) >= pair.cuts[:, None]
        self._gradient = _judge_gradients(gradients, later.to(self.device))
        return self._gradient

    # Memory

    def remembered(self) -> list[str]:
        """What carries something from a batch to the next one in evaluation mode."""
        pair = self.pair
        everywhere = torch.ones_like(pair.kept) if pair.batch.padding is None else ~pair.batch.padding
        with self._mode("evaluation"):
            before = self._logits(pair.batch.inputs, "evaluation", restore=False)
            self._logits(pair.inputs, "evaluation", restore=False)
            after = self._logits(pair.batch.inputs, "evaluation", restore=False)
            names = self.state.changed()
            self.state.restore()
            difference = deviation(before, after, everywhere).largest
            if not self._any(difference > 0):
                return []
            repeat = deviation(before, self._logits(pair.batch.inputs, "evaluation"), everywhere).largest
        return (names or ["model"]) if self._any(difference > NOISE_FACTOR * repeat) else []

    # Passes

    @contextlib.contextmanager
    def _mode(self, mode: Mode) -> Iterator[None]:
        """The model as evaluations have it, or as training steps have it."""
        if mode == "evaluation":
            with evaluating(self.model):
                yield
        else:
            before = self.model.want, self.model.training
            self.model.train()
            self.model.set_want(self.probe.composition.objective.want)
            try:
                yield
            finally:
                self.model.train(before[1])
                self.model.set_want(before[0])

    def _logits(
        self, ids: Tensor, mode: Mode, *, precision: str | None = None, full: bool | None = None, restore: bool = True
    ) -> Tensor:
        """Logits (B, T, V) of `ids` in the mode that the model is in, by the form that the run itself calls.

        restore: whether buffers and attributes are put back afterwards, so that the next pass starts as this one did.
        """
        full = self.full if full is None else full
        model: Any = self.probe.parallel.measuring if full else self.model
        # With gradients where training has them: a mechanism may compute in another form without. Sharded parameters
        # are let go by the backward pass, which there is none of.
        with torch.set_grad_enabled(mode == "training" and not self.probe.parallel.together):
            logits = self._pass(model, ids, self.probe.precision if precision is None else precision).detach()
        if restore:
            self.state.restore()
        return logits

    def _pass(self, model: Any, ids: Tensor, precision: str) -> Tensor:
        """Logits (B, T, V), under the noise of this step's first micro-step."""
        torch.manual_seed(derive(self.config.seed, "noise", self.step, 0, self.team.rank) >> 1)
        ctx = Context(step=torch.full((), self.step, device=self.device), padding=self.pair.batch.padding)
        with autocast(self.device, precision):
            logits: Tensor = model(ids, ctx).logits
        return logits

    @contextlib.contextmanager
    def _outputs(self, *, detach: bool) -> Iterator[list[Tensor]]:
        """The outputs (B, T, D) of the embedding and of each block in the pass that follows.

        detach: whether they are only looked at. Otherwise that of the embedding becomes a leaf, at which gradients end.
        """
        found: list[Tensor] = []

        def note(_module: Any, _inputs: Any, output: Any) -> Any:
            x, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
            if detach:
                found.append(x.detach())
                return None
            x = x if found else x.detach().requires_grad_()
            found.append(x)
            return x if rest is None else (x, *rest)

        hooks = [module.register_forward_hook(note) for module in (self.model.embedding, *self.model.layers)]
        try:
            yield found
        finally:
            for hook in hooks:
                hook.remove()

    def _any(self, holds: bool) -> bool:
        """Whether it holds in any process of the team: passes are made by all or by none."""
        return bool(self.team.largest(int(holds)))

    def _who(self, layer: int | str | None) -> str:
        if layer in self.config.attentions:
            return f"layer {layer}: attention {self.config.attentions[layer].name}"
        if isinstance(layer, int):
            return f"layer {layer}"
        return f"embedding {self.config.embed.name}" if layer == "embedding" and self.config.embed else "the model"


def _name(index: int) -> int | str:
    """The part of the model whose output is number `index`."""
    return index - 1 if index else "embedding"


def _judge_gradients(gradients: tuple[Tensor | None, ...], later: Tensor) -> _Gradient:
    """gradients: with respect to the outputs (B, T, D) of the embedding and of each block. later: (B, T), from the cuts on.

    The layer that leaks is the last one whose input has a gradient there.
    """
    layer: int | str | None = None
    largest, position = 0.0, 0
    for index, gradient in enumerate(gradients):
        if gradient is None:
            continue
        size = gradient.detach().abs().amax(-1).float()  # (B, T)
        scale = float(size.max())
        there = size.masked_fill(~later, 0.0)
        leaked = float(there.max())
        if not leaked > 0 or not scale < float("inf"):
            continue
        layer = index if index < len(gradients) - 1 else None
        if index == 0:
            largest, position = leaked / scale, int(there.argmax()) % there.shape[1]
    return _Gradient(largest, position, layer if largest else None)
