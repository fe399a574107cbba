"""Divergence is told from a hard batch."""

from __future__ import annotations

import torch

from lot.training.divergence import SETTLE, DivergenceWatch


def feed(guard: DivergenceWatch, *norms: float, loss: float = 1.0) -> None:
    for norm in norms:
        guard.update(torch.tensor(loss), torch.tensor(norm))


def test_nan_and_inf_are_bad_for_ever() -> None:
    for loss, norm in [(float("nan"), 1.0), (1.0, float("inf")), (1.0, float("nan"))]:
        guard = DivergenceWatch(torch.device("cpu"), 10.0)
        feed(guard, 1.0)
        assert not guard.bad()
        feed(guard, norm, loss=loss)
        feed(guard, 1.0)
        assert guard.bad()


def test_spikes_in_a_row_are_counted_and_do_not_raise_the_mean() -> None:
    guard = DivergenceWatch(torch.device("cpu"), 10.0)
    feed(guard, *[1.0] * SETTLE)
    feed(guard, 50.0, 50.0, 1.0, 50.0)
    assert guard.longest_spikes() == 2
    feed(guard, *[50.0] * 9)
    assert guard.longest_spikes() == 10


def test_a_spike_is_held_against_a_mean_that_follows_by_a_tenth() -> None:
    guard = DivergenceWatch(torch.device("cpu"), 1.5)
    feed(guard, *[1.0] * SETTLE, 1.4)  # the mean is 1.04 now
    feed(guard, 1.55)
    assert guard.longest_spikes() == 0  # and 1.091 now
    feed(guard, 1.65)
    assert guard.longest_spikes() == 1


def test_early_norms_are_no_spikes() -> None:
    guard = DivergenceWatch(torch.device("cpu"), 10.0)
    feed(guard, 1.0, 1000.0)
    assert guard.longest_spikes() == 0


def test_state_continues() -> None:
    one, two = DivergenceWatch(torch.device("cpu"), 10.0), DivergenceWatch(torch.device("cpu"), 10.0)
    feed(one, *[1.0] * SETTLE, 50.0)
    two.load_state_dict(one.state_dict())
    feed(one, 50.0)
    feed(two, 50.0)
    assert two.longest_spikes() == one.longest_spikes() == 2
