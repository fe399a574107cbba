"""Recall tasks and the other tasks of MAD, against rules applied one token at a time."""

from __future__ import annotations

import collections
from collections.abc import Callable

import numpy as np
import pytest
import torch

from lot import IGNORED, BadInput, Task

Make = Callable[..., Task]


def examples(task: Task, split: str, count: int = 200) -> list[tuple[list[int], list[int]]]:
    batch = task.batch(split, 0, count)
    return list(zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True))


@pytest.mark.parametrize("name", ["mqar", "mqar_corrected"])
def test_mqar_asks_for_the_value_of_each_key_once(build: Make, name: str) -> None:
    task = build(name, vocab_size=64, seq_len=32, kv_pairs=4, train_examples=None)
    for inputs, targets in examples(task, "train"):
        keys, values = inputs[0:8:2], inputs[1:8:2]
        assert len(set(keys)) == len(set(values)) == 4
        assert all(1 <= key < 32 for key in keys)
        assert all(32 <= value < 64 for value in values)
        value_of = dict(zip(keys, values, strict=True))
        asked = [place for place, target in enumerate(targets) if target != IGNORED]
        assert all(place >= 8 and place % 2 == 0 for place in asked)
        assert sorted(inputs[place] for place in asked) == sorted(keys)
        assert all(targets[place] == value_of[inputs[place]] for place in asked)


def test_mqar_fills_hold_keys_as_published_and_none_when_corrected(build: Make) -> None:
    options = {"vocab_size": 16, "seq_len": 32, "kv_pairs": 4, "train_examples": None}
    for name, holds in (("mqar", True), ("mqar_corrected", False)):
        unscored_keys = sum(
            inputs[place] in inputs[0:8:2]
            for inputs, targets in examples(build(name, **options), "train")
            for place in range(8, 32)
            if targets[place] == IGNORED
        )
        assert (unscored_keys > 0) == holds


def test_mqar_corrected_fills_are_uniform_over_what_is_no_key(build: Make) -> None:
    task = build("mqar_corrected", vocab_size=12, seq_len=24, kv_pairs=2, train_examples=None)
    rng = np.random.default_rng(0)
    keys = np.array([[3, 1]] * 4000)
    counts = np.bincount(task.fill(rng, keys, 20).ravel(), minlength=12) / 80_000
    assert counts[[1, 3]].tolist() == [0, 0]
    assert np.delete(counts, [1, 3]) == pytest.approx(np.full(10, 0.1), abs=0.006)


def test_mqar_fills_as_published_are_uniform_over_the_vocabulary(build: Make) -> None:
    task = build("mqar", vocab_size=12, seq_len=24, kv_pairs=2, train_examples=None)
    counts = np.bincount(task.fill(np.random.default_rng(0), np.zeros((4000, 2)), 20).ravel(), minlength=12) / 80_000
    assert counts == pytest.approx(np.full(12, 1 / 12), abs=0.006)


def test_mqar_queries_crowd_where_the_power_law_says(build: Make) -> None:
    task = build("mqar", vocab_size=256, seq_len=44, kv_pairs=1, power=0.5, train_examples=None)
    targets = task.batch("train", 0, 8000).targets
    places = (targets != IGNORED).float().mean(0)[2::2]
    slots = np.arange(1, 22)
    expected = slots**-0.5 / (slots**-0.5).sum()
    assert places.numpy() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seq_len": 31}, "seq_len: expected an even number, got 31"),
        ({"kv_pairs": 17}, "kv_pairs: expected at most seq_len / 4 = 16, got 17"),
        ({"vocab_size": 16}, "vocab_size: expected more than 17 for that many keys, got 16"),
    ],
)
def test_mqar_refuses(build: Make, options: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build("mqar", **options)


def recall_targets(inputs: list[int], answer: int, keys: range) -> list[int]:
    """What is asked for in an example of recall: at a key met before, its value."""
    value_of: dict[int, int] = {}
    targets = []
    sequence = [*inputs, answer]
    for place, token in enumerate(inputs):
        targets.append(value_of.get(token, IGNORED) if place % 2 == 0 and token in keys else IGNORED)
        if place % 2 == 0 and token in keys:
            assert value_of.setdefault(token, sequence[place + 1]) == sequence[place + 1]
    return targets


@pytest.mark.parametrize("name", ["in_context_recall", "noisy_recall"])
def test_recall_scores_keys_met_before(build: Make, name: str) -> None:
    corrected = build(f"{name}_corrected", seq_len=32, train_examples=None)
    for split in ("train", "validation", "test"):
        for inputs, targets in examples(corrected, split):
            assert targets == recall_targets(inputs, targets[-1], corrected.keys)
            assert targets[-1] != IGNORED


@pytest.mark.parametrize("name", ["in_context_recall", "noisy_recall", "fuzzy_recall"])
def test_published_recall_trains_on_all_next_tokens_and_tests_as_the_corrected(build: Make, name: str) -> None:
    published = build(name, seq_len=32, train_examples=None)
    for inputs, targets in examples(published, "train"):
        assert targets[:-1] == inputs[1:]
    if name != "fuzzy_recall":  # its corrected form also shows other pairs
        corrected = build(f"{name}_corrected", seq_len=32, train_examples=None)
        assert examples(published, "test") == examples(corrected, "test")
        assert [inputs for inputs, _ in examples(published, "train")] == [
            inputs for inputs, _ in examples(corrected, "train")
        ]


def test_recall_draws_values_anew_in_every_example(build: Make) -> None:
    """Turned into its split, a row moves all its values alike: their differences would give a common table away."""
    task = build("in_context_recall_corrected", train_examples=None)
    apart = set()
    for inputs, targets in examples(task, "train", 100):
        sequence = [*inputs, targets[-1]]
        value_of = dict(zip(sequence[0::2], sequence[1::2], strict=True))
        apart.add((value_of[0] - value_of[1]) % len(task.values))
    assert len(apart) == len(task.values)


def test_recall_ends_with_any_key_met_before_alike(build: Make) -> None:
    task = build("in_context_recall", seq_len=8, train_examples=None)
    ranks = collections.Counter()
    for inputs, _ in examples(task, "train", 6000):
        met = list(dict.fromkeys(inputs[0:6:2]))
        if len(met) == 3:
            ranks[met.index(inputs[6])] += 1
    share = np.array([ranks[rank] for rank in range(3)]) / sum(ranks.values())
    assert share == pytest.approx(np.full(3, 1 / 3), abs=0.04)


def test_noise_takes_its_share_of_pairs_from_its_own_tokens(build: Make) -> None:
    task = build("noisy_recall", frac_noise=0.5, train_examples=None)
    inputs = task.batch("train", 0, 400).inputs
    noise = inputs >= 16
    assert torch.equal(noise[:, 0:126:2], noise[:, 1:126:2])
    # Of the 63 pairs before the last, one is spared.
    assert float(noise[:, 0:126:2].float().mean()) == pytest.approx(0.5 * 62 / 63, abs=0.02)
    assert (~noise[:, 0:126:2]).any(dim=1).all()
    short = build("noisy_recall", frac_noise=0.9, seq_len=6, train_examples=None).batch("train", 0, 400).inputs
    assert (short[:, 0:4:2] < 16).any(dim=1).all()  # something to recall, however much noise


def parse(tokens: list[int], keys: range, values: range) -> list[tuple[tuple[int, ...], tuple[int, ...], int]]:
    """Key, value and place of the value of every pair; keys and values have vocabularies of their own."""
    pairs, place = [], 0
    while place < len(tokens):
        key_from = place
        while place < len(tokens) and tokens[place] in keys:
            place += 1
        value_from = place
        while place < len(tokens) and tokens[place] in values:
            place += 1
        assert key_from < value_from < place
        pairs.append((tuple(tokens[key_from:value_from]), tuple(tokens[value_from:place]), value_from))
    return pairs


@pytest.mark.parametrize("split", ["train", "test"])
def test_fuzzy_recall_scores_values_of_keys_met_before(build: Make, split: str) -> None:
    task = build("fuzzy_recall_corrected", vocab_size=16, seq_len=64, train_examples=None)
    sizes = collections.Counter()
    for inputs, targets in examples(task, split):
        sequence = [*inputs, targets[-1]]
        padding = sequence.count(task.padding)
        assert sequence[:padding] == [task.padding] * padding
        expected = [IGNORED] * len(sequence)
        value_of: dict[tuple[int, ...], tuple[int, ...]] = {}
        pairs = parse(sequence[padding:], task.keys, task.values)
        for key, value, place in pairs:
            assert len(set(key)) == len(key)
            assert len(set(value)) == len(value)
            sizes["key", len(key)] += 1
            sizes["value", len(value)] += 1
            if key in value_of:
                assert value_of[key] == value
                expected[padding + place : padding + place + len(value)] = value
            value_of[key] = value
        assert targets == expected[1:]
        assert pairs[-1][0] in {key for key, *_ in pairs[:-1]}
    key_sizes = {1, 2, 3} if split == "train" else {3}
    assert {size for kind, size in sizes if kind == "key"} == key_sizes
    assert {size for kind, size in sizes if kind == "value"} == {1, 2, 3}


def test_fuzzy_recall_asks_for_pairs_shown_anywhere_before(build: Make) -> None:
    task = build("fuzzy_recall_corrected", vocab_size=32, seq_len=64, train_examples=None)
    places = []
    for inputs, targets in examples(task, "test"):
        sequence = [*inputs, targets[-1]]
        padding = sequence.count(task.padding)
        pairs = parse(sequence[padding:], task.keys, task.values)
        places.append(padding + next(place for key, _, place in pairs if key == pairs[-1][0]))
    early, late = np.mean(np.array(places) < 24), np.mean(np.array(places) >= 40)
    assert early > 0.2
    assert late > 0.2


def test_fuzzy_recall_as_published_can_end_with_a_pair_never_shown(build: Make) -> None:
    task = build("fuzzy_recall", vocab_size=16, seq_len=24, train_examples=None)
    unseen = 0
    for inputs, targets in examples(task, "test"):
        sequence = [*inputs, targets[-1]]
        pairs = parse(sequence[sequence.count(task.padding) :], task.keys, task.values)
        unseen += pairs[-1][0] not in {key for key, *_ in pairs[:-1]}
    assert unseen > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key_tokens": 8}, "key_tokens: expected at most 7 in this vocabulary, got 8"),
        ({"value_tokens": 9}, "value_tokens: expected at most 8 in this vocabulary, got 9"),
        ({"seq_len": 18}, "seq_len: expected more than 18 for pairs that long, got 18"),
    ],
)
def test_fuzzy_recall_refuses(build: Make, options: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build("fuzzy_recall", **options)


def test_selective_copying_asks_for_the_symbols_in_order(build: Make) -> None:
    task = build("selective_copying", vocab_size=10, seq_len=30, copied=5, train_examples=None)
    for inputs, targets in examples(task, "train"):
        end = inputs.index(9)
        assert end == 30 - 5 - 1
        symbols = [token for token in inputs[:end] if token != 8]
        assert len(symbols) == 5
        assert inputs[end - 1] == symbols[-1]
        assert inputs[end + 1 :] == [8] * 5
        assert targets == [IGNORED] * 25 + symbols
    assert task.decode([3, 8, 9]) == "3 _ |"


def test_selective_copying_blanks_choose_their_symbol_alike(build: Make) -> None:
    task = build("selective_copying", vocab_size=10, seq_len=10, copied=3, train_examples=None)
    before_first = (task.batch("train", 0, 4000).inputs[:, :6] != 8).int().argmax(dim=1)
    counts = np.bincount(before_first.numpy(), minlength=4) / 4000
    assert counts == pytest.approx([8 / 27, 12 / 27, 6 / 27, 1 / 27], abs=0.04)  # binomial(3, 1/3)


def test_compression_gives_inputs_back_as_published(build: Make) -> None:
    task = build("compression", noise_vocab_size=4, frac_noise=0.5, train_examples=None)
    assert not task.causal
    for inputs, targets in examples(task, "train"):
        assert targets == inputs
        assert inputs[-1] == 15
        assert max(inputs[:-1]) < 15


def test_compression_corrected_asks_behind_the_token_and_spares_noise(build: Make) -> None:
    task = build("compression_corrected", noise_vocab_size=4, frac_noise=0.5, train_examples=None)
    assert task.causal
    assert task.seq_len == 62
    noisy = 0
    for inputs, targets in examples(task, "train"):
        symbols = inputs[:31]
        assert inputs[31:] == [15] * 31
        assert targets == [IGNORED] * 31 + [IGNORED if 11 <= token < 15 else token for token in symbols]
        noisy += sum(11 <= token < 15 for token in symbols)
    assert noisy / (200 * 31) == pytest.approx(0.5 * 30 / 31, abs=0.05)


def test_noise_needs_tokens(build: Make) -> None:
    with pytest.raises(BadInput, match="noise_vocab_size: expected at least 1 where frac_noise > 0, got 0"):
        build("compression", frac_noise=0.1)


def test_memorization_asks_for_the_same_facts_everywhere(build: Make) -> None:
    task = build("memorization", vocab_size=32, seq_len=8, train_examples=None)
    facts: dict[int, int] = {}
    for split in ("train", "validation", "test"):
        for inputs, targets in examples(task, split):
            assert inputs[1::2] == [31] * 4
            assert targets[0::2] == [IGNORED] * 4
            for key, value in zip(inputs[0::2], targets[1::2], strict=True):
                assert facts.setdefault(key, value) == value
    assert sorted(facts) == list(range(15))
    assert len(set(facts.values())) == 15
    assert all(15 <= value < 31 for value in facts.values())
    assert facts != dict(enumerate(build("memorization", seed=1, vocab_size=32, seq_len=8).value_of.tolist()))
