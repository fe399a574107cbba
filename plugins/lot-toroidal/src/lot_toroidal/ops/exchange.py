"""What the processes of a ring send each other: tensors passed on to the next one, and chunks, to even out their work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from lot_toroidal.ops.layout import Layout, Members


@dataclass
class Pending:
    """Tensors under way; `wait` gives them."""

    requests: list[dist.Work]
    received: tuple[Tensor, ...]
    sent: list[Tensor]  # must outlive the sending

    def wait(self) -> tuple[Tensor, ...]:
        """What arrived, in the order in which it was sent."""
        for request in self.requests:
            request.wait()
        return self.received


def send_on(tensors: Sequence[Tensor], members: Members) -> Pending:
    """Start to send `tensors` to the next member and to receive as many, of the same shapes, from the one before."""
    following, before = (members.peer((members.rank + step) % members.world) for step in (1, -1))
    operations, received, sent = [], [], []
    for tensor in tensors:
        sent.append(tensor.contiguous())
        arriving = torch.empty_like(tensor, memory_format=torch.contiguous_format)
        operations += [
            dist.P2POp(dist.isend, sent[-1], following, members.group),
            dist.P2POp(dist.irecv, arriving, before, members.group),
        ]
        received.append(arriving)
    return Pending(dist.batch_isend_irecv(operations), tuple(received), sent)


def redistribute(tensors: Sequence[Tensor], layout: Layout, *, balanced: bool) -> tuple[Tensor, ...]:
    """Positions (dimension 2) moved between members: from contiguous to balanced chunks, or back.

    Contiguous, process r holds chunks 2 r and 2 r + 1. All pairs of members exchange chunks in the order of their numbers, so
    that messages match without tags.
    """
    if layout.parts == 1:
        return tuple(tensors)
    members = layout.members
    contiguous = {chunk: divmod(chunk, 2) for chunk in range(2 * members.world)}
    spread = {chunk: (rank, slot) for rank in range(members.world) for slot, chunk in enumerate(layout.chunks(rank))}
    source, target = (contiguous, spread) if balanced else (spread, contiguous)
    moved, operations = [], []
    for tensor in tensors:
        halves = list(torch.split(tensor, layout.chunk, dim=2))
        result = [torch.empty_like(half, memory_format=torch.contiguous_format) for half in halves]
        for chunk in range(2 * members.world):
            (sender, at), (receiver, to) = source[chunk], target[chunk]
            if sender == receiver == members.rank:
                result[to] = halves[at]
            elif sender == members.rank:
                part = halves[at].contiguous()
                operations.append(dist.P2POp(dist.isend, part, members.peer(receiver), members.group))
            elif receiver == members.rank:
                operations.append(dist.P2POp(dist.irecv, result[to], members.peer(sender), members.group))
        moved.append(result)
    if operations:
        for request in dist.batch_isend_irecv(operations):
            request.wait()
    return tuple(torch.cat(halves, dim=2) for halves in moved)
