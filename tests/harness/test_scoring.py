"""What `lot harness` asks of a model: every mechanism gives what slow passes in float64 give, whatever shares a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import lot
from lot.random import torch_generator
from lot_cli.harness.scoring import Draws, Speaker

MAX_LEN, V = 12, 11
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in lot.registry().names("attention")),
    ("toroidal", {"form": "published"}),  # depends on the length of its sequence
]


def model(name: str, options: dict[str, Any]) -> lot.Decoder:
    """A decoder in float64 whose parameters have all moved away from their initial values."""
    config = lot.load_config(
        {
            "task": {"name": "copy_reverse", "vocab_size": V, "seq_len": 8},
            "model": {"width": 16, "heads": 2, "layers": 2, "max_len": MAX_LEN},
            "attn": {"name": name, **options},
        }
    )
    made = lot.build_model(config).double().eval()
    with torch.no_grad():
        for key, parameter in made.named_parameters():
            generator = torch_generator(3, "moved", key)
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made


def drawn(*lengths: int) -> list[list[int]]:
    """Random token ids of these lengths."""
    generator = torch_generator(5, "ids")
    return [torch.randint(V, (length,), generator=generator).tolist() for length in lengths]


def slow_score(made: lot.Decoder, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """One pass for each token of the continuation, over the last `MAX_LEN` tokens of all that lm_eval's own model would see."""
    seen = (context + continuation)[-(MAX_LEN + 1) : -1]
    with torch.no_grad():
        log_p = torch.log_softmax(made(torch.tensor([seen])).logits[0], -1)[-len(continuation) :]
    chosen = [float(row[token]) for row, token in zip(log_p, continuation, strict=True)]
    return sum(chosen), log_p.argmax(-1).tolist() == continuation


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_log_likelihoods_are_those_of_slow_passes(name: str, options: dict[str, Any], batch_size: int) -> None:
    made = model(name, options)
    contexts, ends = drawn(4, 1, 9, 20, 4, 7, 3, 1), drawn(2, 1, 3, 5, 1, 1, 4, MAX_LEN)
    pairs = list(zip(contexts, ends, strict=True))
    pairs += [(contexts[0], [token]) for token in range(V)]  # choices that share a pass; one of them is the likeliest
    found = Speaker(made, batch_size=batch_size, precision="fp32").score(pairs)
    for (context, continuation), scored in zip(pairs, found, strict=True):
        value, greedy = slow_score(made, context, continuation)
        assert scored.log_likelihood == pytest.approx(value, abs=1e-4), (context, continuation)
        assert scored.greedy == greedy
    assert sum(scored.greedy for scored in found[-V:]) == 1


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_greedy_text_is_that_of_full_passes(name: str, options: dict[str, Any], batch_size: int) -> None:
    made = model(name, options)
    prompts = drawn(3, 6, 3, 1, 6)
    stop = V - 1
    found = Speaker(made, batch_size=batch_size, precision="fp32").extend(
        [*prompts, prompts[0]], 6, lambda ids: ids[-1] == stop, Draws()
    )
    for prompt, new in zip([*prompts, prompts[0]], found, strict=True):
        expected: list[int] = []
        while len(expected) < 6 and expected[-1:] != [stop]:
            with torch.no_grad():
                expected.append(int(made(torch.tensor([prompt + expected])).logits[0, -1].argmax()))
        assert new == expected


def test_what_is_drawn_depends_on_seed_and_prompt_alone() -> None:
    made = model("vanilla", {})
    first, other = drawn(4, 4)
    draws = Draws(temperature=1.5, top_k=8, top_p=0.95)

    def asked(prompts: list[list[int]], seed: int = 0) -> list[list[int]]:
        speaker = Speaker(made, batch_size=4, precision="fp32", seed=seed)
        return speaker.extend(prompts, 8, lambda ids: False, draws)

    alone = asked([first])[0]
    together = asked([other, first, first])
    assert together[1] == alone
    assert together[2] != alone  # asked again, it draws anew
    assert asked([first], seed=1)[0] != alone


def test_requests_are_counted_once_each() -> None:
    counted: list[int] = []
    speaker = Speaker(model("vanilla", {}), batch_size=2, precision="fp32", told=counted.append)
    context, *_ = drawn(4)
    speaker.score([(context, [token]) for token in range(V)] + [(context[:2], context[2:])])
    assert sum(counted) == V + 1
    counted.clear()
    speaker.extend([context, context, context[:1]], 2, lambda ids: False, Draws())
    assert sum(counted) == 3
