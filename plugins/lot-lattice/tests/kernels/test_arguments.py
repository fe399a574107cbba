"""What the operators refuse, each in one line that names the argument."""

from __future__ import annotations

import math

import pytest
import torch

from lot_lattice.kernels import lattice_scan, mean_field


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drive": torch.zeros(2, 3)}, r"lattice_scan: drive: expected \(B, H, T\), got \(2, 3\)"),
        ({"drive": torch.zeros(2, 3, 0)}, r"drive: expected \(B, H, T\) with T >= 1, got \(2, 3, 0\)"),
        ({"drive": torch.zeros(2, 3, 4).half()}, "drive: expected float32 or float64, got float16"),
        ({"drive": torch.zeros(1, 300, 1)}, "drive: expected at most 256 heads, got 300"),
        ({"omega": torch.zeros(4)}, r"omega: expected \(3,\) or \(2, 3\), got \(4,\)"),
        ({"coupling": torch.zeros(2, 3)}, r"coupling: expected \(3,\), got \(2, 3\)"),
        ({"weights": torch.zeros(3, 2)}, r"weights: expected \(3, 3\), got \(3, 2\)"),
        ({"weights": torch.zeros(3, 3).double()}, "weights: expected float32 like drive, got float64"),
        ({"theta0": torch.zeros(3, device="meta")}, "theta0: expected a tensor on cpu like drive, got one on meta"),
        ({"weights": torch.eye(3).to_sparse()}, "weights: expected a dense tensor, got torch.sparse_coo"),
        ({"dt": math.nan}, "dt: expected a finite number, got nan"),
        ({"substeps": 0}, "substeps: expected 1 or more, got 0"),
        ({"substeps": 2**30}, "substeps: expected at most 2147483647 in all tokens, got 4 x 1073741824"),
    ],
)
def test_the_scan_refuses_in_one_line(changes, message) -> None:
    arguments = {
        "drive": torch.zeros(2, 3, 4),
        "omega": torch.zeros(3),
        "coupling": torch.zeros(3),
        "weights": torch.zeros(3, 3),
        "theta0": torch.zeros(3),
        "dt": 0.1,
    }
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        lattice_scan(**{**arguments, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"theta0": torch.zeros(2, 3, 4)}, r"mean_field: theta0: expected \(B, H, T, O\), got \(2, 3, 4\)"),
        ({"theta0": torch.zeros(2, 3, 4, 0)}, r"theta0: expected \(B, H, T, O\) with O >= 1, got \(2, 3, 4, 0\)"),
        ({"omega": torch.zeros(5)}, r"omega: expected \(3, 5\) or \(2, 3, 5\), got \(5,\)"),
        ({"coupling": torch.zeros(())}, r"coupling: expected \(3,\), got \(\)"),
        ({"omega": torch.zeros(3, 5).double()}, "omega: expected float32 like theta0, got float64"),
        ({"iterations": 0}, "iterations: expected 1 or more, got 0"),
        ({"dt": math.inf}, "dt: expected a finite number, got inf"),
    ],
)
def test_the_mean_field_refuses_in_one_line(changes, message) -> None:
    arguments = {
        "theta0": torch.zeros(2, 3, 4, 5),
        "omega": torch.zeros(3, 5),
        "coupling": torch.zeros(3),
        "dt": 0.1,
        "iterations": 2,
    }
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        mean_field(**{**arguments, **changes})
    assert "\n" not in str(caught.value)
