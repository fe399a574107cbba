"""Toroidal attention in blocks, in one process or with a sequence spread over several."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lot.contracts import Context, Dims
from lot.errors import BadInput
from lot_toroidal.attention import TorusAttention
from lot_toroidal.config import RingConfig
from lot_toroidal.exchange import Members
from lot_toroidal.ring import plan, ring_attention


class RingAttention(TorusAttention):
    """Toroidal attention over the sequences of all `members`; alone, over its own.

    After `join`, x (B, T / W, D) holds positions r T / W to (r + 1) T / W - 1 of rank r, with `ctx.start` the first of them.
    """

    options: RingConfig
    members: Members = Members()

    def __init__(self, config: RingConfig, dims: Dims) -> None:
        super().__init__(config, dims, causal=config.causal, window=config.window)
        if dims.dropout:
            raise BadInput(
                where="model.dropout", expected="0 with toroidal_ring, whose weights are never stored", got=dims.dropout
            )

    def forward(self, x: Tensor, ctx: Context, mask: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """As `TorusAttention.forward`. Raises BadInput for a mask of the batch, and, spread out, for signals of weights."""
        if mask is not None:
            raise BadInput("toroidal_ring takes padding, but no mask of the batch", fix="toroidal takes both")
        if self.members.world > 1 and self.want & {"attention", "platter_attention"}:
            raise BadInput("attention weights were asked for, but each process sees a part of the sequence only")
        return super().forward(x, ctx)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None, mask: Tensor | None) -> Tensor:
        """Block by block, the blocks of other members included."""
        layout = plan(q.shape[2], self.members, self.torus, self.options.balance)
        return ring_attention(q, k, v, self.torus, layout, padding=padding, block=self.options.block)

    def can_decode(self) -> bool:
        """Alone, and when it does not see the future."""
        return self.causal and self.members.world == 1

    def describe(self) -> str:
        """How many processes share a sequence."""
        world = self.members.world
        who = "every process holds whole sequences" if world == 1 else f"a sequence is spread over {world} processes"
        return f"blocks of {self.options.block} positions, {who}; {self.describe_torus()}"


def join(model: nn.Module, group: dist.ProcessGroup | None = None) -> int:
    """Spread the sequences of every ring attention in `model` over the processes of `group` (None: all); how many there are.

    From here on the model takes `shard`s. Gradients of the parameters are then partial sums: average them over the group, as
    DistributedDataParallel does, when the loss is a mean over equal shards.
    """
    found = [module for module in model.modules() if isinstance(module, RingAttention)]
    for module in found:
        module.members = Members.of(group)
    return len(found)


def shard(x: Tensor, group: dist.ProcessGroup | None = None) -> tuple[Tensor, int]:
    """This process's positions of x (B, T, ...) and the first of them, for `Context(start=...)`.

    Raises BadInput unless the number of processes divides T.
    """
    members = Members.of(group)
    if x.shape[1] % members.world:
        raise BadInput(f"a sequence of {x.shape[1]} positions cannot be shared evenly by {members.world} processes")
    size = x.shape[1] // members.world
    return torch.narrow(x, 1, members.rank * size, size), members.rank * size
