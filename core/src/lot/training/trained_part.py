"""Training a part of a model: which parameters move, and which stay as they begin."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from torch import nn

from lot.contracts import Model
from lot.errors import BadInput

PARTS = {
    "attn": "the attentions that the configuration chose",
    "mlp": "the MLPs that it chose",
    "embed": "the embedding",
    "new": "what has no pretrained value",
}
"""Words of `train.only`, and the parameters that they mean. Other words are patterns of the names of parameters."""


def train_only(model: Model, only: Sequence[str]) -> None:
    """Freeze every parameter of `model` that no word of `only` means; without words, none.

    Raises BadInput, and changes nothing, for a word that means no parameter.
    """
    if not only:
        return
    kept = trained(model, only)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in kept)


def trained(model: Model, only: Sequence[str]) -> set[str]:
    """The names of the parameters that train. Raises BadInput for a word that means no parameter."""
    if not only:
        return {name for name, _ in model.named_parameters()}
    return set().union(*(_meant(model, word) for word in only))


def _meant(model: Model, word: str) -> set[str]:
    """The names of the parameters that a word means."""
    names = [name for name, _ in model.named_parameters()]
    parts: dict[str, Iterable[nn.Module]] = {
        "attn": model.attentions.values(),
        "mlp": model.mlps.values(),
        "embed": (model.embedding,),
    }
    if word in parts:
        own = {id(parameter) for part in parts[word] for parameter in part.parameters()}
        found = {name for name, parameter in model.named_parameters() if id(parameter) in own}
    elif word == "new":
        found = {name for name in names if name not in model.loaded} if model.loaded else set()
    else:
        found = set(fnmatch.filter(names, word))
    if not found:
        raise BadInput(
            f"{word!r} means no parameter of this model",
            where="train.only",
            expected=f"{', '.join(PARTS)}, or a pattern of names such as {names[-1].rpartition('.')[0] or names[-1]}.*",
        )
    return found
