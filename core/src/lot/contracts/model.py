"""The contract of a model, and the parts that it is built around.

Shapes: B batch, T positions, D width, V vocabulary.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lot.contracts.attention import Attention
from lot.contracts.context import Context
from lot.contracts.dims import Dims
from lot.contracts.embedding import Embedding
from lot.contracts.initialization import GeneratorFor
from lot.contracts.mlp import MLP
from lot.contracts.output import Output


@dataclass(frozen=True)
class Parts:
    """What a model is built around.

    dims: those of layer 0. embedding, attentions, mlps: what the configuration chose, the latter two by layer; None or empty
    where the model brings its own (see `lot.Sizes`).
    """

    dims: Dims
    embedding: Embedding | None
    attentions: dict[int, Attention]
    mlps: dict[int, MLP]


class Model(nn.Module, abc.ABC):
    """A trunk around the parts that a configuration chooses: ids (B, T) -> Output(logits (B, T, V), signals).

    dims: those of layer 0. embedding: the module that turns ids (B, T) into vectors.
    want: the signals that a pass returns; set it with `set_want`, once, before compiling.
    loaded: names of parameters that come with values of their own, and are not initialized.
    segments: whether documents that share a row are computed as sequences of their own (see `Context.segments`): the model
    calls `lot.nn.with_documents` first, embedding and attentions through `lot.nn.apart`, and heeds `ctx.positions`. A model
    that does not is refused with a task that has such documents.
    """

    dims: Dims
    embedding: nn.Module
    want: frozenset[str] = frozenset()
    loaded: frozenset[str] = frozenset()
    segments: bool = False

    @abc.abstractmethod
    def forward(self, ids: Tensor, ctx: Context | None = None) -> Output:
        """ids (B, T) int64, T up to `dims.max_len`. A signal of a part in a layer is `signals[name][layer]`."""

    @abc.abstractmethod
    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Set every initial value that is not `loaded`, each keyed by the name of its parameter in the model."""

    @property
    @abc.abstractmethod
    def attentions(self) -> dict[int, Attention]:
        """The attentions that the configuration chose, by layer."""

    @property
    @abc.abstractmethod
    def mlps(self) -> dict[int, MLP]:
        """The MLPs that the configuration chose, by layer."""

    @property
    @abc.abstractmethod
    def layers(self) -> list[nn.Module]:
        """The blocks, in order of depth: what is sharded, and recomputed in backward, as one."""

    def set_want(self, want: frozenset[str]) -> None:
        """Ask for the signals `want` from here on; each part is told of all and gives those that it has."""
        self.want = want
        parts: list[Any] = [self.embedding, *self.attentions.values(), *self.mlps.values()]
        for part in parts:
            part.want = want

    def splits(self) -> bool:
        """Whether the model offers `lower` and `upper`, which `train.cache_prefix` needs."""
        return type(self).lower is not Model.lower and type(self).upper is not Model.upper

    def lower(self, ids: Tensor, ctx: Context, layers: int) -> tuple[Tensor, dict[str, Any]]:
        """x (B, T, D) as it is after the first `layers` layers, and the signals of all up to there.

        Optional, with `upper`: `forward` on ids is `upper` on what `lower` gives for them, at any number of layers. `lower`
        depends on parameters of the embedding and of these layers, and on those of the model that are in no layer.
        """
        raise NotImplementedError

    def upper(self, x: Tensor, ctx: Context, layers: int) -> Output:
        """What comes of x (B, T, D), which `lower` gave: logits, and the signals of the layers from `layers` on."""
        raise NotImplementedError

    def can_decode(self) -> bool:
        """Whether the model decodes with a cache: by default whether every attention does."""
        return all(attention.can_decode() for attention in self.attentions.values())

    def init_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> list[Any]:
        """The caches of `batch` sequences before their first token."""
        raise NotImplementedError

    def extend(self, ids: Tensor, ctx: Context, caches: list[Any]) -> tuple[Tensor, list[Any]]:
        """Logits (B, n, V) of the next n tokens, and the caches that have taken them in, to be given to the next call.

        ctx.start: the position of the first of them. A cache that is returned may be a new object, and the one that was
        given may have been changed: only the returned ones hold what comes next.
        """
        raise NotImplementedError
