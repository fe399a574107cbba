"""Toroidal attention in blocks, in one process or with a sequence spread over several."""

from __future__ import annotations

import torch
from torch import Tensor

from lot import BadInput, Context, Dims
from lot_toroidal.attention.toroidal import TorusAttention
from lot_toroidal.config import RingConfig
from lot_toroidal.ops.layout import Members, plan
from lot_toroidal.ops.ring import ring_attention
from lot_toroidal.ops.tiles import attend_whole
from lot_toroidal.ops.torus import Torus


class RingAttention(TorusAttention):
    """Toroidal attention over the sequences that the processes of `ctx.group` hold together; without one, over its own.

    Rank r of the group brings x (B, T / W, D), positions r T / W to (r + 1) T / W - 1, `ctx.start` being the first of them.
    Gradients of the parameters are then partial sums, which DistributedDataParallel or FSDP bring together.
    """

    options: RingConfig

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
        if ctx.group is None:
            return super().forward(x, ctx)
        if self.want & {"attention", "platter_attention"}:
            raise BadInput("attention weights were asked for, but each process sees a part of the sequence only")
        return super().forward(x, ctx)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, ctx: Context, mask: Tensor | None) -> Tensor:
        """Block by block, the blocks of other members included."""
        if torch.compiler.is_exporting():  # how many blocks there are depends on the length; one program serves all
            return attend_whole(q, k, v, self.torus, padding=ctx.padding)
        members = Members.of(ctx.group)
        layout = plan(q.shape[2], members, self.torus, self.options.balance)
        return ring_attention(q, k, v, self.torus, layout, padding=ctx.padding, block=self.options.block)

    def neutral_attend(self, q: Tensor, k: Tensor, v: Tensor, ctx: Context) -> Tensor:
        """Vanilla attention; spread over processes, block by block."""
        if ctx.group is None:
            return super().neutral_attend(q, k, v, ctx)
        torus = Torus(period=self.torus.period, depth=1, causal=self.causal)
        layout = plan(q.shape[2], Members.of(ctx.group), torus, self.options.balance)
        q, k, v = (part.unsqueeze(3) for part in (q, k, v))  # one platter: (B, H, T, 1, d)
        return ring_attention(q, k, v, torus, layout, padding=ctx.padding, block=self.options.block).squeeze(3)

    def check_spread(self, positions: int, processes: int) -> None:
        """Raises BadInput where `balance` cannot halve the positions of a process."""
        plan(positions, Members(0, processes), self.torus, self.options.balance)

    def describe(self) -> str:
        """The size of the blocks, and the torus."""
        return f"blocks of {self.options.block} positions; {self.describe_torus()}"
