"""Which parameters of an attention are its mechanism's, and which are projections that vanilla attention has as well."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from lot.contracts import Attention

ROLES = frozenset({"q", "k", "v", "o", "kv", "qkv", "query", "key", "value", "out", "output", "in", "attn"})
"""What a projection is for, as the last part of its name says, in the words that are common in code."""
FILLERS = frozenset({"w", "to", "c", "proj", "projection"})
"""What stands beside these words: `w_q`, `to_out`, `c_attn`, `k_proj`."""


def own_parameters(attentions: Mapping[int, Attention]) -> tuple[dict[str, list[tuple[int, str]]], list[str]]:
    """The mechanism's parameters by name, each with layer and name; and the names that count as vanilla's.

    Vanilla's are matrices from or to the width of the model, and their biases, whose name says query, key, value or output:
    `qkv` and `out` of `lot.nn.Projections`, or other words that are common (`q_proj`, `to_out`, `c_attn`, `wk`).
    """
    own: dict[str, list[tuple[int, str]]] = {}
    shared: dict[str, None] = {}
    for layer, attention in attentions.items():
        parameters = dict(attention.named_parameters())
        plain = {name for name in parameters if _is_projection(name, parameters, _width(attention))}
        shared |= dict.fromkeys(name for name in parameters if name in plain)
        for name in parameters:
            if name not in plain:
                own.setdefault(name, []).append((layer, name))
    return own, list(shared)


def _width(attention: nn.Module) -> int | None:
    """Channels of the residual stream, where the module tells."""
    dims = getattr(attention, "dims", None)
    return None if dims is None else dims.width


def _is_projection(name: str, parameters: Mapping[str, Tensor], width: int | None) -> bool:
    path, kind = _parted(name)
    weight = parameters.get(name if kind == "weight" else _beside(name))
    if weight is None or weight.dim() != 2 or (width is not None and width not in weight.shape):
        return False
    parts = [part for part in path.split(".") if part and not part.isdecimal()]
    words = re.split("_+", parts[-1].lower()) if parts else []
    if len(words) == 1 and re.fullmatch("w[qkvo]", words[0]):
        return True
    roles = [word for word in words if word not in FILLERS]
    return bool(words) and set(roles) <= ROLES and (bool(roles) or "proj" in words)


def _parted(name: str) -> tuple[str, str]:
    """`heads.qkv` and `weight` of heads.qkv.weight; `in_proj` and `bias` of in_proj_bias."""
    for kind in ("weight", "bias"):
        if name.endswith(kind):
            return name.removesuffix(kind).rstrip("._"), kind
    return name, "weight"


def _beside(name: str) -> str:
    """The name of the weight that a bias belongs to."""
    return f"{name.removesuffix('bias')}weight"
