"""The checks of an MLP: it mixes the channels of each token by itself."""

from __future__ import annotations

import torch

from lot.contracts import MLP
from lot.testing.case import Case, CheckFunction, output
from lot.testing.failure import largest, require, require_close
from lot.testing.properties import compiling, gradients
from lot.testing.properties.building import built
from lot.testing.properties.determinism import determinism
from lot.testing.properties.dtypes import dtypes
from lot.testing.properties.initial_values import initial_values
from lot.testing.properties.shapes import require_shapes
from lot.testing.properties.signals import signals
from lot.testing.properties.state import state
from lot.testing.settings import STEPS, mode_name

TOLERANCE = 1e-5


def builds(case: Case) -> None:
    """The factory gives an MLP whose parameters all have an initial value."""
    built(case, MLP)


def shapes(case: Case) -> None:
    """y is (B, T, D) for one token up to max_len tokens; the inputs stay as they were."""
    L = case.dims.max_len
    require_shapes(case, ((1, 1), (2, min(7, L)), (3, min(65, L)), (1, L)))


def tokens(case: Case) -> None:
    """y at a position depends on x there alone: other tokens, other sequences and the position change nothing."""
    T = min(12, case.dims.max_len)
    cause = "a statistic over the sequence or the batch, or a state that is kept between tokens or calls"
    for training in (False, True):
        module = case.module(training=training)
        for step in STEPS:
            x = case.inputs(3, T)
            with torch.no_grad():
                y = output(module, x, case.context(step=step))
                others = case.inputs(3, T, "others", scale=1000.0)
                for t in range(T):
                    changed = others.clone()
                    changed[0, t] = x[0, t]
                    where = f"output at position {t} (step {step}, {mode_name(training)})"
                    after = output(module, changed, case.context(step=step))
                    require_close(
                        after[0, t],
                        y[0, t],
                        TOLERANCE,
                        f"{where} after all other tokens were replaced",
                        scale=largest(y),
                        cause=cause,
                    )
                    if not training:  # noise of another shape is other noise
                        alone = output(module, x[:, t : t + 1], case.context(step=step, start=t))
                        require_close(
                            alone[:, 0], y[:, t], TOLERANCE, f"{where}, given alone", scale=largest(y), cause=cause
                        )
        _require_own_gradient(case, module.train(training))


def _require_own_gradient(case: Case, module: torch.nn.Module) -> None:
    x = case.inputs(2, min(8, case.dims.max_len)).requires_grad_()
    y = output(module, x, case.context())
    (g,) = torch.autograd.grad(y[0, 3].square().sum(), x, allow_unused=True)
    if g is None:
        return  # the check `gradients` reports it
    g[0, 3] = 0
    require(
        largest(g) == 0,
        f"gradient of a token's output with respect to other tokens ({mode_name(module.training)})",
        expected="exactly 0",
        got=f"up to {largest(g):.3g}",
        cause="a statistic over the sequence or the batch",
    )


MLP_CHECKS: dict[str, CheckFunction] = {
    "builds": builds,
    "shapes": shapes,
    "dtypes": dtypes,
    "initial values": initial_values,
    "determinism": determinism,
    "tokens": tokens,
    "gradients": gradients.gradients,
    "finite differences": gradients.finite_differences,
    "signals": signals,
    "state": state,
    "compile": compiling.compiled,
    "export": compiling.exported,
}
