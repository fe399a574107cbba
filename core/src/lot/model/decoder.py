"""The decoder around the attention: a pre-norm GPT-2 whose attention is a slot, layer by layer."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lot.config.schema import ModelConfig
from lot.contracts import Attention, Context, Dims, Embedding, GeneratorFor, Output
from lot.errors import PluginError


class MLP(nn.Module):
    """Two linear maps with a GELU (tanh form, as GPT-2) between them."""

    def __init__(self, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.down_std = 0.02 / math.sqrt(2 * layers)

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """GPT-2's values; the output, which adds to the residual stream, scaled by 1/sqrt(2L)."""
        nn.init.normal_(self.up.weight, std=0.02, generator=generator_for("up.weight"))
        nn.init.normal_(self.down.weight, std=self.down_std, generator=generator_for("down.weight"))
        nn.init.zeros_(self.up.bias)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        return self.down(nn.functional.gelu(self.up(x), approximate="tanh"))  # type: ignore[no-any-return]


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, attention: Attention, model: ModelConfig) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(model.width), nn.LayerNorm(model.width)
        self.attention = attention
        self.mlp = MLP(model.width, max(1, round(model.mlp_ratio * model.width)), model.layers)
        self.dropout = nn.Dropout(model.dropout)

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """x (B, T, D) and the signals of the attention."""
        given = self.attention(self.norm_attention(x), ctx)
        if not torch.compiler.is_compiling():
            _check_output(self.attention, given, x)
        y, signals = given
        x = x + self.dropout(y)
        return x + self.dropout(self.mlp(self.norm_mlp(x))), signals

    def extend(self, x: Tensor, ctx: Context, cache: Any) -> tuple[Tensor, Any]:
        """x (B, n, D) of the next n tokens, and the attention's cache that has taken them in: perhaps a new object."""
        attention: Any = self.attention  # decoding is optional: not part of the class
        y, cache = (attention.decode if x.shape[1] == 1 else attention.prefill)(self.norm_attention(x), ctx, cache)
        x = x + y
        return x + self.mlp(self.norm_mlp(x)), cache


def _check_output(attention: Attention, given: Any, x: Tensor) -> None:
    """Raises PluginError, which names the place, unless an attention gave y of the shape of x (B, T, D), and signals."""
    y, signals = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if isinstance(y, Tensor) and y.shape == x.shape and isinstance(signals, dict):
        return
    shape = f"y of shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
    code = inspect.unwrap(type(attention).forward).__code__
    raise PluginError(
        f"{type(attention).__name__}.forward: expected y of shape (B, T, D) = {tuple(x.shape)} and a dict of signals, "
        f"got {shape}{'' if isinstance(signals, dict) else ' without signals'}, "
        f"from {code.co_filename}:{code.co_firstlineno}"
    )


class Decoder(nn.Module):
    """ids (B, T) -> Output(logits (B, T, V), signals).

    `want` names the signals that a pass returns; set it with `set_want`, once, before compiling.
    """

    want: frozenset[str] = frozenset()

    def __init__(self, embedding: Embedding, attentions: list[Attention], model: ModelConfig, dims: Dims) -> None:
        super().__init__()
        self.dims, self.recompute = dims, model.recompute
        self.embedding = embedding
        self.positions = nn.Embedding(dims.max_len, dims.width) if model.positions == "learned" else None
        self.dropout = nn.Dropout(model.dropout)
        self.blocks = nn.ModuleList(Block(attention, model) for attention in attentions)
        self.norm = nn.LayerNorm(dims.width)
        self.tie = model.tie
        self.head = None if model.tie else nn.Linear(dims.width, dims.vocab_size, bias=False)

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Every initial value, keyed by the name of its parameter."""

        def below(prefix: str) -> GeneratorFor:
            return lambda name: generator_for(f"{prefix}.{name}")

        self.embedding.reset_parameters(below("embedding"))
        if self.positions is not None:
            nn.init.normal_(self.positions.weight, std=0.02, generator=generator_for("positions.weight"))
        for layer, block in enumerate(self.layers):
            block.attention.reset_parameters(below(f"blocks.{layer}.attention"))
            block.mlp.reset_parameters(below(f"blocks.{layer}.mlp"))
            block.norm_attention.reset_parameters()
            block.norm_mlp.reset_parameters()
        self.norm.reset_parameters()
        if self.head is not None:
            nn.init.normal_(self.head.weight, std=0.02, generator=generator_for("head.weight"))

    @property
    def layers(self) -> list[Block]:
        """The blocks, in order of depth."""
        return list(self.blocks)  # type: ignore[arg-type]

    @property
    def attentions(self) -> list[Attention]:
        """The attention of each layer."""
        return [block.attention for block in self.layers]

    def set_want(self, want: frozenset[str]) -> None:
        """Ask for the signals `want` from here on; each module is told of all and gives those that it has."""
        self.want = want
        self.embedding.want = want
        for attention in self.attentions:
            attention.want = want

    def forward(self, ids: Tensor, ctx: Context | None = None) -> Output:
        """ids (B, T) int64, T up to `dims.max_len`."""
        ctx = Context() if ctx is None else ctx
        x, signals = self._embed(ids, ctx)
        per_layer: dict[str, dict[int, Tensor]] = {}
        hidden = [x]
        for layer, block in enumerate(self.layers):
            if self.recompute and self.training:
                x, found = checkpoint(block, x, ctx, use_reentrant=False)
            else:
                x, found = block(x, ctx)
            for name, value in found.items():
                per_layer.setdefault(name, {})[layer] = value
            if "hidden" in self.want:
                hidden.append(x)
        everything: dict[str, Any] = {**signals, **per_layer}
        if "hidden" in self.want:
            everything["hidden"] = torch.stack(hidden)  # (L+1, B, T, D)
        return Output(self._logits(x), everything)

    def _embed(self, ids: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        x, signals = self.embedding(ids, ctx)
        if self.positions is not None:
            x = x + self.positions.weight[ctx.start : ctx.start + ids.shape[1]]
        return self.dropout(x), signals

    def _logits(self, x: Tensor) -> Tensor:
        weight = self.embedding.weight if self.head is None else self.head.weight
        return nn.functional.linear(self.norm(x), weight)  # type: ignore[arg-type]

    def can_decode(self) -> bool:
        """Whether every attention offers decoding with a cache."""
        return all(attention.can_decode() for attention in self.attentions)

    def init_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> list[Any]:
        """One empty cache per layer."""
        attentions: list[Any] = list(self.attentions)
        return [attention.init_cache(batch, device, dtype) for attention in attentions]

    def extend(self, ids: Tensor, ctx: Context, caches: list[Any]) -> tuple[Tensor, list[Any]]:
        """Logits (B, n, V) of the next n tokens, and the caches that have taken them in, to be given to the next call.

        ctx.start: the position of the first of them. A cache that is returned may be a new object, and the one that was
        given may have been changed: only the returned ones hold what comes next.
        """
        x, _ = self._embed(ids, ctx)
        extended = []
        for block, cache in zip(self.layers, caches, strict=True):
            x, cache = block.extend(x, ctx, cache)
            extended.append(cache)
        return self._logits(x), extended
