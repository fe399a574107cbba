"""The processes of a run: one, or those that torchrun started."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from lot.contracts import Batch
from lot.devices.device import choose_device
from lot.errors import BadInput, Diverged, LotError, RunFailed, first_line

T = TypeVar("T")


class Share(NamedTuple):
    """What a process works on: its part of a batch, and the position of its first token."""

    batch: Batch
    start: int = 0


@dataclass(frozen=True)
class Team:
    """This process among `world` of them. The main one alone writes; every batch is shared out evenly.

    span: how many processes, of neighboring ranks, hold each sequence together. group: these; None where it is one.
    """

    rank: int
    world: int
    device: torch.device
    span: int = 1
    group: dist.ProcessGroup | None = None

    @property
    def main(self) -> bool:
        """Whether this is the process that leads: it writes the run directory."""
        return self.rank == 0

    @property
    def row(self) -> int:
        """Which part of the rows of a batch is this process's, and that of all who hold these sequences with it."""
        return self.rank // self.span

    def positions(self, length: int) -> slice:
        """The positions of sequences of `length` tokens that this process holds in training."""
        width = length // self.span
        start = self.rank % self.span * width
        return slice(start, start + width)

    def sequences(self, batch: Batch) -> Batch:
        """The rows of a batch of the whole team that are this process's, as whole sequences."""
        height = len(batch.inputs) * self.span // self.world
        return _part(batch, slice(self.row * height, (self.row + 1) * height))

    def share(self, batch: Batch) -> Share:
        """This process's part of a batch of the whole team: some of the rows, and of these some of the positions."""
        if self.world == 1:
            return Share(batch)
        mine = self.positions(batch.inputs.shape[1])
        return Share(_part(self.sequences(batch), slice(None), mine), mine.start)

    def add_up(self, value: Tensor) -> Tensor:
        """The sum of `value` over the team, through which gradients flow back to every process."""
        return value if self.world == 1 else cast(Tensor, _AddUp.apply(value))  # type: ignore[no-untyped-call]

    def mean(self, value: Tensor) -> Tensor:
        """The mean of `value` over the team."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value, op=dist.ReduceOp.SUM)
            value = value / self.world
        return value

    def largest(self, value: int) -> int:
        """The largest `value` of the team: how all agree that one of them was told to stop. Waits for no GPU."""
        if self.world == 1:
            return value
        tensor = torch.tensor(value)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    def gather(self, value: T) -> list[T]:
        """The `value` of each process, by rank, given to all. Tensors in it lie on the CPU."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def lead(self, action: Callable[[], T]) -> T:
        """What `action` returned in the main process, given to all; an error that it raised there is raised in all.

        What only the main process does can fail there only (a full disk). Were the others not told, they would wait for it.
        """
        if self.world == 1:
            return action()
        error: Exception | None = None
        box: list[Any] = [None]
        if self.main:
            try:
                box = [(action(), None)]
            except Exception as caught:
                error = caught
                box = [(None, (_kind(caught), str(caught)))]
        dist.broadcast_object_list(box, src=0)
        if error is not None:
            raise error
        value, told = box[0]
        if told is not None:
            kind, text = told
            raise _KINDS[kind](text)
        return cast(T, value)


def _part(batch: Batch, *where: slice) -> Batch:
    """Some rows of a batch, or some positions of some rows."""
    return Batch(*(None if tensor is None else tensor[where] for tensor in batch))  # type: ignore[arg-type]


class _AddUp(torch.autograd.Function):
    """The sum over all processes; the gradient of each summand is the sum of the gradients that its results have."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


_KINDS: dict[str, type[Exception]] = {
    "input": BadInput,
    "diverged": Diverged,
    "failed": RunFailed,
    "storage": OSError,
    "other": RuntimeError,
}


def _kind(error: Exception) -> str:
    if isinstance(error, BadInput):
        return "input"
    if isinstance(error, LotError):
        return "diverged" if isinstance(error, Diverged) else "failed"
    return "storage" if isinstance(error, OSError) else "other"


def is_lost_peer(error: BaseException) -> bool:
    """Whether `error` is what a collective raises when another process has gone."""
    if not dist.is_available() or not dist.is_initialized():
        return False
    return isinstance(error, (dist.DistBackendError, dist.DistNetworkError)) or (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    )


def join_team(device: str, batch_size: int, span: int = 1) -> Team:
    """The team that the environment describes (torchrun sets it), joined; a team of one without it.

    span: how many processes hold a sequence together; one process alone holds it in any case. Raises BadInput when sequences
    or the batch cannot be shared out evenly, or when there are fewer GPUs than processes here.
    """
    world = _number("WORLD_SIZE", 1, 1)
    if world == 1:
        return Team(0, 1, choose_device(device))
    local = _number("LOCAL_RANK", 0, 0)
    if world % span:
        raise BadInput(where="train.context_parallel", expected=f"a divisor of the {world} processes", got=span)
    if batch_size % (world // span):
        who = f"{world} processes" if span == 1 else f"{world // span} groups of {span} processes"
        raise BadInput(where="train.batch_size", expected=f"a multiple of the {who}", got=batch_size)
    chosen = choose_device(device)
    if chosen.type == "cuda":
        if local >= torch.cuda.device_count():
            raise BadInput(
                where="torchrun --nproc-per-node",
                expected=f"at most {torch.cuda.device_count()}, the number of GPUs here",
                got=os.environ.get("LOCAL_WORLD_SIZE", world),
                fix="start fewer processes, or add --device cpu",
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        _meet(chosen, world)
        atexit.register(leave)
    group = None
    if span > 1:
        group, _ = dist.new_subgroups(span)  # type: ignore[no-untyped-call]
    return Team(dist.get_rank(), world, chosen, span, group)


def _meet(device: torch.device, world: int) -> None:
    """Join the other processes where the environment says. Raises BadInput where it does not, or where they do not meet."""
    if (rank := _number("RANK", 0)) >= world:
        raise BadInput(where="environment variable RANK", expected=f"a number below WORLD_SIZE={world}", got=rank)
    port, host = _number("MASTER_PORT", 1), os.environ.get("MASTER_ADDR")
    if not host:
        raise BadInput("is not set", where="environment variable MASTER_ADDR", fix=_BY_TORCHRUN)
    try:
        # Gloo beside NCCL carries what is not a tensor of the GPU, so that agreeing on a signal never waits for the GPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    except (dist.DistError, ValueError) as error:  # a port in use, no such host, nobody comes
        raise BadInput(f"the processes cannot meet at {host}:{port} ({first_line(error)})", fix=_BY_TORCHRUN) from error


_BY_TORCHRUN = "start the processes with torchrun, which sets it; --master-port chooses another port"


def _number(variable: str, least: int, default: int | None = None) -> int:
    """A whole number in the environment. Raises BadInput where it is none, or is missing without a `default`."""
    text = os.environ.get(variable)
    if text is None and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdigit() or int(text) < least:
        raise BadInput(
            where=f"environment variable {variable}",
            expected=f"a number, {least} or more",
            got="nothing" if text is None else repr(text),
            fix=f"unset it, or {_BY_TORCHRUN}" if default is not None else _BY_TORCHRUN,
        )
    return int(text)


def leave() -> None:
    """End the process group, if there is one, while Python still runs: for `atexit`, once models have been let go.

    A thread of gloo that holds a tensor when the interpreter is torn down aborts the process (seen in a quarter of short
    runs). The group ends, and joins its threads, only when no model refers to it any more: hence the collection.
    """
    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()
