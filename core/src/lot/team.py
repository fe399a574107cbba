"""The processes of a run: one, or those that torchrun started."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from lot.contracts import Batch
from lot.environment import choose_device
from lot.errors import BadInput


@dataclass(frozen=True)
class Team:
    """This process among `world` of them. The main one alone writes; every batch is shared out evenly."""

    rank: int
    world: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """This process's rows of a batch of the whole team."""
        if self.world == 1:
            return batch
        size = batch.inputs.shape[0] // self.world
        rows = slice(self.rank * size, (self.rank + 1) * size)
        padding = None if batch.padding is None else batch.padding[rows]
        return Batch(batch.inputs[rows], batch.targets[rows], padding)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of `value` over the team."""
        if self.world > 1:
            dist.all_reduce(value, op=dist.ReduceOp.SUM)
            value = value / self.world
        return value

    def largest(self, value: int) -> int:
        """The largest `value` of the team: how all agree that one of them was told to stop."""
        if self.world == 1:
            return value
        tensor = torch.tensor(value, device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    def text(self, value: str) -> str:
        """The main process's `value`, given to all."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


def join_team(device: str, batch_size: int) -> Team:
    """The team that the environment describes (torchrun sets it), joined; a team of one without it.

    Raises BadInput when the batch cannot be shared out evenly.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Team(0, 1, choose_device(device))
    if batch_size % world:
        raise BadInput(where="train.batch_size", expected=f"a multiple of the {world} processes", got=batch_size)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = choose_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return Team(dist.get_rank(), world, chosen)
