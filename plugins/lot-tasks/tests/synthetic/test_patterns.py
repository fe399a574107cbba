"""Copy-reverse, periodic, sinusoidal, hierarchical and random tokens: what stands where."""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from lot import IGNORED, BadInput, Component, Task

Make = Callable[..., Task]


def test_copy_reverse_reads_half_delimiter_and_half_backwards(build: Make) -> None:
    task = build("copy_reverse", vocab_size=50, seq_len=10)
    batch = task.batch("train", 0, 100)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        half = inputs[:5]
        assert 0 not in half
        assert inputs == [*half, 0, *half[:0:-1]]
        assert targets == [IGNORED] * 5 + half[::-1]


def test_copy_reverse_scores_everything_when_asked(build: Make) -> None:
    answer, everything = build("copy_reverse", seq_len=8), build("copy_reverse", seq_len=8, score="all")
    a, b = answer.batch("test", 0, 20), everything.batch("test", 0, 20)
    assert torch.equal(a.inputs, b.inputs)
    assert torch.equal(b.targets[:, :-1], b.inputs[:, 1:])
    assert torch.equal(a.targets[:, 4:], b.targets[:, 4:])
    # Whatever is scored, exact match is about the answer.
    logits = 9.0 * torch.nn.functional.one_hot(b.targets, 64).float()
    logits[:, :4] = 0
    metrics = everything.metrics()
    metrics.update(logits, b.targets)
    assert float(metrics.compute()["exact_match"]) == 1.0


def test_copy_reverse_symbols_are_equally_likely(build: Make) -> None:
    half = build("copy_reverse", vocab_size=9, seq_len=8).batch("train", 0, 16_000).inputs[:, :4]
    counts = torch.stack([(half == symbol).float().mean(0) for symbol in range(1, 9)])  # (symbols, places)
    assert (counts - 1 / 8).abs().max() < 0.015  # nearly 6 standard deviations


def test_copy_reverse_text_marks_the_delimiter(build: Make) -> None:
    task = build("copy_reverse", seq_len=4)
    assert task.decode([7, 12, 0, 12]) == "7 12 | 12"
    assert task.encode("7 12 |") == [7, 12, 0]
    with pytest.raises(BadInput, match=r"'64' is no token of copy_reverse: expected tokens out of \| 1 ... 63"):
        task.encode("7 64")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seq_len": 7}, "seq_len: expected an even number, got 7"),
        ({"vocab_size": 4}, "vocab_size: expected a number >= 5"),
        ({"score": "half"}, "score: expected 'answer' or 'all'"),
        ({"test_examples": 0}, "test_examples: expected a number >= 1"),
    ],
)
def test_copy_reverse_refuses(build: Make, options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build("copy_reverse", **options)


def test_periodic_repeats_and_scores_from_the_second_period_on(build: Make) -> None:
    task = build("periodic", seq_len=20, period=6)
    batch = task.batch("train", 0, 50)
    sequence = torch.cat([batch.inputs, batch.targets[:, -1:]], dim=1)  # (50, 21)
    assert torch.equal(sequence[:, 6:], sequence[:, :-6])
    assert (batch.targets[:, :5] == IGNORED).all()
    assert torch.equal(batch.targets[:, 5:], sequence[:, 6:])
    everything = build("periodic", seq_len=20, period=6, score="all").batch("train", 0, 50)
    assert torch.equal(everything.targets, sequence[:, 1:])


def test_periodic_noise_redraws_its_share_of_tokens(build: Make) -> None:
    inputs = build("periodic", seq_len=128, period=1, noise=0.25).batch("train", 0, 500).inputs
    most_common = inputs.mode(dim=1, keepdim=True).values
    share = float((inputs != most_common).float().mean())
    assert share == pytest.approx(0.25 * 63 / 64, abs=0.012)  # a redrawn token is the old one once in 64


def test_periodic_refuses_a_period_beyond_the_sequence(build: Make) -> None:
    with pytest.raises(BadInput, match=r"period: expected at most seq_len \(16\), got 32"):
        build("periodic", seq_len=16)


def test_sinusoidal_is_a_quantized_sum_of_sines(build: Make) -> None:
    task = build("sinusoidal", vocab_size=200, seq_len=64, components=1, min_period=16.0, max_period=16.0)
    for row in task.batch("train", 0, 20).inputs.numpy():
        signal = (row + 0.5) / 200 * 2 - 1
        time = np.arange(64)
        waves = np.stack([np.sin(2 * np.pi * time / 16), np.cos(2 * np.pi * time / 16)], axis=1)
        fitted, *_ = np.linalg.lstsq(waves, signal, rcond=None)
        assert np.linalg.norm(fitted) == pytest.approx(1.0, abs=0.01)
        assert np.abs(waves @ fitted - signal).max() < 2 / 200


def test_sinusoidal_periods_stay_within_bounds(build: Make) -> None:
    task = build("sinusoidal", vocab_size=256, seq_len=512, components=1, min_period=16.0, max_period=64.0)
    inputs = task.batch("train", 0, 200).inputs.numpy()
    spectrum = np.abs(np.fft.rfft(inputs - inputs.mean(axis=1, keepdims=True), axis=1))
    peaks = spectrum.argmax(axis=1)  # cycles in 512 tokens
    assert 8 - 1 <= peaks.min() < 12
    assert 28 < peaks.max() <= 32 + 1
    assert peaks.mean() == pytest.approx((8 + 32) / 2, abs=2.5)  # uniform in frequency; in period it would be 15


def test_sinusoidal_signals_of_several_sines_stay_within_the_levels(build: Make) -> None:
    inputs = build("sinusoidal", components=3).batch("train", 0, 200).inputs
    assert inputs.min() >= 0
    assert inputs.max() < 64
    assert float(inputs.float().std()) == pytest.approx(
        32 / 6**0.5, rel=0.1
    )  # of the mean of three sines, 32 levels high


def test_sinusoidal_refuses_bounds_the_wrong_way_round(build: Make) -> None:
    with pytest.raises(BadInput, match=r"min_period: expected at most max_period \(8\), got 16"):
        build("sinusoidal", max_period=8.0)


def all_sentences(task: Task) -> np.ndarray:
    """Every sentence of a small grammar, each as likely as any other."""
    V, rules = task.rules[0].shape[:2]
    nodes = (task.seq_len - 1) // (task.branching - 1)
    derivations = np.array(list(itertools.product(range(V), *[range(rules)] * nodes)))
    return task.expand(derivations[:, :1], derivations[:, 1:])


def test_hierarchical_sentences_have_one_derivation_and_come_from_the_grammar(build: Make) -> None:
    task = build("hierarchical", vocab_size=4, branching=2, levels=2, rules=3)
    sentences = all_sentences(task)
    assert len({tuple(row) for row in sentences.tolist()}) == len(sentences) == 4 * 3**3
    drawn = {tuple(row) for split in ("train", "test") for row in task.batch(split, 0, 1000).inputs.tolist()}
    assert drawn <= {tuple(row) for row in sentences.tolist()}


def test_hierarchical_expansion_follows_the_rules_node_by_node(build: Make) -> None:
    task = build("hierarchical", vocab_size=5, branching=3, levels=2, rules=2)
    rng = np.random.default_rng(0)
    root, choices = rng.integers(0, 5, (10, 1)), rng.integers(0, 2, (10, 4))
    for row in range(10):
        middle = task.rules[0][root[row, 0], choices[row, 0]]
        leaves = [leaf for node in range(3) for leaf in task.rules[1][middle[node], choices[row, 1 + node]]]
        assert task.expand(root, choices)[row].tolist() == leaves


def test_hierarchical_floor_is_the_entropy_of_next_tokens(build: Make) -> None:
    task = build("hierarchical", vocab_size=4, branching=2, levels=2, rules=2)
    sentences = [tuple(row) for row in all_sentences(task).tolist()]
    total = 0.0
    for place in range(1, task.seq_len):  # H(x_t | x_<t) by counting
        joint = collections.Counter(row[: place + 1] for row in sentences)
        before = collections.Counter(row[:place] for row in sentences)
        total -= sum(n * math.log(n / before[row[:-1]]) for row, n in joint.items()) / len(sentences)
    assert task.floor == pytest.approx(total / (task.seq_len - 1), rel=1e-9)


def test_hierarchical_last_leaf_is_an_input_and_asks_nothing(build: Make) -> None:
    batch = build("hierarchical").batch("train", 0, 10)
    assert batch.inputs.shape == (10, 64)
    assert torch.equal(batch.targets[:, :-1], batch.inputs[:, 1:])
    assert (batch.targets[:, -1] == IGNORED).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rules": 17}, r"rules: expected at most vocab_size \*\* \(branching - 1\) = 16, got 17"),
        ({"levels": 17}, r"levels: expected branching \*\* levels <= 65536, got 2 \*\* 17"),
        ({"branching": 6}, r"branching: expected vocab_size \*\* branching <= 10000000, got 16777216"),
    ],
)
def test_hierarchical_refuses(build: Make, options: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build("hierarchical", **options)


def test_random_tokens_tell_nothing_of_the_next(build: Make) -> None:
    task = build("random", vocab_size=8, seq_len=16)
    batch = task.batch("train", 0, 8000)
    assert torch.equal(batch.targets[:, :-1], batch.inputs[:, 1:])
    pairs = torch.stack([batch.inputs.flatten(), batch.targets.flatten()])
    joint = torch.zeros(8, 8).index_put((pairs[0], pairs[1]), torch.ones(pairs.shape[1]), accumulate=True)
    joint /= joint.sum()
    information = float((joint * (joint / joint.sum(0) / joint.sum(1, keepdim=True)).log()).sum())
    assert information < 1e-3  # 49 / (2 * 128,000) = 0.0002 by chance
    assert task.floor == pytest.approx(math.log(8))


@pytest.mark.parametrize(
    ("task", "option", "value"),
    [
        ("copy_reverse", "vocab_size", 10**12),
        ("random", "seq_len", 10**12),
        ("hierarchical", "branching", 10**9),
        ("hierarchical", "levels", 10**9),
        ("sinusoidal", "components", 10**9),
        ("mqar", "power", 1e9),
    ],
)
def test_sizes_that_no_token_or_weight_can_hold_are_refused_at_once(
    components: dict[str, Component], task: str, option: str, value: float
) -> None:
    with pytest.raises(BadInput, match=rf"^task\.{option}: expected a number .* <= "):
        components[task].parse({option: value}, "task")
