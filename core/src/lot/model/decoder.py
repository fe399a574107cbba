"""The decoder around the attention: a GPT whose attention and MLP are slots, layer by layer."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lot.builtin.config import DecoderConfig
from lot.builtin.mlps import GeluMLP
from lot.contracts import MLP, Attention, Context, Dims, Embedding, GeneratorFor, Model, Output, Parts
from lot.errors import PluginError
from lot.nn.documents import apart, with_documents
from lot.options.declare import NoOptions


def make_norm(width: int, config: DecoderConfig) -> nn.Module:
    """The norm of the residual stream that a configuration asks for."""
    if config.norm == "rms":
        return nn.RMSNorm(width, eps=config.norm_eps)
    return nn.LayerNorm(width, eps=config.norm_eps, bias=config.bias)


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); or both at once, from one norm, where they are parallel."""

    def __init__(self, attention: Attention, mlp: MLP, config: DecoderConfig) -> None:
        super().__init__()
        self.norm_attention = make_norm(config.width, config)
        self.norm_mlp = None if config.parallel else make_norm(config.width, config)
        self.attention, self.mlp = attention, mlp
        self.dropout = nn.Dropout(config.dropout)

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Each part for itself; the norms do nothing yet."""
        self.attention.reset_parameters(lambda name: generator_for(f"attention.{name}"))
        self.mlp.reset_parameters(lambda name: generator_for(f"mlp.{name}"))
        for norm in (self.norm_attention, self.norm_mlp):
            if norm is not None:
                norm.reset_parameters()  # type: ignore[operator]

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """x (B, T, D) and the signals of attention and MLP."""
        normed = self.norm_attention(x)
        given = apart(self.attention, normed, ctx)
        if not torch.compiler.is_compiling():
            _check_output(self.attention, given, x)
        y, signals = given
        if self.norm_mlp is None:
            z, of_mlp = self.mlp(normed, ctx)
            return x + self.dropout(y) + self.dropout(z), {**signals, **of_mlp}
        x = x + self.dropout(y)
        z, of_mlp = self.mlp(self.norm_mlp(x), ctx)
        return x + self.dropout(z), {**signals, **of_mlp}

    def extend(self, x: Tensor, ctx: Context, cache: Any) -> tuple[Tensor, Any]:
        """x (B, n, D) of the next n tokens, and the attention's cache that has taken them in: perhaps a new object."""
        attention: Any = self.attention  # decoding is optional: not part of the class
        normed = self.norm_attention(x)
        y, cache = (attention.decode if x.shape[1] == 1 else attention.prefill)(normed, ctx, cache)
        if self.norm_mlp is None:
            return x + y + self.mlp(normed, ctx)[0], cache
        x = x + y
        return x + self.mlp(self.norm_mlp(x), ctx)[0], cache


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


class Decoder(Model):
    """ids (B, T) -> Output(logits (B, T, V), signals).

    `want` names the signals that a pass returns; set it with `set_want`, once, before compiling.
    """

    segments = True

    def __init__(self, config: DecoderConfig, parts: Parts) -> None:
        super().__init__()
        dims = parts.dims
        assert parts.embedding is not None
        self.dims, self.recompute = dims, config.recompute
        self.embedding: Embedding = parts.embedding
        self.positions = nn.Embedding(dims.max_len, dims.width) if config.positions == "learned" else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(parts.attentions[i], parts.mlps[i], config) for i in range(config.layers))
        self.norm = make_norm(dims.width, config)
        self.tie = config.tie
        self.head = None if config.tie else nn.Linear(dims.width, dims.vocab_size, bias=False)
        self.head_bias = nn.Parameter(torch.empty(dims.vocab_size)) if config.head_bias else None

    @classmethod
    def around(cls, embedding: Embedding, attentions: Sequence[Attention], dims: Dims) -> Decoder:
        """A decoder around parts that were built by hand, one attention per layer, with the MLP of GPT-2.

        dims: those of layer 0. Its initial values are those of the constructors: `reset_parameters` sets them.
        """
        config = DecoderConfig(width=dims.width, heads=dims.heads, layers=len(attentions))
        mlps: dict[int, MLP] = {layer: GeluMLP(NoOptions(), dims) for layer in range(len(attentions))}
        return cls(config, Parts(dims, embedding, dict(enumerate(attentions)), mlps))

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Every initial value, keyed by the name of its parameter."""

        def below(prefix: str) -> GeneratorFor:
            return lambda name: generator_for(f"{prefix}.{name}")

        self.embedding.reset_parameters(below("embedding"))
        if self.positions is not None:
            nn.init.normal_(self.positions.weight, std=0.02, generator=generator_for("positions.weight"))
        for layer, block in enumerate(self.layers):
            block.reset_parameters(below(f"blocks.{layer}"))
        self.norm.reset_parameters()  # type: ignore[operator]
        if self.head is not None:
            nn.init.normal_(self.head.weight, std=0.02, generator=generator_for("head.weight"))
        if self.head_bias is not None:
            nn.init.zeros_(self.head_bias)

    @property
    def layers(self) -> list[Block]:  # type: ignore[override]
        """The blocks, in order of depth."""
        return list(self.blocks)  # type: ignore[arg-type]

    @property
    def attentions(self) -> dict[int, Attention]:
        """The attention of each layer."""
        return {layer: block.attention for layer, block in enumerate(self.layers)}

    @property
    def mlps(self) -> dict[int, MLP]:
        """The MLP of each layer."""
        return {layer: block.mlp for layer, block in enumerate(self.layers)}

    def forward(self, ids: Tensor, ctx: Context | None = None) -> Output:
        """ids (B, T) int64, T up to `dims.max_len`."""
        x, signals = self.lower(ids, Context() if ctx is None else ctx, len(self.blocks))
        return Output(self._logits(x), signals)

    def lower(self, ids: Tensor, ctx: Context, layers: int) -> tuple[Tensor, dict[str, Any]]:
        """See `Model.lower`."""
        ctx = with_documents(ctx)
        x, signals = self._embed(ids, ctx)
        x, of_layers = self._through(x, ctx, 0, layers)
        return x, {**signals, **of_layers}

    def upper(self, x: Tensor, ctx: Context, layers: int) -> Output:
        """See `Model.upper`."""
        x, signals = self._through(x, with_documents(ctx), layers, len(self.blocks))
        return Output(self._logits(x), signals)

    def _through(self, x: Tensor, ctx: Context, first: int, end: int) -> tuple[Tensor, dict[str, Any]]:
        """x (B, T, D) after the blocks from `first` to before `end`, and their signals."""
        signals: dict[str, Any] = {}
        hidden = [x]
        for layer, block in enumerate(self.layers[first:end], first):
            if self.recompute and self.training:
                x, found = checkpoint(block, x, ctx, use_reentrant=False)
            else:
                x, found = block(x, ctx)
            for name, value in found.items():
                signals.setdefault(name, {})[layer] = value
            if "hidden" in self.want:
                hidden.append(x)
        if "hidden" in self.want:
            signals["hidden"] = torch.stack(hidden)  # (L+1, B, T, D)
        return x, signals

    def _embed(self, ids: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        x, signals = apart(self.embedding, ids, ctx)
        if self.positions is not None:
            rows = slice(ctx.start, ctx.start + ids.shape[1]) if ctx.positions is None else ctx.positions
            x = x + self.positions.weight[rows]
        return self.dropout(x), signals

    def _logits(self, x: Tensor) -> Tensor:
        weight = self.embedding.weight if self.head is None else self.head.weight
        return nn.functional.linear(self.norm(x), weight, self.head_bias)  # type: ignore[arg-type]

    def init_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> list[Any]:
        """One empty cache per layer."""
        attentions: list[Any] = [block.attention for block in self.layers]
        return [attention.init_cache(batch, device, dtype) for attention in attentions]

    def extend(self, ids: Tensor, ctx: Context, caches: list[Any]) -> tuple[Tensor, list[Any]]:
        """See `Model.extend`."""
        x, _ = self._embed(ids, ctx)
        extended = []
        for block, cache in zip(self.layers, caches, strict=True):
            x, cache = block.extend(x, ctx, cache)
            extended.append(cache)
        return self._logits(x), extended
