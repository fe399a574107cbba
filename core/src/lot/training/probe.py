"""Measures whether a composed model sees what it is asked to predict, on a batch of the run itself.

A flag that says `causal` is a promise. Two passes that differ only in what comes later tell whether it is kept, so every
run makes them: with the model, the sizes, the precision and the noise that it trains with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lot.contracts import Batch
from lot.random import numpy_generator
from lot.training.compose import Composition
from lot.training.finding import Finding, Mode, worst
from lot.training.generators import generators_kept
from lot.training.parallel import Parallel
from lot.training.probe_inputs import Cuts, Deviation, Twins, deviation, twins
from lot.training.probe_passes import Passes

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
    """Probes the model of a run. Every process of a team takes part with its share, and all come to the same finding.

    Batches are whole sequences of the rows that are this process's (`Team.sequences`). Processes that hold sequences
    together cut them at the same places.
    """

    def __init__(self, composition: Composition, parallel: Parallel, precision: str) -> None:
        self.composition, self.parallel, self.precision = composition, parallel, precision
        self.team, self.seed, self.vocab_size = parallel.team, composition.config.seed, composition.task.vocab_size
        declared = [attention.tolerance for attention in parallel.model.attentions.values()]
        self.tolerance = min(max(declared, default=0.0), LARGEST_TOLERANCE)
        self._places: Cuts | None = None

    def look(self, batch: Batch, step: int, *, full: bool, thorough: bool) -> Finding:
        """Probe the model with `batch` at `step`; nothing of the run is changed.

        full: whether the batch has the size of those in training, so that a compiled form can be used.
        thorough: whether to measure the gradient too, although no difference asks for it, and to try every place of a cut,
        as far as `SWEEPS` more passes reach.
        """
        with generators_kept(self.team.device):
            session = self._session(batch, step, full=full, thorough=thorough)
            found = session.look(gradient=thorough)
            cuts = self._cuts(batch)
            if thorough and cuts is not None and found.status != "leak":
                return worst([found, *self._sweep(session.passes, cuts)])
            return found

    def look_and_remember(self, batch: Batch, step: int) -> tuple[Finding, list[str]]:
        """As `look`, with a part of a batch; and what carries something from one batch to the next in evaluation.

        The latter are names of buffers, attributes or `model`.
        """
        with generators_kept(self.team.device):
            session = self._session(batch, step)
            found = session.look(gradient=False)
            other = twins(batch, self.vocab_size, None, numpy_generator(self.seed, "memory probe", step))
            return found, session.remembered(other.inputs)

    def _session(self, batch: Batch, step: int, *, full: bool = False, thorough: bool = False) -> _Session:
        cuts, rng = self._cuts(batch), numpy_generator(self.seed, "leak probe", step, self.team.row)
        uncut = cuts.spared(len(batch.inputs)) if thorough and cuts is not None else None
        return _Session(
            self, self._passes(batch, step, full=full), twins(batch, self.vocab_size, cuts, rng, uncut=uncut)
        )

    def _sweep(self, passes: Passes, cuts: Cuts) -> list[Finding]:
        """What is found at the places of a cut that were not tried yet.

        In evaluation mode; where training spreads sequences over processes, which is another form, in training mode too.
        """
        step = passes.step
        if (rows := len(passes.batch.inputs)) < SWEPT:
            tiled = torch.arange(SWEPT, device=passes.batch.inputs.device) % rows
            many = Batch(*(None if t is None else t[tiled.to(t.device)] for t in passes.batch))  # type: ignore[arg-type]
            passes = self._passes(many, step, full=False)
        modes: tuple[Mode, ...] = ("evaluation",) if self.team.span == 1 else ("evaluation", "training")
        findings = []
        for sweep in range(SWEEPS):
            if not self.team.largest(cuts.untried):
                break
            rng = numpy_generator(self.seed, "leak sweep", step, sweep, self.team.row)
            pair = twins(passes.batch, self.vocab_size, cuts, rng, uncut=0)
            swept = _Session(self, passes, pair)
            findings += [swept.values(mode) for mode in modes]
        return findings

    def _passes(self, batch: Batch, step: int, *, full: bool) -> Passes:
        return Passes(self.composition, self.parallel, self.precision, batch, step, full=full)

    def _cuts(self, batch: Batch) -> Cuts | None:
        """Where to cut next; None where the task is not causal."""
        if not self.composition.task.causal:
            return None
        if self._places is None:
            self._places = Cuts(batch.targets, numpy_generator(self.seed, "leak cuts", self.team.row))
        return self._places


class _Session:
    """What the passes over a batch and a twin of it show."""

    def __init__(self, probe: LeakProbe, passes: Passes, pair: Twins) -> None:
        self.probe, self.passes, self.pair = probe, passes, pair
        self.team, self.config, self.step = probe.team, probe.composition.config, passes.step
        self._gradient: _Gradient | None = None

    def look(self, *, gradient: bool) -> Finding:
        """What shows in either mode. gradient: whether to judge the gradient too."""
        found = self.values("evaluation")
        if gradient:
            self._measured_gradient()  # first, since its pass is also one that values are compared with
        found = worst([found, self.values("training")])
        # Where values show a leak, they tell it better: layer, position and size.
        return worst([found, self._judge_gradient()]) if gradient and found.status != "leak" else found

    # Values

    def values(self, mode: Mode) -> Finding:
        """What the logits before the cuts show in `mode`."""
        passes, pair = self.passes, self.pair
        with passes.mode(mode):
            before = passes.own(mode)
            if mode == "training" and self._trains_as_it_evaluates(before):
                return self._calm(mode, before, Deviation())
            after = passes.logits(pair.inputs, mode)
            found = self._deviation(before, after, mode)
            if not self._any(found.largest > 0):
                return self._calm(mode, before, found)
            repeat = self._deviation(before, passes.logits(pair.batch.inputs, mode), mode).largest
            bound = max(self.probe.tolerance * found.scale, NOISE_FACTOR * repeat)
            counts = found.largest > bound
            whole = self._deviation(before, after, mode, uncut=True)
            if whole.largest > bound:  # what comes later cannot explain it, the other sequences can
                found = whole
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

    def _trains_as_it_evaluates(self, training: Tensor) -> bool:
        """Whether the logits of the batch are the same in both modes, to the bit and in every process.

        What training alone added, later tokens too, would show in them. Values then need no second look.
        """
        mine = self.passes.positions("training")
        return not self._any(not torch.equal(training, self.passes.own("evaluation")[:, mine]))

    def _deviation(self, a: Tensor, b: Tensor, mode: Mode, *, uncut: bool = False) -> Deviation:
        """Of two outputs in `mode` where they must be equal. uncut: in the sequences that are not cut only."""
        kept = self.pair.kept[:, self.passes.positions(mode)]
        if uncut:
            kept = kept & (self.pair.cuts == self.pair.inputs.shape[1]).to(kept.device)[:, None]
        return deviation(a, b, kept)

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
        return Finding("rounding", found.relative, self.step, self._position(found, mode), None, mode, text)

    def _leak(self, mode: Mode, found: Deviation, layer: int | str | None) -> Finding:
        T, cut, position = self.pair.inputs.shape[1], int(self.pair.cuts[found.sequence]), self._position(found, mode)
        changed = "other sequences of its batch" if cut == T else f"the inputs from position {cut} on"
        text = (
            f"{self._who(layer)} sees what it is asked to predict: with {changed} replaced, the logits at "
            f"position {position} change by {found.relative:.2g} of the largest logit ({mode} mode)"
        )
        return Finding("leak", found.relative, self.step, position, layer, mode, text)

    def _position(self, found: Deviation, mode: Mode) -> int:
        """Where in its sequence the largest difference is."""
        return self.passes.positions(mode).start + found.position  # type: ignore[no-any-return]

    def _is_rounding(self, found: Deviation, mode: Mode, counts: bool) -> bool:
        """Whether the difference is one of float32 arithmetic: small in float32, and without a gradient."""
        pair, passes = self.pair, self.passes
        if self.probe.precision != "fp32":
            a, b = (passes.logits(ids, mode, precision="fp32", full=False) for ids in (pair.batch.inputs, pair.inputs))
            found = self._deviation(a, b, mode)
        if self._any(counts and found.relative > ROUNDING):
            return False
        return not self._any(self._measured_gradient().largest > 0)

    def _layer(self, mode: Mode) -> int | str | None:
        """The first part of the model whose output differs before the cuts by more than rounding."""
        own, others = (self.passes.outputs(ids, mode) for ids in (self.pair.batch.inputs, self.pair.inputs))
        apart = [self._deviation(a, b, mode).relative for a, b in zip(own, others, strict=True)]
        bound = max(self.probe.tolerance, 1e-6)
        first = next((i for i, relative in enumerate(apart) if relative > bound), None)
        return None if first is None else _name(first)

    # Gradient

    def _judge_gradient(self) -> Finding:
        """What the gradient of the logits before the cuts shows, with respect to the embedded inputs from the cuts on."""
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
        """Measured once, in training mode."""
        if self._gradient is None:
            mine, T = self.passes.positions("training"), self.pair.inputs.shape[1]
            with self.passes.mode("training"):
                gradients = self.passes.gradients(self.pair.kept[:, mine])
            later = torch.arange(T)[mine] >= self.pair.cuts[:, None]
            self._gradient = _judge_gradients(gradients, later.to(self.team.device), mine.start)
        return self._gradient

    # Memory

    def remembered(self, others: Tensor) -> list[str]:
        """What carries something to the batch from a batch `others` before it, in evaluation mode."""
        passes, batch = self.passes, self.pair.batch
        everywhere = torch.ones_like(self.pair.kept) if batch.padding is None else ~batch.padding
        with passes.mode("evaluation"):
            before = passes.own("evaluation")
            passes.logits(others, "evaluation", restore=False)
            after = passes.logits(batch.inputs, "evaluation", restore=False)
            names = passes.state.changed()
            passes.state.restore()
            difference = deviation(before, after, everywhere).largest
            if not self._any(difference > 0):
                return []
            repeat = deviation(before, passes.logits(batch.inputs, "evaluation"), everywhere).largest
        return (names or ["model"]) if self._any(difference > NOISE_FACTOR * repeat) else []

    # Who

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


def _judge_gradients(gradients: tuple[Tensor | None, ...], later: Tensor, start: int) -> _Gradient:
    """gradients: with respect to the outputs (B, T, D) of the embedding and of each block, of positions from `start` on.

    later: (B, T), from the cuts on. The layer that leaks is the last one whose input has a gradient there.
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
            largest, position = leaked / scale, start + int(there.argmax()) % there.shape[1]
    return _Gradient(largest, position, layer if largest else None)
