"""The kit on losses."""

from __future__ import annotations

import pytest
from kit_specimens import losses, specimen

from lot.signals import Signal
from lot.testing import KitFailure, NotApplicable, check_loss, checks

CHECKS = checks("loss")

CAUGHT = [
    (losses.NoLoss, "builds", "lot.Loss"),
    (losses.IdleNeed, "builds", "natural_frequency"),
    (losses.IdleNeed, "needs", "natural_frequency"),
    (losses.ForgottenNeed, "terms", "reading the signal 'phase'"),
    (losses.ForgottenNeed, "needs", "reading the signal 'phase'"),
    (losses.OneShape, "terms", "raised"),
    (losses.Vector, "terms", "a scalar tensor"),
    (losses.Unnamed, "terms", "named tensors"),
    (losses.InPlace, "terms", "logits after the loss"),
    (losses.ComesAndGoes, "terms", "come and go"),
    (losses.Constant, "differentiable", "none for sync"),
    (losses.RootAtZero, "differentiable", "finite"),
    (losses.IgnoredCounts, "ignored targets", "entropy"),
    (losses.NothingScored, "ignored targets", "finite"),
    (losses.PaddingCounts, "padding", "sync"),
    (losses.RunningMean, "determinism", "entropy"),
    (losses.NarrowSoftmax, "precision", "bfloat16"),
    (losses.FalseReplacement, "replaces", "stands for cross-entropy"),
    (losses.PerSequence, "parts", "per_target is wrong"),
    (losses.MeanNotSum, "adds up", "a mean is returned where the sum"),
    (losses.SquaredSum, "adds up", "term sync"),
    (losses.AllTokens, "scored counts", "divided by all tokens"),
    (losses.PaddedTokens, "scored counts", "divided by all tokens"),
    (losses.FixedCount, "adds up", "term entropy"),
    (losses.FirstCount, "scored counts", "term entropy"),
]


def component(cls: type):
    replaces = frozenset({"cross_entropy"})
    return specimen(cls, "loss", needs=frozenset({"phase"}), replaces=replaces)


@pytest.mark.parametrize(
    ("cls", "skips"),
    [
        (losses.Honest, {"parts"}),
        (losses.Optional, {"needs", "parts"}),
        (losses.PerTarget, {"needs"}),
        (losses.SquaredMean, {"parts"}),
    ],
)
def test_an_honest_loss_passes_every_check(cls, skips):
    assert set(check_loss(component(cls))) == skips


@pytest.mark.parametrize(("cls", "name", "told"), CAUGHT, ids=lambda value: getattr(value, "__name__", value))
def test_a_defect_fails_its_check_and_is_told(cls, name, told):
    with pytest.raises(KitFailure) as failure:
        CHECKS[name](component(cls))
    assert told in str(failure.value)


def test_a_signal_of_unknown_shape_is_skipped_until_its_shape_is_handed_over():
    made = specimen(losses.Flux, "loss", needs=frozenset({"flux"}))
    with pytest.raises(NotApplicable, match="flux"):
        CHECKS["terms"](made)
    flux = Signal(name="flux", source="attention", shapes=(("B", "T", "F"),), meaning="flow through each token")
    assert set(check_loss(made, signals={"flux": flux})) == {"replaces", "parts"}
