"""Neighbors on lattices that can be checked by hand."""

from __future__ import annotations

import math

import pytest

from lot_lattice.ops.geometry import neighbor_distances, resolve_shape


def neighbors(*arguments) -> list[set[int]]:
    _, neighbor = neighbor_distances(*arguments)
    return [set(row.nonzero().flatten().tolist()) for row in neighbor]


@pytest.mark.parametrize(("heads", "shape"), [(1, (1, 1)), (7, (1, 7)), (8, (2, 4)), (12, (3, 4)), (16, (4, 4))])
def test_default_lattice_is_the_most_square_one(heads, shape):
    assert resolve_shape(None, heads) == shape


def test_moore_and_von_neumann_on_three_by_three():
    """0 1 2 / 3 4 5 / 6 7 8"""
    assert neighbors((3, 3), "moore")[4] == {0, 1, 2, 3, 5, 6, 7, 8}
    assert neighbors((3, 3), "von_neumann")[4] == {1, 3, 5, 7}
    assert neighbors((3, 3), "moore")[0] == {1, 3, 4}
    assert neighbors((3, 3), "von_neumann", 2)[0] == {1, 2, 3, 4, 6}


def test_a_periodic_ring_has_no_ends():
    assert neighbors((5,), "moore", 1, "periodic") == [{1, 4}, {0, 2}, {1, 3}, {2, 4}, {3, 0}]
    assert neighbors((5,), "moore", 1, "open")[0] == {1}


def test_two_sites_on_a_ring_are_neighbors_once():
    distance, neighbor = neighbor_distances((2,), "moore", 1, "periodic")
    assert neighbor.tolist() == [[False, True], [True, False]]
    assert distance.tolist() == [[0, 1], [1, 0]]


def test_distance_is_euclidean_and_takes_the_shorter_way_round():
    distance, _ = neighbor_distances((4, 4), "moore", 2, "periodic")
    assert distance[0, 5].item() == pytest.approx(math.sqrt(2))
    assert distance[0, 15].item() == pytest.approx(math.sqrt(2))
    assert distance[0, 3].item() == 1
