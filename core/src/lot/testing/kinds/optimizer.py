"""The checks of an optimizer: it trains every parameter, obeys its groups, and resumes to the bit."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import attrs
import torch
from torch import Tensor

from lot.storage import checkpoint
from lot.testing.case import Case, CheckFunction
from lot.testing.failure import (
    KitFailure,
    NotApplicable,
    largest,
    require,
    require_close,
    require_equal,
    require_finite,
)
from lot.testing.generators import other_generators, untouched_generators
from lot.testing.kinds.optimizer_steps import one_step, optimizer_of, options, rates, weights
from lot.testing.specimens.problems import Network, Problem, Quadratic, problems, take_step

Weights = dict[str, Tensor]
SOON = 3
LATE = (101, 107, 113, 127)
"""Steps after which a run is resumed, one of them by the seed: primes, so that no period of an optimizer divides them."""
MORE = 50
"""Steps that the resumed run is followed."""


def _require_equal_weights(got: Weights, expected: Weights, what: str, cause: str) -> None:
    for name, value in expected.items():
        require_equal(got[name], value, f"{name} {what}", cause=cause)


def builds(case: Case) -> None:
    """The factory gives a torch optimizer whose groups hold every trainable parameter once, each group with an lr."""
    for model in problems():
        frozen = next(iter(model.parameters()))
        frozen.requires_grad_(False)
        groups = optimizer_of(case, model).param_groups
        held = [id(p) for group in groups for p in group["params"]]
        names = {id(p): name for name, p in model.named_parameters()}
        twice = sorted({names[key] for key in held if held.count(key) > 1})
        require(not twice, "param_groups", expected="every parameter once", got=f"{', '.join(twice)} more than once")
        missing = sorted(name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held)
        require(
            not missing,
            "param_groups",
            expected="every trainable parameter",
            got=f"none of {', '.join(missing)}",
            cause="parameters chosen by shape or name, where one sort was forgotten",
        )
        for group in groups:
            require(
                isinstance(group.get("lr"), float),
                "lr of a group",
                expected="a float, which the schedule sets",
                got=repr(group.get("lr")),
            )


def decreases(case: Case) -> None:
    """A hundred steps lower the loss of a quadratic and of a small network, and move every parameter."""
    for model in problems():
        optimizer, before = optimizer_of(case, model), weights(model)
        with torch.no_grad():
            first = sum(float(model.loss(1000 + i)) for i in range(4)) / 4
        for step in range(100):
            take_step(model, optimizer, step)
        with torch.no_grad():
            last = sum(float(model.loss(1000 + i)) for i in range(4)) / 4
        name = type(model).__name__.lower()
        require(
            last < first,
            f"loss of the {name} after 100 steps",
            expected=f"less than {first:.4g}",
            got=f"{last:.4g}",
            cause="a wrong sign, or a default learning rate that is far too large",
        )
        for parameter, p in model.named_parameters():
            require_finite(p, f"{parameter} of the {name} after 100 steps")
            require(
                not torch.equal(p, before[parameter]),
                f"{parameter} of the {name} after 100 steps",
                expected="another value",
                got="the initial one",
                cause="a sort of parameter that no branch updates",
            )


def state(case: Case) -> None:
    """A fresh optimizer that loads the saved state from a checkpoint continues with the same bits, soon and late."""
    for kind in (Quadratic, Network):
        for taken in (SOON, LATE[case.seed % len(LATE)]):
            _require_resumed(case, kind, taken)


def _require_resumed(case: Case, kind: type[Problem], taken: int) -> None:
    model = kind()
    optimizer = optimizer_of(case, model)
    for step in range(taken):
        take_step(model, optimizer, step)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = checkpoint.save(Path(folder), taken, _state(model), {"optimizer": optimizer.state_dict()})
        except TypeError as error:
            raise KitFailure(
                "state_dict",
                expected="tensors, numbers, strings, lists and dicts",
                got=str(error),
                cause="an object kept in the state",
            ) from error
        loaded = checkpoint.load(path)
    fresh = kind()
    fresh.load_state_dict(loaded.model)
    resumed = optimizer_of(case, fresh)
    resumed.load_state_dict(loaded.state["optimizer"])
    for step in range(taken, taken + MORE):
        take_step(model, optimizer, step)
        take_step(fresh, resumed, step)
    _require_equal_weights(
        weights(fresh),
        weights(model),
        f"after {taken} steps, saving, loading and {MORE} more steps",
        "state kept on the optimizer object instead of in `state` or in the groups",
    )


def _state(model: Problem) -> Weights:
    return {name: value.detach() for name, value in model.state_dict().items()}


def closure(case: Case) -> None:
    """`step(closure)` evaluates the closure with gradients on, returns its loss, and updates as a plain step does."""
    plain, closed = Network(), Network()
    plain_optimizer, optimizer = optimizer_of(case, plain), optimizer_of(case, closed)
    for step in range(2):
        loss = take_step(plain, plain_optimizer, step)

        def evaluate(step: int = step) -> Tensor:
            optimizer.zero_grad()
            value = closed.loss(step)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        with torch.no_grad():
            returned = optimizer.step(evaluate)  # type: ignore[arg-type]
        require(
            returned is not None and abs(float(torch.as_tensor(returned).detach()) - loss) < 1e-6,
            "what step(closure) returns",
            expected=f"the loss {loss:.6g}",
            got=returned,
            cause="a closure whose result is dropped",
        )
    _require_equal_weights(
        weights(closed), weights(plain), "after step(closure)", "a closure that is not called, or called twice"
    )


def learning_rate(case: Case) -> None:
    """The learning rate is read from the groups at every step: 0 changes nothing, another value gives another step."""
    results = []
    for factor in (0.0, 1.0, 0.5):
        model = Network()
        optimizer, before = optimizer_of(case, model), weights(model)
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor
        for step in range(3):  # an odd number: after an even one, steps of a fixed size may have led back
            take_step(model, optimizer, step)
        if factor == 0.0:
            _require_equal_weights(
                weights(model),
                before,
                "after steps of learning rate 0",
                "weight decay or an update that leaves group['lr'] out",
            )
        results.append(weights(model))
    for name in results[0]:
        require(
            not torch.equal(results[1][name], results[2][name]),
            f"{name} after steps of half the learning rate",
            expected="another value",
            got="the same",
            cause="a learning rate that is read only once, when the optimizer is made",
        )


def missing_gradients(case: Case) -> None:
    """A parameter without a gradient keeps its value, and the step of the others does not fail."""
    model = Network()
    optimizer, before = optimizer_of(case, model), weights(model)
    for step in range(2):
        optimizer.zero_grad()
        model.loss(step).backward()  # type: ignore[no-untyped-call]
        for name in ("head.weight", "blocks.0.1.weight", "norm.bias"):
            model.get_parameter(name).grad = None
        optimizer.step()
    for name in ("head.weight", "blocks.0.1.weight", "norm.bias"):
        require_equal(
            model.get_parameter(name).detach(),
            before[name],
            f"{name}, whose gradient is None, after two steps",
            cause="weight decay on parameters that took no part in the step",
        )


def determinism(case: Case) -> None:
    """Two equal runs give equal bits and draw from no global generator."""
    runs = []
    for seed in (0, 1):
        model = Network()
        optimizer = optimizer_of(case, model)
        with other_generators(seed), untouched_generators("optimizer steps"):
            for step in range(4):
                take_step(model, optimizer, step)
        runs.append(weights(model))
    _require_equal_weights(
        runs[1],
        runs[0],
        "after the same four steps",
        "a global generator, a clock, or an iteration over a set of tensors",
    )


def foreach(case: Case) -> None:
    """The option `foreach`, where the optimizer has it, changes nothing but speed."""
    if "foreach" not in {field.name for field in attrs.fields(case.component.config_class)}:
        raise NotApplicable("it has no option foreach")
    results = []
    for value in (False, True):
        chosen = replace(case, options={**case.options, "foreach": value})
        model = Network()
        optimizer = optimizer_of(chosen, model)
        for step in range(4):
            take_step(model, optimizer, step)
        results.append(weights(model))
    for name, plain in results[0].items():
        require_close(
            results[1][name],
            plain,
            1e-5,
            f"{name} with foreach",
            scale=max(1.0, largest(plain)),
            cause="two formulas that differ",
        )


OPTIMIZER_CHECKS: dict[str, CheckFunction] = {
    "builds": builds,
    "decreases": decreases,
    "learning rate": learning_rate,
    "rates": rates,
    "options": options,
    "one step": one_step,
    "closure": closure,
    "missing gradients": missing_gradients,
    "determinism": determinism,
    "state": state,
    "foreach": foreach,
}
