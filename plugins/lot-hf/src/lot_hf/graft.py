"""What an attention that is put into a pretrained layer takes over from it, and how far from it it is then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch

from lot import Attention, BadInput, Context, Dims, registry
from lot.nn import Projections, find_projections
from lot_hf.names import Origin

_TOKENS = 16
"""Length of the sequences on which an attention is compared with the pretrained one, at most."""


@dataclass(frozen=True)
class Graft:
    """An attention in a pretrained layer.

    taken: the origins of its parameters by their names in the attention; empty where it takes over nothing, for the reason
    `reason`.
    """

    layer: int
    attention: Attention
    taken: Mapping[str, Origin]
    reason: str = ""


def graft(layer: int, attention: Attention, origins: Mapping[str, Origin], dims: Dims) -> Graft:
    """The attention with what it takes over: all of queries, keys, values and output, or nothing.

    origins: those of the parameters of a `lot.nn.Projections` in this layer.
    """
    found = find_projections(attention)
    if found is None:
        return Graft(layer, attention, {}, "it is not built from lot.nn.Projections")
    path, projections = found
    own = {name: parameter.shape for name, parameter in projections.named_parameters()}
    if own != {name: parameter.shape for name, parameter in vanilla_projections(dims).named_parameters()}:
        return Graft(layer, attention, {}, "its projections have other shapes")
    return Graft(layer, attention, {f"{path}{name}": origin for name, origin in origins.items()})


def vanilla(dims: Dims) -> Attention:
    """LOT's vanilla attention, which is that of every pretrained model here. Its values are still arbitrary."""
    component = registry().get("attention", "lot-core:vanilla")
    found: Attention = component.create(component.configure(causal=True), dims)
    return found


def vanilla_projections(dims: Dims) -> Projections:
    """The projections of vanilla attention, without memory for their values."""
    with torch.device("meta"):
        return _projections(vanilla(dims))


def _projections(attention: Attention) -> Projections:
    found = find_projections(attention)
    assert found is not None
    return found[1]


def tell(grafts: Iterable[Graft], dims: Dims) -> list[str]:
    """A line for each kind of attention: what it took over, and how far it is from the pretrained attention."""
    kinds: dict[type, list[Graft]] = {}
    for one in grafts:
        kinds.setdefault(type(one.attention), []).append(one)
    return [_line(kind.__name__, found, dims) for kind, found in kinds.items()]


def _line(name: str, grafts: list[Graft], dims: Dims) -> str:
    where = f"{name} in {in_words([one.layer for one in grafts])}"
    neutral = (
        "its neutral form (train.neutral) is the pretrained attention"
        if all(_has_neutral(one.attention) for one in grafts)
        else "it has no neutral form"
    )
    missing = [one for one in grafts if not one.taken]
    if missing:
        return f"{where}: takes over nothing of the pretrained attention ({missing[0].reason}), and {neutral}"
    off = max(distance(one.attention, replace(dims, layer=one.layer)) for one in grafts)
    start = (
        "begins as the pretrained attention"
        if off < 1e-5
        else f"begins {100 * off:.2g} % of the largest output away from the pretrained attention"
    )
    return f"{where}: takes over queries, keys, values and output, {start}; {neutral}"


def in_words(layers: list[int]) -> str:
    """`layer 3`, `layers 3, 7`, `layers 0 to 29`."""
    if len(layers) > 2 and layers == list(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]} to {layers[-1]}"
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(map(str, layers))}"


def _has_neutral(attention: Attention) -> bool:
    try:
        with attention.neutral():
            return True
    except BadInput:
        return False


@torch.no_grad()
def distance(attention: Attention, dims: Dims) -> float:
    """The largest difference of its output from that of vanilla attention with its projections, on random tokens.

    Relative to the largest output. dims: of its layer.
    """
    own = _projections(attention)
    weight = own.out.weight
    twin = vanilla(dims).to(weight.device, weight.dtype).eval()
    _projections(twin).load_state_dict(own.state_dict(), strict=False)
    T = min(_TOKENS, dims.max_len)
    x = torch.randn(2, T, dims.width, generator=torch.Generator().manual_seed(0)).to(weight.device, weight.dtype)
    training = attention.training
    attention.eval()
    y, z = attention(x, Context())[0], twin(x, Context())[0]
    attention.train(training)
    return float((y - z).abs().max() / z.abs().max())
