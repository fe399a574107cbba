"""Generation: caches and full passes agree, the window slides, and tokens are drawn from what was asked for."""

from __future__ import annotations

import pytest
import torch
from toy import toy_config

from lot.contracts import Context
from lot.errors import BadInput
from lot.model.build import build_model
from lot.model.decoder import Decoder
from lot.model.generate import draw, generate


def model(*overrides: str) -> Decoder:
    """A decoder whose logits tell tokens apart."""
    made = build_model(toy_config("model.max_len=8", *overrides)).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(
                0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    return made


def continued(made: Decoder, prompt: torch.Tensor, n: int, **how: object) -> torch.Tensor:
    steps = list(generate(made, prompt, n, generator=torch.Generator().manual_seed(1), **how))  # type: ignore[arg-type]
    return torch.stack([step.ids for step in steps], dim=1)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_greedy_generation_is_the_argmax_of_full_passes_over_the_last_max_len_tokens(positions: str) -> None:
    made = model(f"model.positions={positions}")
    ids = torch.randint(7, (3, 4), generator=torch.Generator().manual_seed(0))
    found = continued(made, ids, 9, temperature=0)
    assert made.can_decode()
    for new in found.T:
        expected = made(ids[:, -8:], Context()).logits[:, -1].argmax(-1)
        torch.testing.assert_close(new, expected)
        ids = torch.cat((ids, new[:, None]), dim=1)


def test_a_model_without_caches_generates_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model()
    ids = torch.randint(7, (2, 3), generator=torch.Generator().manual_seed(2))
    cached = continued(made, ids, 5)
    monkeypatch.setattr(made, "can_decode", lambda: False)
    torch.testing.assert_close(continued(made, ids, 5), cached)


def test_the_distribution_is_the_models_own_whatever_is_drawn_from_it() -> None:
    made = model()
    ids = torch.randint(7, (2, 3), generator=torch.Generator().manual_seed(3))
    (step,) = generate(made, ids, 1, generator=torch.Generator(), temperature=0.1, top_k=1)
    torch.testing.assert_close(step.probability, made(ids).logits[:, -1].float().softmax(-1))


@pytest.mark.parametrize("length", [0, 9])
def test_an_impossible_prompt_is_refused(length: int) -> None:
    with pytest.raises(BadInput, match=f"prompt: expected 1 to 8 tokens, got {length}"):
        next(generate(model(), torch.zeros(1, length, dtype=torch.int64), 1, generator=torch.Generator()))


PROBABILITY = torch.tensor([0.1, 0.4, 0.05, 0.25, 0.2])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, PROBABILITY),
        ({"temperature": 0.5}, PROBABILITY**2 / (PROBABILITY**2).sum()),
        ({"top_k": 2}, torch.tensor([0, 0.4, 0, 0.25, 0]) / 0.65),
        ({"top_k": 9}, PROBABILITY),
        ({"top_p": 0.6}, torch.tensor([0, 0.4, 0, 0.25, 0]) / 0.65),
        ({"top_p": 0.01}, torch.tensor([0, 1.0, 0, 0, 0])),
        ({"top_p": 1.0}, PROBABILITY),
        ({"top_k": 3, "top_p": 0.5}, torch.tensor([0, 0.4, 0, 0.25, 0]) / 0.65),
    ],
)
def test_tokens_are_drawn_from_the_truncated_distribution(how: dict[str, float], expected: torch.Tensor) -> None:
    n = 20_000
    logits = PROBABILITY.log().expand(n, -1)
    drawn = draw(logits, generator=torch.Generator().manual_seed(4), **how)  # type: ignore[arg-type]
    share = drawn.bincount(minlength=5) / n
    assert not share[expected == 0].any()
    torch.testing.assert_close(share, expected, atol=4 * 0.5 / n**0.5, rtol=0)


@pytest.mark.parametrize("temperature", [1e-30, 1e-300])
def test_a_vanishing_temperature_takes_the_likeliest(temperature: float) -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [1e4, -1e4, 0.0]])
    assert draw(logits, generator=torch.Generator(), temperature=temperature).tolist() == [1, 0]


@pytest.mark.parametrize(
    "how",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": float("nan")},
    ],
)
def test_numbers_that_mean_nothing_are_refused(how: dict[str, float]) -> None:
    (name,) = how
    with pytest.raises(BadInput, match=rf"{name}: expected a .*number"):
        continued(model(), torch.zeros(1, 3, dtype=torch.int64), 1, **how)
