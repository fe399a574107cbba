"""Keyed randomness: equal keys give equal numbers, other keys other ones, and nothing moves the global generators."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from lot.contracts import Attention, Embedding, reset_standard
from lot.random import derive, initialize, isolated, numpy_generator, permutation, torch_generator

KEYS = [
    (0,),
    (1,),
    (0, "data"),
    (0, "data", 1),
    (0, "data", 11),
    (0, "data", 1, 1),
    (0, "data", "1"),
    (0, "da", "ta"),
    (-1, "data"),
]


def test_keys_are_told_apart_by_every_part():
    found = [derive(*key) for key in KEYS]
    assert len(set(found)) == len(KEYS)
    assert all(0 <= value < 2**64 for value in found)


def test_a_key_is_the_same_in_another_process():
    """Python's own hash is not: it is salted anew in every process."""
    code = "from lot.random import derive; print(derive(3, 'init', 'blocks.0.weight', 7))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert int(told) == derive(3, "init", "blocks.0.weight", 7)


def test_keys_of_recorded_runs_stay_what_they_were():
    """A change here would change every batch and every initial value of every recorded run."""
    assert derive(0) == 5263075011782779848
    assert derive(7, "data", "train", 10**9) == 9275325037517959996


@pytest.mark.parametrize("make", [numpy_generator, torch_generator])
def test_generators_repeat_for_equal_keys_and_differ_for_others(make):
    def draw(*key):
        generator = make(*key)
        if isinstance(generator, torch.Generator):
            return torch.rand(4, generator=generator).numpy()
        return generator.random(4)

    draws = [draw(*key) for key in KEYS]
    assert all(np.array_equal(first, draw(*key)) for key, first in zip(KEYS, draws, strict=True))
    assert len({tuple(values) for values in draws}) == len(KEYS)


def test_generators_of_neighboring_keys_are_uncorrelated():
    draws = np.stack([numpy_generator(0, "data", i).standard_normal(2000) for i in range(20)])
    off_diagonal = np.corrcoef(draws)[~np.eye(20, dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(2000)


def test_isolation_keys_the_default_generator_and_puts_it_back():
    torch.manual_seed(4)
    before = torch.random.get_rng_state()
    with isolated(0, "dropout", 3):
        first = torch.rand(5)
        with isolated(0, "dropout", 4):
            other = torch.rand(5)
        rest = torch.rand(5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(17)
    with isolated(0, "dropout", 3):
        assert torch.equal(torch.rand(10), torch.cat((first, rest)))
    assert not torch.equal(first, other)


def test_isolation_ends_with_an_error_too():
    before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError), isolated(0):
        torch.rand(3) @ torch.rand(4)
    assert torch.equal(torch.random.get_rng_state(), before)


@given(st.integers(1, 600), st.integers(0, 2**32), st.integers(0, 50))
@settings(max_examples=60)
def test_a_permutation_gives_every_number_once(size, seed, epoch):
    found = permutation(np.arange(size), size, seed, "epoch", epoch)
    assert found.dtype == np.int64
    assert np.array_equal(np.sort(found), np.arange(size))


@given(st.integers(1, 2**40), st.data())
@settings(max_examples=40)
def test_a_permutation_is_the_same_in_pieces_and_within_bounds(size, data):
    indices = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=20)), dtype=np.int64)
    whole = permutation(indices, size, 1, "train")
    assert all(0 <= value < size for value in whole)
    assert whole.tolist() == [int(permutation(np.array([i]), size, 1, "train")[0]) for i in indices]
    assert len(set(whole.tolist())) == len(set(indices.tolist()))


def test_a_permutation_leaves_its_input_and_depends_on_its_key():
    indices = np.arange(1000)
    found = [permutation(indices, 1000, seed, "epoch", epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert np.array_equal(indices, np.arange(1000))
    for i in range(4):
        for j in range(i):
            assert (found[i] == found[j]).sum() < 12  # one is expected of independent permutations


@pytest.mark.parametrize("size", [3, 10, 30])
def test_every_place_is_as_likely_as_any_other(size):
    """Chi-square over a hundred draws a place, within six standard deviations."""
    draws = 100 * size
    for index in (0, size // 2, size - 1):
        places = [int(permutation(np.array([index]), size, seed)[0]) for seed in range(draws)]
        chi2 = float(((np.bincount(places, minlength=size) - 100) ** 2 / 100).sum())
        assert abs(chi2 - (size - 1)) < 6 * np.sqrt(2 * (size - 1))


def test_a_permutation_that_is_not_stored_scatters_neighbors():
    size = 200_000
    places = permutation(np.arange(2000), size, 0)
    assert abs(np.corrcoef(np.arange(2000), places)[0, 1]) < 5 / np.sqrt(2000)
    steps = np.diff(places)
    assert np.abs(steps).mean() == pytest.approx(size / 3, rel=0.1)  # of independent places
    assert len(set(steps.tolist())) > 1950


def test_a_permutation_of_nothing_is_refused():
    with pytest.raises(ValueError, match="size: expected a number >= 1, got 0"):
        permutation(np.arange(1), 0, 1)


class Small(Attention):
    def __init__(self, extra: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(40, 30)
        if extra:
            self.extra = nn.Linear(40, 30)
        self.table = nn.Embedding(25, 40)
        self.norm = nn.LayerNorm(40)
        self.own = nn.Parameter(torch.full((3,), 2.0))


def test_an_initial_value_depends_on_seed_and_name_only():
    plain, richer = Small(False), Small(True)
    with torch.no_grad():
        richer.norm.weight.fill_(9.0)
    initialize(plain, 5, "blocks.0.")
    initialize(richer, 5, "blocks.0.")
    values = dict(richer.named_parameters())
    for name, value in plain.named_parameters():
        assert torch.equal(value, values[name]), name
    assert not torch.equal(values["inner.weight"], values["extra.weight"])
    for other in ((6, "blocks.0."), (5, "blocks.1.")):
        initialize(plain, *other)
        assert not torch.equal(plain.inner.weight, values["inner.weight"])


def test_standard_values_are_those_of_gpt2():
    module = Small(False)
    before = torch.random.get_rng_state()
    initialize(module, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
    for weight in (module.inner.weight, module.table.weight):
        assert float(weight.detach().mean()) == pytest.approx(0.0, abs=5 * 0.02 / weight.numel() ** 0.5)
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=5 / (2 * weight.numel()) ** 0.5)
    assert not module.inner.bias.any()
    assert torch.equal(module.norm.weight, torch.ones(40))
    assert torch.equal(module.own, torch.full((3,), 2.0))


def test_names_below_the_root_are_whole_paths():
    class Outer(Embedding):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))

    asked: list[str] = []

    def generator_for(name: str) -> torch.Generator:
        asked.append(name)
        return torch.Generator()

    reset_standard(Outer(), generator_for)
    assert asked == ["part.0.weight", "part.1.0.weight"]
