"""Adaptive depth: what is mixed, how the mixture hardens, and that the hard choice is plain toroidal attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lot import BadInput, Component, Context, Dims
from lot_toroidal.attention.adaptive import PACE, AdaptiveAttention

Get = Callable[[str], Component]
Draw = Callable[..., Tensor]
DIMS = Dims(width=32, heads=2, max_len=24, vocab_size=8)


def built(attention: Get, **options: Any) -> AdaptiveAttention:
    return attention("toroidal_adaptive").build(DIMS, **options).double()  # type: ignore[no-any-return]


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_the_hard_choice_is_toroidal_attention_of_that_depth(chosen: int, attention: Get, draw: Draw) -> None:
    module = built(attention).eval()
    with torch.no_grad():
        module.logits[chosen] = 1.0
    depth = module.options.depths[chosen]
    plain = attention("toroidal").build(DIMS, depth=depth).double()
    plain.heads.load_state_dict(module.heads.state_dict(), strict=False)
    plain.fusion.load_state_dict(module.candidates[chosen].fusion.state_dict())
    x = draw(2, 20, 32)
    torch.testing.assert_close(module(x, Context())[0], plain(x, Context())[0], atol=1e-12, rtol=0)


def test_training_mixes_all_depths_by_weights_that_sum_to_one(attention: Get) -> None:
    module = built(attention).train()
    logits = torch.tensor([1.5, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    weights = module._mixture(logits.expand(20_000, 6), Context())
    torch.testing.assert_close(weights.sum(-1), torch.ones(20_000, dtype=torch.float64))
    assert float(weights.min()) > 0
    # The largest of logits + Gumbel noise falls on each candidate with its softmax probability.
    found = torch.bincount(weights.argmax(-1), minlength=6) / 20_000
    torch.testing.assert_close(found.double(), logits.softmax(-1), atol=0.018, rtol=0)  # five standard deviations


def test_the_temperature_falls_exponentially_and_stays(attention: Get) -> None:
    module = built(attention, temperature=4.0, min_temperature=0.25, anneal_steps=100)
    found = [float(module.temperature(torch.tensor(step))) for step in (0, 50, 100, 1000)]
    assert found == pytest.approx([4.0, 1.0, 0.25, 0.25])


def test_a_layer_that_gains_from_a_depth_decides_for_it_while_the_temperature_falls(attention: Get) -> None:
    module = built(attention)
    optimizer = torch.optim.Adam([module.logits], lr=1e-3)  # a usual rate
    for _ in range(module.options.anneal_steps):
        optimizer.zero_grad()
        (-module._logits(torch.zeros(1)).softmax(-1)[2]).backward()
        optimizer.step()
    assert float(module._logits(torch.zeros(1)).softmax(-1)[2].detach()) > 0.9


def test_a_rank_holds_for_every_depth_that_has_room_for_it(attention: Get) -> None:
    fusions = [candidate.fusion for candidate in built(attention, depths=(2, 4, 8), rank=3).candidates]
    assert [fusion.u.shape for fusion in fusions] == [(2, 2), (4, 3), (8, 3)]


def test_weights_harden_as_the_temperature_falls(attention: Get, draw: Draw) -> None:
    module = built(attention, anneal_steps=100).train()
    logits = draw(3)
    means = [
        float(torch.stack([module._mixture(logits, Context(torch.tensor(step))).max() for _ in range(300)]).mean())
        for step in (0, 100)
    ]
    assert means[0] < 0.75 < 0.9 < means[1]


def test_a_router_chooses_by_token(attention: Get, draw: Draw) -> None:
    module = built(attention, route=True, depths=(1, 4)).eval()
    with torch.no_grad():
        module.router.weight.copy_(draw(2, 32))
    x = draw(1, 20, 32)
    alone = []
    for index in range(2):
        fixed = built(attention, depths=(1, 4)).eval()
        fixed.load_state_dict(module.state_dict(), strict=False)
        with torch.no_grad():
            fixed.logits[index] = 1.0
        alone.append(fixed(x, Context())[0])
    choice = module.router(x).argmax(-1)
    expected = torch.where((choice == 0)[..., None], *alone)
    assert 0 < int(choice.sum()) < 20
    module.want = frozenset({"attention"})
    y, signals = module(x, Context())
    torch.testing.assert_close(y, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(signals["attention"].sum(-1), torch.ones(1, 2, 20, dtype=torch.float64))


def test_one_draw_of_noise_serves_all_tokens_of_a_sequence(attention: Get, draw: Draw) -> None:
    module = built(attention, route=True).train()
    logits = draw(2, 1, 3).expand(2, 7, 3)
    weights = module._mixture(logits, Context())
    assert torch.equal(weights, weights[:, :1].expand(2, 7, 3))
    assert not torch.equal(weights[0], weights[1])


def test_depth_weights_are_probabilities_without_noise(attention: Get, draw: Draw) -> None:
    module = built(attention).train()
    with torch.no_grad():
        module.logits.copy_(draw(3))
    module.want = frozenset({"depth_weights"})
    _, signals = module(draw(2, 5, 32), Context())
    torch.testing.assert_close(signals["depth_weights"], (PACE * module.logits).softmax(-1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": [1, 3]}, "depths: expected a divisor of the head width 16, got 3"),
        ({"depths": [4]}, "depths: expected two or more different depths"),
        ({"depths": [2, 2]}, "depths: expected two or more different depths"),
        ({"min_temperature": 3.0}, "min_temperature: expected at most temperature = 2"),
        ({"window": 12}, "window: expected at most"),
    ],
)
def test_bad_input_gets_one_clear_line(options: dict[str, Any], message: str, attention: Get) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        attention("toroidal_adaptive").build(DIMS, **options)
    assert "\n" not in str(caught.value)
