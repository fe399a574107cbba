"""Which positions each process of a group works on. Below both `exchange.py` and `ring.py`, which use it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.distributed as dist

from lot import BadInput
from lot_toroidal.ops.torus import Torus


@dataclass(frozen=True)
class Members:
    """A process among the `world` processes of a group; alone without one."""

    rank: int = 0
    world: int = 1
    group: dist.ProcessGroup | None = None

    @classmethod
    def of(cls, group: dist.ProcessGroup | None) -> Members:
        """This process's place in `group`; None: alone."""
        return cls() if group is None else cls(dist.get_rank(group), dist.get_world_size(group), group)

    def peer(self, rank: int) -> int:
        """The global rank of a member."""
        return rank if self.group is None else dist.get_global_rank(self.group, rank)


@dataclass(frozen=True)
class Layout:
    """Which positions each process works on: chunks of `chunk` positions, `parts` of them per process.

    parts: 1, process r has chunk r; 2, it has chunks r and 2 W - 1 - r (under a causal mask an early chunk is cheap and a
    late one dear, so that every process works equally long).
    """

    chunk: int
    parts: int = 1
    members: Members = field(default_factory=Members)

    def chunks(self, rank: int) -> list[int]:
        """The chunks of a process, in the order in which it holds them."""
        return [rank] if self.parts == 1 else [rank, 2 * self.members.world - 1 - rank]


def plan(local: int, members: Members, torus: Torus, balance: bool) -> Layout:
    """The layout for `local` positions per process. Raises BadInput when they cannot be halved for balance."""
    parts = 2 if balance and torus.causal and members.world > 1 else 1
    if local % parts:
        raise BadInput(
            where="balance",
            expected="an even number of positions per process",
            got=local,
            fix="or set it to false",
        )
    return Layout(local // parts, parts, members)
