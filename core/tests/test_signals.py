"""The table of signals."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lot.signals import SIGNALS, shape_problem

SIZES = {"B": 2, "T": 7, "H": 4, "D": 16, "V": 23, "L+1": 4}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("hidden", (4, 2, 7, 16)),
        ("phase", (2, 4, 7)),
        ("phase", (2, 4, 7, 32)),
        ("natural_frequency", (4, 3)),
        ("attention", (2, 4, 7, 7)),
        ("harmonic_amplitude", (23, 9, 2)),
    ],
)
def test_admissible_shapes_pass(name, shape):
    assert shape_problem(name, shape, SIZES) is None


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("phase", (2, 7, 4), "(B, H, T) = (2, 4, 7) or (B, H, T, O) = (2, 4, 7, O)"),
        ("attention", (2, 4, 7, 6), "(B, H, T, T) = (2, 4, 7, 7)"),
        ("hidden", (2, 7, 16), "(L+1, B, T, D) = (4, 2, 7, 16)"),
        ("neighbor_weights", (), "(H, H) = (4, 4)"),
    ],
)
def test_others_are_told_what_was_expected(name, shape, expected):
    assert shape_problem(name, shape, SIZES) == expected


def test_a_size_that_is_not_known_may_be_anything():
    assert shape_problem("attention", (5, 4, 9, 9), {"H": 4}) is None
    assert shape_problem("attention", (5, 3, 9, 9), {"H": 4}) == "(B, H, T, T) = (B, 4, T, T)"


def test_a_letter_stands_for_one_size():
    assert shape_problem("attention", (5, 4, 9, 8), {"H": 4}) is not None


def test_a_signal_of_a_plugin_is_its_own_affair():
    assert shape_problem("flux", (1, 2, 3), SIZES) is None


def test_names_are_those_of_the_table():
    assert all(name == signal.name for name, signal in SIGNALS.items())


def test_the_table_needs_no_torch():
    code = "import sys; import lot.signals; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
