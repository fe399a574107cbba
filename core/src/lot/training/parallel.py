"""How a model is spread over the processes of a run: not at all, copied to each (DDP), or sharded over all (FSDP2)."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lot.contracts import Model
from lot.devices.processes import Team
from lot.errors import BadInput
from lot.model.neutral import is_held
from lot.storage import checkpoint
from lot.storage.checkpoint import Checkpoint, load_weights
from lot.storage.tree import is_sharded

CreateOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


def spread(model: Model, team: Team, kind: str, *, compiled: bool, probed: bool) -> Parallel:
    """`model` (on the CPU) on the team's devices. kind: "ddp" or "fsdp"; one process needs neither.

    probed: whether `whole` will be called.
    """
    if team.world == 1:
        return Parallel(model, team, compiled)
    return Sharded(model, team, compiled, probed) if kind == "fsdp" else Copied(model, team, compiled)


class Parallel:
    """The model of one process; the base of the two for several.

    model: what the optimizer and a checkpoint see. forward: what a training step calls.
    """

    kind = "none"
    together = False
    """Whether every pass through the model is one of all processes at once."""

    def __init__(self, model: Model, team: Team, compiled: bool) -> None:
        self.team = team
        self.model = model.to(team.device)
        self.forward: nn.Module = torch.compile(self.model) if compiled else self.model  # type: ignore[assignment]

    @property
    def measuring(self) -> nn.Module:
        """What an evaluation calls for full batches."""
        return self.forward

    def micro_step(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """The context of a micro-step's forward and backward; gradients meet in the last one of a step only."""
        return contextlib.nullcontext()

    def optimizer(self, create: CreateOptimizer) -> torch.optim.Optimizer:
        """The optimizer that `create` makes for the model. Raises BadInput where it cannot work on it."""
        return create(self.model)

    def whole(self) -> Model | None:
        """The model with all its values, to look into, in the main process; None in the others. To be called by all."""
        return self.model if self.team.main else None

    def save(self, checkpoints: Path, step: int, state: dict[str, Any]) -> Path:
        """Write a checkpoint, by all processes together. Raises OSError in all."""
        return self.team.lead(lambda: checkpoint.save(checkpoints, step, self.model.state_dict(), state))

    def load(self, folder: Path, optimizer: torch.optim.Optimizer | None = None) -> Checkpoint:
        """Load a checkpoint into the model and, where it is given, the optimizer."""
        loaded = checkpoint.load(folder, self.team.device, state=optimizer is not None)
        load_weights(self.model, loaded.model, folder)
        if optimizer is not None:
            optimizer.load_state_dict(loaded.state["optimizer"])
        return loaded


class Copied(Parallel):
    """A copy in every process; gradients are averaged."""

    kind = "ddp"

    def __init__(self, model: Model, team: Team, compiled: bool) -> None:
        super().__init__(model, team, compiled=False)
        ids = [team.device.index] if team.device.type == "cuda" else None
        unused = is_held(model) or any(
            module.inert for module in (*model.attentions.values(), *model.mlps.values(), model.embedding)
        )
        self.copies = nn.parallel.DistributedDataParallel(self.model, device_ids=ids, find_unused_parameters=unused)
        self.forward = torch.compile(self.copies) if compiled else self.copies  # type: ignore[assignment]

    @property
    def measuring(self) -> nn.Module:
        """The copy itself: nothing is to be averaged."""
        return self.model

    def micro_step(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Without averaging, unless it is the last."""
        return contextlib.nullcontext() if last else self.copies.no_sync()


class Sharded(Parallel):
    """Shards of parameters, gradients and optimizer state in every process; a block is whole only while it works.

    Parameters stay float32 when they are gathered: what is computed in less is up to autocast, as without shards.
    """

    kind = "fsdp"
    together = True

    def __init__(self, model: Model, team: Team, compiled: bool, probed: bool) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        self.team = team
        self.model = self.forward = model
        self.replica = copy.deepcopy(model) if probed and team.main else None
        for name, p in model.named_parameters():
            if p.dim() == 0:
                raise BadInput(
                    f"the parameter {name} is a single number, which cannot be sharded",
                    where="train.parallel",
                    fix="make it a vector of one number, or choose train.parallel=ddp",
                )
        mesh = init_device_mesh(team.device.type, (team.world,))
        # Not at import: it takes all of torch._dynamo.
        own_signals = torch.compiler.disable(_own_signals)  # type: ignore[no-untyped-call]
        for block in model.layers:
            block.register_forward_hook(own_signals)
            if compiled:  # block by block: what gathers and frees parameters stays outside the compiled code
                block.compile()
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)

    def micro_step(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Without reducing gradients to shards, unless it is the last."""
        model: Any = self.model
        model.set_requires_gradient_sync(last)
        return contextlib.nullcontext()

    def optimizer(self, create: CreateOptimizer) -> torch.optim.Optimizer:
        """As in the base class. What an optimizer can do on shards shows when it tries: a step, which is then undone."""
        trial = create(self.model)
        try:
            self._rehearse(trial)
        except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, AssertionError) as error:
            raise BadInput(
                f"this optimizer does not work on sharded parameters ({str(error).partition(',')[0][:100]})",
                where="optim",
                fix="choose another, or train.parallel=ddp",
            ) from error
        return create(self.model)

    def whole(self) -> Model | None:
        """A replica that nothing is trained in, gathered from all."""
        gathered: dict[str, Tensor] = {}
        for name, tensor in self.model.state_dict().items():
            full = _full(tensor)
            if self.replica is not None:
                gathered[name] = full
        if self.replica is not None:
            self.replica.to(self.team.device).load_state_dict(gathered)
        return self.replica

    def save(self, checkpoints: Path, step: int, state: dict[str, Any]) -> Path:
        """As in the base class, each process its own shards."""
        from lot.storage import shards

        return shards.save(checkpoints, step, self.model.state_dict(), state, self.team)

    def load(self, folder: Path, optimizer: torch.optim.Optimizer | None = None) -> Checkpoint:
        """As in the base class, each process its own shards."""
        like = Checkpoint(0, self.model.state_dict(), {})
        if optimizer is not None:
            self._rehearse(optimizer)  # so that it has the state that is to be filled
            like = like._replace(state={"optimizer": optimizer.state_dict()})
        loaded = checkpoint.load(folder, self.team.device, like=like, state=optimizer is not None)
        load_weights(self.model, loaded.model, folder)
        if optimizer is not None:
            optimizer.load_state_dict(loaded.state["optimizer"])
        return loaded

    def _rehearse(self, optimizer: torch.optim.Optimizer) -> None:
        """Let `optimizer` take a step with zero gradients, after which every parameter is as before."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        before = [p.detach().clone() for p in parameters]
        try:
            for p in parameters:
                p.grad = torch.zeros_like(p)
            optimizer.step()
        finally:
            with torch.no_grad():
                for p, value in zip(parameters, before, strict=True):
                    p.grad = None
                    p.copy_(value)


def gradient_norm(parameters: Iterable[nn.Parameter], limit: float | None) -> Tensor:
    """The norm () of all gradients together, over all shards; where it is above `limit`, they are scaled down to it."""
    parameters = list(parameters)
    norm = _full(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
    if limit is not None:
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


def _full(tensor: Tensor) -> Tensor:
    """`tensor`, whole in every process."""
    sharded: Any = tensor
    return sharded.full_tensor() if is_sharded(tensor) else tensor


def _own_signals(block: nn.Module, _inputs: Any, output: tuple[Tensor, dict[str, Tensor]]) -> Any:
    """What a block returns, with copies of signals that are its very parameters: those are freed when it has worked."""
    x, signals = output
    memory = {p.untyped_storage().data_ptr() for p in block.parameters()}
    return x, {
        name: value.clone() if value.untyped_storage().data_ptr() in memory else value
        for name, value in signals.items()
    }
