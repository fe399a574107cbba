"""The splits by content: what is in which, and that turning a row changes nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lot import BadInput
from lot_tasks.synthetic.splits import SMALLEST, class_of, classes, digest, place, require_symbols

SPLITS = ("train", "validation", "test")


@pytest.mark.parametrize("size", [4, 5, 8, 17, 64, 1000])
def test_classes_are_shared_out_completely(size: int) -> None:
    dealt = [number for split in SPLITS for number in classes(split, size)]
    assert sorted(dealt) == list(range(size))
    assert len(classes("test", size)) == len(classes("validation", size)) == max(1, size // 8)


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_lands_in_the_split_that_wants_it(split: str) -> None:
    rng = np.random.default_rng(0)
    symbols = range(3, 14)
    inputs = rng.integers(0, 16, (500, 7))
    inputs[:, 2] = rng.integers(3, 14, 500)  # one symbol at least
    placed, _ = place(rng, split, symbols, inputs, inputs)
    assert set(class_of(placed, symbols).tolist()) == set(classes(split, 11))


def test_the_class_is_that_of_a_row_turned_symbol_by_symbol() -> None:
    rng = np.random.default_rng(1)
    symbols = range(2, 9)
    for row in rng.integers(2, 11, (50, 5)):
        row[0] = rng.integers(2, 9)
        back = [(x - row[0]) % 7 + 2 if x in symbols else x for x in row]
        expected = (row[0] - 2 + int(digest(np.array([back]))[0]) % 7) % 7
        assert class_of(row[None], symbols)[0] == expected


def test_inputs_and_targets_turn_together_and_the_rest_stays() -> None:
    rng = np.random.default_rng(2)
    inputs = rng.integers(0, 12, (200, 6))
    inputs[:, 0] = 5
    targets = np.where(rng.random((200, 6)) < 0.5, -100, inputs)
    placed, asked = place(rng, "train", range(4, 10), inputs, targets)
    outside = (inputs < 4) | (inputs >= 10)
    assert (placed[outside] == inputs[outside]).all()
    assert (np.where(targets == -100, -100, placed) == asked).all()
    turn = (placed - inputs) % 6
    assert all(len(set(row[~hidden].tolist())) == 1 for row, hidden in zip(turn, outside, strict=True))


def test_all_rows_of_a_small_space_are_split_and_every_symbol_stays_likely() -> None:
    space = np.array(list(itertools.product(range(8), repeat=4)))
    kinds = class_of(space, range(8))
    assert np.bincount(kinds).tolist() == [512] * 8  # turning is a bijection between classes
    test = space[np.isin(kinds, classes("test", 8))]
    for column in test.T:
        assert np.bincount(column, minlength=8).min() > 0


def test_digests_depend_on_the_place_of_a_token() -> None:
    rows = np.array([[1, 2, 3], [3, 2, 1], [1, 3, 2], [1, 2, 3]])
    found = digest(rows)
    assert len(set(found.tolist())) == 3
    assert found[0] == found[3]


def test_too_few_symbols_are_refused() -> None:
    require_symbols(SMALLEST, where="vocab_size", got=5)
    with pytest.raises(BadInput, match=r"vocab_size: expected .* at least 4 symbols .* got 4, which leaves 3"):
        require_symbols(SMALLEST - 1, where="vocab_size", got=4)
