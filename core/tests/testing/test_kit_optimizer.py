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
    (optimizers.RateNotRead, "options", "handed to the groups"),
    (optimizers.DecayNotRead, "options", "pull towards 0"),
    (optimizers.DecayAway, "options", "the wrong sign"),
    (optimizers.RootRate, "rates", "about 10"),
    (optimizers.KeptRate, "rates", "kept from an earlier step"),
    (optimizers.EverySecond, "one step", "gathered over several steps"),
    (optimizers.OwnPass, "one step", "passes through modules"),
    (optimizers.ForgetsLate, "state", "on the optimizer object"),
    (optimizers.ForgetsAverage, "state", "on the optimizer object"),
]


def component(cls: type):
    config: type = NoOptions
    for base, options in ((optimizers.Foreach, optimizers.ForeachConfig), (optimizers.Rated, optimizers.RateConfig)):
        config = options if issubclass(cls, base) else config
    return specimen(cls, "optimizer", config=config)


def test_honest_optimizers_pass_every_check():
    assert list(check_optimizer(component(optimizers.Honest))) == ["options", "foreach"]
    assert list(check_optimizer(component(optimizers.Foreach))) == ["options"]
    assert list(check_optimizer(component(optimizers.Rated))) == ["foreach"]


@pytest.mark.parametrize(("cls", "name", "told"), CAUGHT, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("seed", [0, 7, 2**31])
def test_a_defect_fails_its_check_and_is_told(cls, name, told, seed):
    with pytest.raises(KitFailure) as failure:
        CHECKS[name](component(cls), seed=seed)
    assert told in str(failure.value)
