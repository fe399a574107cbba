"""The kit on optimizers."""

from __future__ import annotations

import pytest
from kit_specimens import optimizers, specimen

from lot.options.declare import NoOptions
from lot.testing import KitFailure, check_optimizer, checks

CHECKS = checks("optimizer")

CAUGHT = [
    (optimizers.NoOptimizer, "builds", "torch.optim.Optimizer"),
    (optimizers.MatricesOnly, "builds", "scalar, vector"),
    (optimizers.NoRate, "builds", "lr of a group"),
    (optimizers.Ascent, "decreases", "less than"),
    (optimizers.VectorsAsleep, "decreases", "another value"),
    (optimizers.HiddenVelocity, "state", "instead of in `state`"),
    (optimizers.ObjectInState, "state", "an object kept in the state"),
    (optimizers.ClosureIgnored, "closure", "the loss"),
    (optimizers.ClosureTwice, "closure", "the loss"),
    (optimizers.FixedRate, "learning rate", "learning rate 0"),
    (optimizers.CoupledDecay, "learning rate", "learning rate 0"),
    (optimizers.DecaysWithoutGradient, "missing gradients", "whose gradient is None"),
    (optimizers.FailsWithoutGradient, "missing gradients", "raised"),
    (optimizers.GlobalNoise, "determinism", "that of torch"),
    (optimizers.Clock, "determinism", "a clock"),
    (optimizers.UnequalForeach, "foreach", "foreach"),
]


def component(cls: type):
    config = optimizers.ForeachConfig if issubclass(cls, optimizers.Foreach) else NoOptions
    return specimen(cls, "optimizer", config=config)


def test_honest_optimizers_pass_every_check():
    assert list(check_optimizer(component(optimizers.Honest))) == ["foreach"]
    assert check_optimizer(component(optimizers.Foreach)) == {}


@pytest.mark.parametrize(("cls", "name", "told"), CAUGHT, ids=lambda value: getattr(value, "__name__", value))
def test_a_defect_fails_its_check_and_is_told(cls, name, told):
    with pytest.raises(KitFailure) as failure:
        CHECKS[name](component(cls))
    assert told in str(failure.value)
