"""Attention maps and their entropy, as diagnostics of the core: any attention that gives its weights has them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lot.builtin.attention_entropy import AttentionEntropy
from lot.builtin.attention_map import AttentionMap
from lot.builtin.config import AttentionMapConfig
from lot.contracts import Batch, Context, Output, Probe, Record
from lot.figure import pack, token_names, unpack
from lot.options.declare import NoOptions
from lot.plugins.registry import registry

TASK = SimpleNamespace(decode=lambda ids: "the cat$\n"[int(ids[0])])


def probe(attention, inputs=None, padding=None) -> Probe:
    shape = next(iter(attention.values())).shape
    inputs = torch.zeros(shape[0], shape[2], dtype=torch.int64) if inputs is None else inputs
    output = Output(torch.zeros(1), {"attention": attention})
    return Probe(nn.Module(), Batch(inputs, inputs, padding), output, Context(), TASK, torch.Generator(), dict)


def test_an_even_weight_is_spread_over_the_document_of_the_query():
    segments = torch.tensor([[0, 0, 0, 1, 1, 1]])
    diagnostic = AttentionMap(AttentionMapConfig())
    for causal, weight, times in ((True, 0.8, "1.6"), (False, 0.5, "1.5")):
        weights = torch.eye(6)
        weights[4, 3], weights[4, 4] = weight, 1 - weight
        if not causal:
            weights[0, 2] = 0.1
        asked = probe(attention={0: weights[None, None]}, inputs=torch.arange(6)[None])
        asked.ctx = Context(segments=segments)
        record = Record(0, diagnostic.measure(asked))
        assert record.values["documents"].tolist() == segments[0].tolist()
        told = f"at 4 to '␣' at 3, weight {weight:.2f}, {times} times an even one"
        assert told in diagnostic.verdict([record])


def test_entropy_is_a_share_of_an_even_spread():
    even = torch.ones(6, 6).tril()
    even = even / even.sum(-1, keepdim=True)
    sharp = torch.eye(6)
    attention = torch.stack((even, sharp, 3 * even)).expand(2, 3, 6, 6)  # rows of the third sum to 3
    values = AttentionEntropy(NoOptions()).measure(probe(attention={1: attention}))
    torch.testing.assert_close(values["heads"], torch.tensor([[1.0, 0.0, 1.0]]))
    torch.testing.assert_close(values["entropy"], torch.tensor(2 / 3))
    everywhere = torch.full((2, 1, 6, 6), 1 / 6)
    torch.testing.assert_close(
        AttentionEntropy(NoOptions()).measure(probe(attention={0: everywhere}))["heads"], torch.ones(1, 1)
    )


def test_entropy_leaves_padding_out():
    attention = torch.stack((torch.ones(4, 4).tril(), torch.eye(4)))[:, None]
    padding = torch.tensor([[False] * 4, [True] * 4])
    values = AttentionEntropy(NoOptions()).measure(probe(attention={0: attention}, padding=padding))
    torch.testing.assert_close(values["heads"], torch.ones(1, 1))


@pytest.mark.parametrize("causal", [True, False])
def test_entropy_is_a_share_of_an_even_spread_over_the_document(causal):
    """Where documents share a row, a query sees its own: two tokens, then three, and a token of padding."""
    segments = torch.tensor([[0, 0, 1, 1, 1, -1]])
    even = ((segments[0][:, None] == segments[0]) & (segments[0] >= 0)).float()
    even = even.tril() if causal else even
    even = even / even.sum(-1, keepdim=True).clamp(min=1)
    attention = torch.stack((even, torch.eye(6)))[None]
    asked = probe(attention={0: attention}, padding=segments < 0)
    asked.ctx = Context(segments=segments)
    values = AttentionEntropy(NoOptions()).measure(asked)
    torch.testing.assert_close(values["heads"], torch.tensor([[1.0, 0.0]]))


def test_entropy_draws_the_last_record_and_the_course_of_each_layer():
    pytest.importorskip("matplotlib")
    diagnostic = AttentionEntropy(NoOptions())
    records = [
        Record(
            step,
            {"layers": torch.tensor([[0], [2]]), "heads": torch.full((2, 3), share), "entropy": torch.tensor(share)},
        )
        for step, share in ((0, 0.9), (100, 0.4))
    ]
    table, training, *_ = diagnostic.draw(records).axes
    assert table.images[0].get_array().tolist() == [[pytest.approx(0.4)] * 3] * 2
    assert [line.get_label() for line in training.lines] == ["layer 0", "layer 2"]
    assert list(training.lines[0].get_ydata()) == pytest.approx([0.9, 0.4])


def test_a_map_has_the_weights_of_every_layer_and_head_and_the_tokens():
    weights = {layer: torch.rand(3, 2, 9, 9).tril() for layer in (1, 0)}
    inputs = torch.arange(27).view(3, 9) % 9
    values = AttentionMap(AttentionMapConfig(example=1, positions=4)).measure(probe(weights, inputs))
    assert values["layers"].flatten().tolist() == [0, 1]
    torch.testing.assert_close(values["map"], torch.stack([weights[0][1, :, :4, :4], weights[1][1, :, :4, :4]]))
    assert unpack(values["names"]) == ["t", "h", "e", "␣"]


def test_a_map_is_drawn_with_its_tokens_along_both_axes_and_names_its_strongest_weight():
    pytest.importorskip("matplotlib")
    weights = torch.full((1, 2, 3, 3), 0.1).tril()
    weights[0, 1, 2, 0] = 0.8
    diagnostic = AttentionMap(AttentionMapConfig())
    record = Record(7, diagnostic.measure(probe({0: weights}, torch.tensor([[0, 7, 8]]))))
    figure = diagnostic.draw([record])
    left, right, *_ = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["t", r"\$", "↵"]
    assert [label.get_text() for label in right.get_xticklabels()] == ["t", r"\$", "↵"]
    assert left.images[0].get_array().mask[0].tolist() == [False, True, True]  # what comes later is not seen
    figure.canvas.draw()  # a dollar sign begins no formula
    assert "head 1, from '↵' at 2 to 't' at 0, weight 0.80, 2.4 times an even one" in diagnostic.verdict([record])


def test_names_of_tokens_survive_a_record():
    names = ["the", "␣", "∅", "é"]
    assert unpack(pack(names)) == names
    assert token_names(SimpleNamespace(decode=lambda ids: "\0"), [0]) == ["\N{REPLACEMENT CHARACTER}"]


def test_the_name_of_an_earlier_version_still_finds_the_entropy():
    found = registry().get("diagnostic", "lot-lattice:attention_entropy")
    assert (found.name, found.distribution) == ("attention_entropy", "lot-core")
    with pytest.raises(Exception, match="unknown diagnostic"):
        registry().get("diagnostic", "lot-lattice:attention_map")
