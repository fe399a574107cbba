"""Running the kit: order, outcomes, what is skipped, and what it says of the core's own components."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys

import attrs
import pytest
import torch
from kit_specimens import leaks, mechanisms, specimen

from lot.builtin import plugin
from lot.contracts import Dims
from lot.errors import BadInput
from lot.plugins.hookspecs import HOOKS
from lot.testing import KitFailure, check_attention, check_loss, checks, examine, run_checks
from lot.testing.run import CHECKED_KINDS

OWN = [
    attrs.evolve(component, kind=kind) for kind in CHECKED_KINDS for component in getattr(plugin, HOOKS[kind], list)()
]


ALL = len(checks("attention"))


def line_of(function):
    return inspect.getsourcelines(function)[1]


@pytest.mark.parametrize("component", OWN, ids=lambda component: f"{component.kind}-{component.name}")
def test_the_core_passes_its_own_kit(component):
    outcomes = dict(run_checks(component))
    assert {name: str(failure) for name, failure in outcomes.items() if isinstance(failure, KitFailure)} == {}


def test_outcomes_come_one_by_one_in_the_order_of_the_checks():
    run = run_checks(specimen(leaks.GradientLeak, "attention", emits="attention"))
    assert next(run) == ("builds", None)
    outcomes = {"builds": None, **dict(run)}
    assert list(outcomes) == list(checks("attention"))
    failed = {name for name, outcome in outcomes.items() if outcome is not None}
    assert failed == {"causal: gradient", "padding", "axes: causal", "finite differences", "neutral"}


def test_all_failures_are_told_at_once_with_their_cause():
    with pytest.raises(KitFailure) as failure:
        check_attention(specimen(mechanisms.HeadConstant, "attention"), seed=5)
    lines = str(failure.value).splitlines()
    assert lines[0].startswith("attention 'specimen' (")
    assert lines[0].endswith(f"mechanisms.py:{line_of(mechanisms.HeadConstant)}) fails 2 of {ALL} checks, seed 5:")
    assert lines[1].startswith("- ablation: resampling alpha: expected the output to move by more than")
    assert "Usual cause: a parameter that nothing reads, or a term that softmax" in lines[1]
    assert lines[2].startswith("- signals: signals: expected only those that the component emits (none), got phase")


def test_what_is_skipped_is_told_with_its_reason():
    skipped = check_attention(specimen(leaks.NonCausal, "attention", emits="attention"), skip={"export"})
    assert skipped["causal: forward"] == "skipped: it is built non-causal, and says so"
    assert skipped["export"] == "skipped: on request"


def test_what_the_kit_found_is_plain_data_and_comes_as_it_is_known():
    seen = []
    made = specimen(mechanisms.HeadConstant, "attention", emits="phase")
    result = examine(made, seed=7, skip={"export"}, on_result=seen.append)
    assert (result.kind, result.component, result.seed, result.passed) == ("attention", "specimen", 7, False)
    assert tuple(seen) == result.checks
    assert [check.name for check in result.checks] == list(checks("attention"))
    assert [check.name for check in result.failed] == ["ablation"]
    assert result.failed[0].why.startswith("resampling alpha: expected the output to move")
    assert {check.name: check.why for check in result.skipped}["export"] == "on request"
    json.dumps(dataclasses.asdict(result))
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.seed = 8


def test_an_error_is_told_once_with_file_and_line_of_the_component():
    made = specimen(mechanisms.Raising, "attention")
    result = examine(made)
    line = line_of(mechanisms.Raising.forward) + 1
    first, *others = result.failed
    assert (first.name, first.same_as) == ("shapes", "")
    assert first.where.endswith(f"mechanisms.py:{line}, in forward")
    assert first.why == f"raised ValueError: seven heads ({first.where})"
    assert {check.same_as for check in others} == {"shapes"}
    with pytest.raises(KitFailure) as failure:
        check_attention(made)
    lines = str(failure.value).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith(f"- {len(others)} further checks stopped at the same error as shapes: dtypes, ")


def test_a_component_that_cannot_be_built_ends_the_run():
    narrow = Dims(width=6, heads=4, max_len=16, vocab_size=5)
    ((name, outcome),) = run_checks(specimen(leaks.Honest, "attention"), dims=narrow)
    assert name == "builds"
    assert "model.heads: expected a divisor of the width 6" in str(outcome)


def test_a_factory_that_does_not_load_fails_to_build():
    missing = attrs.evolve(specimen(leaks.Honest, "attention"), factory="kit_specimens.nowhere:Honest")
    ((_, outcome),) = run_checks(missing)
    assert "kit_specimens.nowhere" in str(outcome)


def test_dimensions_can_be_chosen():
    narrow = Dims(width=24, heads=2, max_len=8, vocab_size=3)
    skipped = check_attention(specimen(mechanisms.Oscillators, "attention", emits="phase"), dims=narrow)
    assert set(skipped) == {"neutral", "padding", "axes: padding", "decoding", "decoding with padding"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_vanilla_attention_passes_on_a_gpu():
    (component,) = plugin.lot_attentions()
    check_attention(component, device="cuda")


def test_wrong_use_is_bad_input():
    made = specimen(leaks.Honest, "attention")
    with pytest.raises(BadInput, match="unknown option"):
        check_attention(made, couplng=0.5)
    with pytest.raises(BadInput, match="skip: expected names of checks"):
        check_attention(made, skip={"causality"})
    with pytest.raises(BadInput, match="expected one of kind loss"):
        check_loss(made)
    with pytest.raises(BadInput, match="expected attention or"):
        list(run_checks(attrs.evolve(made, kind="")))
    with pytest.raises(BadInput, match="expected attention or"):
        checks("kernel")
    with pytest.raises(BadInput, match="at least 8 tokens"):
        check_attention(made, dims=Dims(width=8, heads=2, max_len=4, vocab_size=3))


def test_the_kit_needs_no_pytest():
    code = f"import sys; sys.modules['pytest'] = None; import lot.testing; [lot.testing.checks(k) for k in {CHECKED_KINDS!r}]"
    subprocess.run([sys.executable, "-c", code], check=True)
