"""Rotary encoding of a position on the ring and a platter in the stack."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lot import BadInput
from lot_toroidal.config import EncodingOptions


def ring_turns(pairs: int, period: int) -> Tensor:
    """Whole turns over the ring, (pairs,) float64: from N / 2 pi (RoPE's one radian per position) down to 1, rounded.

    Neighboring pairs may turn equally often where a short ring leaves no room.
    """
    top = max(1.0, period / (2 * math.pi))
    return torch.logspace(math.log10(top), 0, pairs, dtype=torch.float64).round()


def sequence_frequencies(pairs: int, period: int, kind: str) -> Tensor:
    """omega: radians per position, (pairs,) float64. `integer`: 2 pi n / N with whole n; `geometric`: as RoPE (Su et al., 2021)."""
    if kind == "integer":
        return ring_turns(pairs, period) * (2 * math.pi / period)
    return 10000.0 ** (-torch.arange(pairs, dtype=torch.float64) / pairs)


def platter_frequencies(omega: Tensor, depth: int, orthogonal: bool) -> Tensor:
    """phi: radians per platter, (pairs,) float64; the whole stack stays within half a turn, so that no two platters look alike.

    A ladder from slow to fast (omega falls, so the two are never parallel); `orthogonal` takes out its part along omega
    (Gram-Schmidt on this basis only, which leaves omega whole turns).
    """
    pairs = omega.numel()
    phi = torch.arange(1, pairs + 1, dtype=torch.float64)
    if orthogonal:
        phi = phi - (phi @ omega) / (omega @ omega) * omega
    return phi * (math.pi / depth / phi.abs().max())


def orthogonality(omega: Tensor, phi: Tensor) -> float:
    """|cos| of the angle between the two frequency bases: 0 orthogonal, 1 parallel (a platter then looks like a position)."""
    return float((omega @ phi).abs() / (omega.norm() * phi.norm()))


class TorusEncoding(nn.Module):
    """Pairs of channels turned by i omega_m + k phi_m, for position i and platter k.

    omega, phi: (width / 2,) float64, radians per position and per platter. orthogonal: whether Gram-Schmidt was applied.
    """

    def __init__(self, options: EncodingOptions, width: int, depth: int, period: int, channels: str) -> None:
        """width: channels of a platter; `channels` names what is split into platters, for messages."""
        super().__init__()
        if width % 2:
            raise BadInput(
                where="depth",
                expected=f"an even number of channels per platter (rotary encoding turns pairs); {channels} is {width * depth}",
                got=f"{width} channels at depth {depth}",
                fix="choose another depth, model.width or model.heads",
            )
        pairs = width // 2
        self.orthogonal = pairs > 1 if options.orthogonal is None else options.orthogonal
        if self.orthogonal and pairs == 1 and depth > 1:
            raise BadInput(
                where="orthogonal",
                expected="platters of at least 4 channels (one frequency has nothing to be orthogonal to)",
                got=f"2 channels at depth {depth}",
                fix="lower the depth, or set orthogonal=false",
            )
        self.period, self.depth = period, depth
        self.omega, self.phi = self._bases(options, pairs)
        self._make_table(options, pairs)

    def _bases(self, options: EncodingOptions, pairs: int) -> tuple[Tensor, Tensor]:
        omega = sequence_frequencies(pairs, self.period, options.frequencies)
        return omega, platter_frequencies(omega, self.depth, self.orthogonal and pairs > 1)

    def _make_table(self, options: EncodingOptions, pairs: int) -> None:
        """Buffers cos, sin (N, D, width / 2) of all angles; `table` reads them."""
        period, depth = self.period, self.depth
        position, platter = torch.arange(period, dtype=torch.float64), torch.arange(depth, dtype=torch.float64)
        if options.frequencies == "integer":
            # Whole turns are taken off in integers: positions i and i + N get the very same angle.
            turned = torch.outer(position, ring_turns(pairs, period)) % period * (2 * math.pi / period)
        else:
            turned = torch.outer(position, self.omega)
        angle = turned[:, None] + torch.outer(platter, self.phi)  # (N, D, width / 2) radians
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    @property
    def score(self) -> float:
        """Orthogonality score of the two bases; 0 where a single platter leaves nothing to confuse."""
        return 0.0 if self.depth == 1 else orthogonality(self.omega, self.phi)

    def table(self, start: int, stop: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin (stop - start, D, width / 2) of the angles of positions `start` to before `stop`."""
        return self.cos[start:stop].to(dtype), self.sin[start:stop].to(dtype)  # type: ignore[index]

    def forward(self, x: Tensor, start: int = 0, *, inverse: bool = False) -> Tensor:
        """x (..., T, D, width) turned (back, with `inverse`) from position `start` on; same dtype, computed in float32 or wider."""
        end = start + x.shape[-3]
        wide = torch.promote_types(x.dtype, torch.float32)
        cos, sin = self.table(start, end, x.device, wide)
        if inverse:
            sin = -sin
        if not torch.compiler.is_compiling():
            turned: Tensor = _Turn.apply(x.to(wide), torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1))
            return turned.to(x.dtype)
        a, b = x.to(wide).chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).to(x.dtype)


class _Turn(torch.autograd.Function):
    """x cos + x' sin, x' being x with its halves exchanged: passes over whole rows, where halves are a few numbers each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        exchanged = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
        return (x * cos).add_(exchanged.mul_(sin))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _Turn.apply(grad, cos, -sin), None, None


class PublishedEncoding(TorusEncoding):
    """As published: angle 2 pi i w_m / T + 2 pi k u_m / D for position i of T and platter k of D; it depends on T.

    w_m = 10000^(-2m / p) over the p / 2 pairs of a platter. u_m, `orthogonal` (the default): 10000^(-m / (p D)) without its part
    along w, with the norm of w; otherwise 10000^(-2m / (p max(2D, 3))). omega: radians per position at the longest sequence.
    """

    def _bases(self, options: EncodingOptions, pairs: int) -> tuple[Tensor, Tensor]:
        m, width = torch.arange(pairs, dtype=torch.float64), 2 * pairs
        w = 10000.0 ** (-2 * m / width)
        if self.orthogonal and pairs > 1:
            u = 10000.0 ** (-2 * m / (2 * width * self.depth))
            u = u - (u @ w) / (w @ w) * w
            u = u * w.norm() / u.norm()
        else:
            u = 10000.0 ** (-2 * m / (width * max(2 * self.depth, 3)))
        return 2 * math.pi * w / self.period, 2 * math.pi * u / self.depth

    def _make_table(self, options: EncodingOptions, pairs: int) -> None:
        """None: angles depend on the length at hand."""

    def table(self, start: int, stop: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """As `TorusEncoding.table`, of a sequence of `stop` tokens."""
        wide = torch.float32 if device.type == "mps" else torch.float64
        position, platter = (torch.arange(*ends, device=device).to(wide) for ends in ((start, stop), (0, self.depth)))
        turned = position[:, None] * (self.omega * self.period).to(device, wide) / stop
        angle = turned[:, None] + platter[:, None] * self.phi.to(device, wide)
        return angle.cos().to(dtype), angle.sin().to(dtype)


def resolve_period(period: int | None, max_len: int) -> int:
    """The period asked for, or the longest sequence. Raises BadInput when sequences would not fit on the ring."""
    if period is not None and period < max_len:
        raise BadInput(
            where="period",
            expected=f"at least the longest sequence of the model, {max_len} tokens",
            got=period,
            fix="raise it, or lower model.max_len",
        )
    return max_len if period is None else period


def check_length(end: int, period: int) -> None:
    """Raises BadInput when a sequence of `end` tokens does not fit on the ring."""
    if end > period:
        raise BadInput(
            where="attn.period",
            expected=f"sequences of at most {period} tokens, once around the ring",
            got=f"{end} tokens",
        )


def split_platters(x: Tensor, depth: int) -> Tensor:
    """x (..., d) -> (..., D, d / D)."""
    return x.view(*x.shape[:-1], depth, x.shape[-1] // depth)


def split_width(width: int, depth: int, channels: str) -> int:
    """Channels of a platter. Raises BadInput when `depth` does not divide `width`."""
    if width % depth:
        raise BadInput(where="depth", expected=f"a divisor of {channels} {width}", got=depth)
    return width // depth
