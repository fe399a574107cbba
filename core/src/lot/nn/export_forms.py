"""What stands for an operator of a plugin in an exported program, so that the program loads where the plugin is not.

A compiled operator is a name in the graph, and a process without the plugin does not know it. Its export form is the
same function in torch's own operators, for tensors of any batch size and length.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch._ops import OpOverload

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Form = TypeVar("Form", bound=Callable[..., Any])
Tensors = tuple[Tensor, ...]
Step = Callable[[Tensors, Tensors, Tensors], tuple[Tensors, Tensors]]
"""(states before, inputs of this step, constants) -> (states after, outputs of this step); states keep shape and dtype."""

OWN = frozenset({"aten", "prim", "prims", "higher_order"})
"""Namespaces of operators that every torch has."""

_forms: dict[OpOverload, Callable[..., Any]] = {}


def export_form(operator: OpOverload) -> Callable[[Form], Form]:
    """A decorator: the function is the export form of `operator`, such as `torch.ops.my_plugin.my_scan.default`.

    It takes the arguments of the operator, returns what it returns, and holds no operator of a plugin. Sizes that vary
    from call to call must stay sizes: no Python loop over positions (`scan` makes one), no `int()` of one.
    """

    def register(form: Form) -> Form:
        _forms[operator] = form
        return form

    return register


def scan(
    step: Step, states: Sequence[Tensor], inputs: Sequence[Tensor], constants: Sequence[Tensor] = ()
) -> tuple[Tensors, Tensors]:
    """The states after the last of T steps, and the outputs (T, ...) of all: a loop of free length in a graph.

    states: those before the first step. inputs: (T, ...) each; step t gets their slices [t]. constants: tensors that all
    steps read whole. A step reads no other tensor than those that it is given.
    """
    from torch._higher_order_ops.scan import scan_op  # what a run that exports nothing does not wait for

    n, m = len(states), len(states) + len(inputs)

    def combine(*flat: Tensor) -> list[Tensor]:
        after, outputs = step(flat[:n], flat[n:m], flat[m:])
        return [*after, *(output.clone() for output in outputs)]  # what is carried on may not be what is kept

    found = tuple(scan_op(combine, list(states), list(inputs), tuple(constants)))
    return found[:n], found[n:]


def decomposed(program: ExportedProgram) -> ExportedProgram:
    """The same program with the export form of every operator that has one; torch's own operators stay as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch about its own copying of a program
        found: ExportedProgram = program.run_decompositions(dict(_forms))
        return found


def foreign_operators(program: ExportedProgram) -> list[str]:
    """The names of the operators of a program, and of the loops in it, that a process without LOT and plugins lacks."""
    return sorted({str(target) for target in _operators(program.graph_module) if target.namespace not in OWN})


def _operators(graph: torch.fx.GraphModule) -> Iterator[OpOverload]:
    for module in graph.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                if isinstance(node.target, OpOverload):
                    yield node.target
