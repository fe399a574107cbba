"""torch.compile and torch.export give the same numbers: a run may compile its model, and `lot export` writes it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lot.contracts import Context
from lot.errors import first_line
from lot.nn.export_forms import decomposed, foreign_operators
from lot.testing.case import Case, call, output
from lot.testing.draws import normal
from lot.testing.failure import KitFailure, largest, require, require_close

TOLERANCE = 1e-4


class _Values(nn.Module):
    """y alone, from inputs and step: what torch.export takes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor, step: Tensor) -> Tensor:
        y: Tensor = self.module(inputs, Context(step))[0]
        return y


def compiled(case: Case) -> None:
    """torch.compile agrees with eager, values and gradients, in one graph that serves every step.

    The backend is aot_eager: it traces forward and backward as inductor does, and needs no C++ compiler.
    """
    T = min(6, case.dims.max_len)
    modules = [case.module(training=True) for _ in range(2)]
    torch._dynamo.reset()
    lower = torch._dynamo.lookup_backend("aot_eager")
    graphs = 0

    def backend(graph: torch.fx.GraphModule, examples: list[Tensor]) -> Any:
        nonlocal graphs
        graphs += 1
        return lower(graph, examples)

    forward = torch.compile(modules[1], backend=backend, fullgraph=True)
    try:
        for step in (0, 5, 6):
            x = case.inputs(2, T, step)
            ctx = case.context(step=step)
            eager, lowered = output(modules[0], x, ctx), call(forward, x, ctx)[0]  # type: ignore[arg-type]
            require_close(
                lowered,
                eager,
                TOLERANCE,
                f"y of the compiled module (step {step})",
                cause="a Python side effect, or a value that tracing froze",
            )
            cotangent = normal(tuple(eager.shape), "cotangent", device=case.device)
            torch.autograd.backward((eager, lowered), (cotangent, cotangent))
    except torch._dynamo.exc.TorchDynamoException as error:
        raise KitFailure(
            "torch.compile(fullgraph=True)",
            expected="one graph",
            got=first_line(error),
            cause="data-dependent Python control flow, .item(), or an operator without a fake form",
        ) from error
    finally:
        torch._dynamo.reset()
    require(
        graphs == 1,
        "graphs compiled for three steps of equal shapes",
        expected="1",
        got=graphs,
        cause="a Python value that changes from call to call, such as int(ctx.step): each value compiles a new graph",
    )
    _require_equal_gradients(*modules)


def _require_equal_gradients(eager: nn.Module, compiled: nn.Module) -> None:
    # A gradient that is zero but for rounding differs by the rounding of what it is summed from.
    whole = max((largest(p.grad) for p in eager.parameters() if p.grad is not None), default=0.0)
    for (name, p), q in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        if p.grad is not None and q.grad is not None:
            require_close(
                q.grad,
                p.grad,
                1e-3,
                f"gradient of {name} of the compiled module",
                scale=max(largest(p.grad), 1e-3 * whole),
                cause="an operator whose backward differs when traced",
            )
        require(
            (p.grad is None) == (q.grad is None),
            f"gradient of {name} of the compiled module",
            expected="one exactly where the eager module has one",
            got="the opposite",
        )


def exported(case: Case) -> None:
    """torch.export gives a program with the same values, and one in torch's own operators that needs no plugin."""
    module = case.module()
    x, ctx = case.inputs(2, min(6, case.dims.max_len)), case.context(step=3)
    try:
        program = torch.export.export(_Values(module), (x, ctx.step))
    except Exception as error:
        raise KitFailure(
            "torch.export",
            expected="a program",
            got=f"{type(error).__name__}: {first_line(error)}",
            cause="data-dependent Python control flow, .item(), or an operator without a fake form",
        ) from error
    fresh = case.inputs(2, min(6, case.dims.max_len), "fresh")
    with torch.no_grad():
        expected = output(module, fresh, case.context(step=4))
        require_close(
            program.module()(fresh, ctx.step + 1),
            expected,
            TOLERANCE,
            "y of the exported program",
            cause="a value that tracing froze",
        )
        if not (called := foreign_operators(program)):
            return
        program = decomposed(program)
        left = foreign_operators(program)
        require(
            not left,
            "operators of the exported program",
            expected="torch's own, so that it loads where the plugin is not",
            got=", ".join(left),
            cause="an operator without an export form: lot.nn.export_form registers one",
        )
        require_close(
            program.module()(fresh, ctx.step + 1),
            expected,
            TOLERANCE,
            f"y of the exported program with the export forms of {', '.join(called)}",
            cause="an export form that is another function than its operator",
        )
