"""The checks of an attention, in the order in which they run; most are properties that other kinds share."""

from __future__ import annotations

import torch

from lot.contracts import Attention
from lot.testing.case import Case, CheckFunction, as_attention, output
from lot.testing.failure import NotApplicable, largest, require
from lot.testing.properties import axes, causality, compiling, decoding, gradients
from lot.testing.properties.ablation import ablation
from lot.testing.properties.acting import acts
from lot.testing.properties.building import built
from lot.testing.properties.determinism import determinism
from lot.testing.properties.documents import documents
from lot.testing.properties.dtypes import dtypes
from lot.testing.properties.initial_values import initial_values
from lot.testing.properties.memory import memory
from lot.testing.properties.mixing import mixing
from lot.testing.properties.neutral import neutral
from lot.testing.properties.padding import padding
from lot.testing.properties.shapes import require_shapes
from lot.testing.properties.signals import signals
from lot.testing.properties.state import state


def builds(case: Case) -> None:
    """The factory gives an attention, its parameters finite, that says whether it is causal."""
    module = as_attention(built(case, Attention))
    declared: dict[str, type | tuple[type, ...]] = {
        "causal": bool,
        "rotary": bool,
        "depends_on_length": bool,
        "tolerance": (int, float),
        "straight_through": str,
        "segments": bool,
    }
    for name, kind in declared.items():
        value = getattr(module, name)
        require(isinstance(value, kind), name, expected="a plain bool, number or text", got=repr(value))
    case.findings.depends_on_length = module.depends_on_length
    require(
        not (module.depends_on_length and module.can_decode()),
        "depends_on_length",
        expected="no cache: what is kept of earlier tokens is wrong once there is another one",
        got="can_decode() is True",
        cause="an `init_cache` that is inherited; let can_decode() return False",
    )


def shapes(case: Case) -> None:
    """y is (B, T, D) for one token up to max_len tokens; the inputs stay as they were."""
    L = case.dims.max_len
    require_shapes(case, ((1, 1), (2, min(7, L)), (3, min(65, L)), (1, L)))


@torch.no_grad()
def rotary(case: Case) -> None:
    """A module that says `rotary` knows positions where the decoder gives none: by rotation, or always by itself."""
    plain = as_attention(case.module(positions="none"))
    if not plain.rotary:
        raise NotApplicable("it applies no rotary positions")
    turned = case.module(positions="rotary")
    turned.load_state_dict(plain.state_dict(), strict=False)
    x = case.inputs(2, min(9, case.dims.max_len))
    y = output(turned, x, case.context())
    against_none = largest(y - output(plain, x, case.context()))
    swapped = torch.cat((x[:, 1:2], x[:, :1], x[:, 2:]), dim=1)  # the last query sees the same tokens in another order
    order = largest((y - output(turned, swapped, case.context()))[:, -1])
    require(
        max(against_none, order) > 1e-4,
        "output with rotary positions against none, and after two earlier tokens were swapped",
        expected="a difference",
        got=f"{against_none:.3g} and {order:.3g}",
        cause="`rotary = True` on a module that ignores dims.positions",
    )


ATTENTION_CHECKS: dict[str, CheckFunction] = {
    "builds": builds,
    "shapes": shapes,
    "dtypes": dtypes,
    "initial values": initial_values,
    "determinism": determinism,
    "causal: forward": causality.forward,
    "causal: gradient": causality.gradient,
    "causal: prefix": causality.prefix,
    "batch members": causality.batch,
    "mixes positions": mixing,
    "padding": padding,
    "axes: shapes": axes.shapes,
    "axes: causal": axes.causal,
    "axes: prefix": axes.prefix,
    "axes: padding": axes.padding,
    "documents": documents,
    "memory": memory,
    "gradients": gradients.gradients,
    "acts": acts,
    "finite differences": gradients.finite_differences,
    "ablation": ablation,
    "neutral": neutral,
    "signals": signals,
    "state": state,
    "rotary": rotary,
    "decoding": decoding.decoding,
    "decoding with padding": decoding.decoding_with_padding,
    "compile": compiling.compiled,
    "export": compiling.exported,
}
