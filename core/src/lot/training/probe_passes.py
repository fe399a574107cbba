"""The passes that a probe makes through the model of a run, in the forms that the run itself uses, each of them taken back.

A run evaluates whole sequences, and trains on what `Team.share` gives to each process; a probe does likewise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lot.contracts import Batch
from lot.devices.precision import autocast
from lot.model.measure import evaluating
from lot.nn.documents import context
from lot.random import derive, torch_generator
from lot.training.compose import Composition
from lot.training.finding import Mode
from lot.training.module_state import ModuleState
from lot.training.parallel import Parallel


class Passes:
    """Passes over `batch`, the whole sequences of this process's rows, and over other inputs in their place.

    step: optimizer steps done. full: whether the batch has the size of those in training, so that a compiled form can be
    used. What a pass changes in the model is put back after it, so that the next one starts as it did.
    """

    def __init__(
        self, composition: Composition, parallel: Parallel, precision: str, batch: Batch, step: int, *, full: bool
    ) -> None:
        self.composition, self.parallel, self.precision = composition, parallel, precision
        self.model, self.team = parallel.model, parallel.team
        self.batch, self.step, self.full = batch, step, full
        self.state = ModuleState(self.model)
        self._own: dict[Mode, Tensor] = {}

    @contextlib.contextmanager
    def mode(self, mode: Mode) -> Iterator[None]:
        """The model as evaluations have it, or as training steps have it."""
        if mode == "evaluation":
            with evaluating(self.model):
                yield
        else:
            before = self.model.want, self.model.training
            self.model.train()
            self.model.set_want(self.composition.objective.want)
            try:
                yield
            finally:
                self.model.train(before[1])
                self.model.set_want(before[0])

    def positions(self, mode: Mode) -> slice:
        """The positions of its sequences whose logits this process has in `mode`."""
        length = self.batch.inputs.shape[1]
        return slice(0, length) if mode == "evaluation" else self.team.positions(length)

    def own(self, mode: Mode) -> Tensor:
        """Logits (B, T, V) of the batch itself in `mode`, which the model is in; computed once."""
        if mode not in self._own:
            self._own[mode] = self.logits(self.batch.inputs, mode)
        return self._own[mode]

    def logits(
        self, ids: Tensor, mode: Mode, *, precision: str | None = None, full: bool | None = None, restore: bool = True
    ) -> Tensor:
        """Logits (B, T, V) of `ids` in `mode`, which the model is in, by the form that the run itself calls.

        T: the positions of this process. restore: whether buffers and attributes are put back afterwards.
        """
        model: Any = self.parallel.measuring if (self.full if full is None else full) else self.model
        # With gradients where training has them: a mechanism may compute in another form without. Sharded parameters
        # are let go by the backward pass, which there is none of.
        with torch.set_grad_enabled(mode == "training" and not self.parallel.together):
            logits = self._pass(model, ids, mode, self.precision if precision is None else precision).detach()
        if restore:
            self.state.restore()
        return logits

    def outputs(self, ids: Tensor, mode: Mode) -> list[Tensor]:
        """The outputs (B, T, D) of the embedding and of each block for `ids`, eager."""
        with self._watching(detach=True) as found:
            self.logits(ids, mode, full=False)
        return found

    def gradients(self, kept: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the batch's logits at the positions `kept` (B, T), weighted at random.

        With respect to the outputs (B, T, D) of the embedding and of each block; in training mode, which the model is in,
        and eager. None: not reached.
        """
        device = self.team.device
        generator = torch_generator(self.composition.config.seed, "leak probe", "gradient", self.step)
        with self._watching(detach=False) as outputs, torch.enable_grad():
            logits = self._pass(self.model, self.batch.inputs, "training", self.precision)
            over_vocabulary = torch.randn(logits.shape[-1], generator=generator).to(device)
            over_positions = torch.randn(kept.shape, generator=generator).to(device) * kept
            total = ((logits.float() @ over_vocabulary) * over_positions).sum()
            found = torch.autograd.grad(total, outputs, allow_unused=True)
        self.state.restore()
        if not self.parallel.together and not (self.full and self.parallel.measuring is not self.model):
            self._own.setdefault("training", logits.detach())  # the very pass that `own` would make
        return found

    def _pass(self, model: Any, ids: Tensor, mode: Mode, precision: str) -> Tensor:
        """Logits (B, T, V), under the noise of this step's first micro-step."""
        mine = self.positions(mode)
        batch = Batch(*(None if tensor is None else tensor[:, mine] for tensor in self.batch))  # type: ignore[arg-type]
        torch.manual_seed(derive(self.composition.config.seed, "noise", self.step, 0, self.team.rank) >> 1)
        ctx = context(
            batch,
            torch.full((), self.step, device=self.team.device),
            start=mine.start,
            group=None if mode == "evaluation" else self.team.group,
        )
        with autocast(self.team.device, precision):
            logits: Tensor = model(ids[:, mine], ctx).logits
        return logits

    @contextlib.contextmanager
    def _watching(self, *, detach: bool) -> Iterator[list[Tensor]]:
        """The outputs of the embedding and of each block in the pass that follows.

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
