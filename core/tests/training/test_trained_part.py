"""`train.only`: what a word means trains, and nothing else moves."""

from __future__ import annotations

import pytest
import torch
from toy import toy_config

import lot
from lot.testing.specimens.next_token import NextToken
from lot.training.trained_part import PARTS, train_only

V = 11


def model() -> lot.Model:
    return lot.build_model(toy_config(), NextToken(V, 8))


def trained(found: lot.Model) -> set[str]:
    """The names of the parameters that an optimizer step moves."""
    before = {name: parameter.detach().clone() for name, parameter in found.named_parameters()}
    optimizer = torch.optim.SGD([p for p in found.parameters() if p.requires_grad], lr=1.0)
    ids = torch.randint(V, (4, 8), generator=torch.Generator().manual_seed(0))
    torch.nn.functional.cross_entropy(found(ids).logits.flatten(0, 1), ids.flatten()).backward()
    optimizer.step()
    return {name for name, parameter in found.named_parameters() if not torch.equal(parameter, before[name])}


@pytest.mark.parametrize(
    ("only", "begins"),
    [
        (["attn"], ("blocks.0.attention.", "blocks.1.attention.")),
        (["mlp", "embed"], ("blocks.0.mlp.", "blocks.1.mlp.", "embedding.")),
        (["blocks.1.*"], ("blocks.1.",)),
        (["norm.weight", "embed"], ("norm.weight", "embedding.")),
    ],
)
def test_what_is_meant_moves_and_nothing_else(only, begins):
    found = model()
    train_only(found, only)
    names = {name for name, _ in found.named_parameters() if name.startswith(begins)}
    assert trained(found) == names != set()


def test_without_a_word_everything_trains():
    found = model()
    train_only(found, ())
    assert all(parameter.requires_grad for parameter in found.parameters())


def test_new_is_what_is_not_loaded():
    found = model()
    found.loaded = frozenset(name for name, _ in found.named_parameters() if "mlp" not in name)
    train_only(found, ["new"])
    assert trained(found) == {name for name, _ in found.named_parameters() if "mlp" in name}


@pytest.mark.parametrize("word", ["atn", "blocks.7.*", "new"])
def test_a_word_that_means_nothing_is_refused(word):
    found = model()
    with pytest.raises(lot.BadInput, match=r"train\.only: .* means no parameter") as error:
        train_only(found, ["attn", word])
    assert all(part in str(error.value) for part in PARTS)
    assert all(parameter.requires_grad for parameter in found.parameters())
