"""The kit on attention: honest mechanisms pass whole, and each defect fails the check that is there for it."""

from __future__ import annotations

import pytest
from kit_specimens import leaks, manners, mechanisms, specimen

from lot.contracts import Attention
from lot.testing import Case, KitFailure, NotApplicable, checks, run_checks
from lot.testing.kinds.attention import ATTENTION_CHECKS

CHECKS = checks("attention")
EMITS = {
    manners.UnaskedSignals: {"phase"},
    manners.AllSignals: {"phase", "attention"},
    manners.UndeclaredSignal: {"phase"},
    manners.MisshapenSignal: {"phase"},
    manners.DetachedSignal: {"phase"},
    manners.ConstantSignal: {"natural_frequency"},
    manners.SilentSignal: {"phase"},
    manners.UnmaskedSignal: {"attention"},
    manners.SignalChangesOutput: {"phase"},
    manners.NarrowPhases: {"phase"},
    mechanisms.Oscillators: {"phase"},
    leaks.Honest: {"attention"},
}

CAUGHT = [
    (leaks.FutureMean, "causal: forward", "bit-equal"),
    (leaks.FutureMean, "causal: gradient", "exactly 0"),
    (leaks.FutureMean, "causal: prefix", "tokens alone"),
    (leaks.SequenceStatistic, "causal: forward", "bit-equal"),
    (leaks.SequenceStatistic, "causal: gradient", "exactly 0"),
    (leaks.SequenceStatistic, "causal: prefix", "tokens alone"),
    (leaks.DetachedLeak, "causal: forward", "bit-equal"),
    (leaks.GradientLeak, "causal: gradient", "exactly 0"),
    (leaks.TrainingLeak, "causal: forward", "training mode"),
    (leaks.TrainingLeak, "causal: gradient", "training mode"),
    (leaks.GatedLeak, "causal: forward", "bit-equal"),
    (leaks.GatedLeak, "causal: gradient", "exactly 0"),
    (leaks.BlockBorderLeak, "causal: forward", "T = 130"),
    (leaks.BlockBorderLeak, "causal: gradient", "T = 130"),
    (leaks.LargeTokenLeak, "causal: forward", "scale 1000"),
    (leaks.FiniteMask, "causal: forward", "bit-equal"),
    (leaks.LengthScale, "causal: prefix", "depends on the length"),
    (leaks.BatchMean, "batch members", "members of the batch"),
    (leaks.BatchGradient, "batch members", "gradient"),
    (leaks.BatchNorm, "batch members", "training mode"),
    (leaks.BatchNorm, "causal: forward", "training mode"),
    (leaks.CarriedState, "batch members", "state"),
    (leaks.CarriedState, "determinism", "state kept between calls"),
    (leaks.PaddedState, "padding", "padded"),
    (leaks.FinitePaddingMask, "padding", "padded"),
    (leaks.NothingButPadding, "padding", "nothing but padding"),
    (leaks.UndeclaredRounding, "causal: forward", "bit-equal"),
    (leaks.ExcessiveTolerance, "causal: forward", "tolerance"),
    (mechanisms.HeadConstant, "ablation", "softmax"),
    (mechanisms.NarrowHeadConstant, "ablation", "softmax"),
    (mechanisms.DeadParameter, "ablation", "resampling coupling"),
    (mechanisms.DeadParameter, "gradients", "none for coupling"),
    (mechanisms.CancelledParameter, "ablation", "resampling coupling"),
    (mechanisms.FalseInert, "ablation", "declared inert"),
    (mechanisms.UnknownInert, "ablation", "beta"),
    (mechanisms.DeafState, "ablation", "ablate()"),
    (mechanisms.StuckAblation, "ablation", "after ablate() has ended"),
    (mechanisms.Detached, "gradients", "none for drive.weight"),
    (mechanisms.HalfDetached, "finite differences", "drive.weight"),
    (mechanisms.RootAtZero, "gradients", "the input"),
    (mechanisms.Overflow, "gradients", "finite"),
    (manners.Counter, "determinism", "state kept between calls"),
    (manners.GlobalNoise, "determinism", "global"),
    (manners.PythonNoise, "determinism", "that of random"),
    (manners.EternalDropout, "determinism", "dropout"),
    (manners.GlobalInitialization, "initial values", "same seed"),
    (manners.UnprefixedInitialization, "initial values", "prefixed"),
    (manners.AccumulatingInitialization, "initial values", "second reset"),
    (manners.Uninitialized, "builds", "alpha"),
    (manners.HiddenState, "state", "buffer"),
    (manners.ExtraState, "state", "tensors only"),
    (manners.FixedDtype, "dtypes", "torch.float64"),
    (manners.NarrowPhases, "dtypes", "float32 or wider"),
    (manners.RoughSum, "dtypes", "autocast"),
    (manners.Overwriting, "shapes", "unchanged"),
    (manners.WrongShape, "shapes", "shape of y"),
    (manners.NoTuple, "shapes", "pair"),
    (manners.Contiguous, "shapes", "non-contiguous"),
    (manners.LengthOne, "shapes", "ZeroDivisionError"),
    (manners.DataDependent, "compile", "control flow"),
    (manners.DataDependent, "export", "control flow"),
    (manners.StepOnHost, "compile", "int(ctx.step)"),
    (manners.UnaskedSignals, "signals", "none is wanted"),
    (manners.AllSignals, "signals", "only"),
    (manners.UndeclaredSignal, "signals", "coupling_force"),
    (manners.MisshapenSignal, "signals", "shape of the signal phase"),
    (manners.DetachedSignal, "signals", "autograd graph"),
    (manners.SilentSignal, "signals", "at least one"),
    (manners.UnmaskedSignal, "signals", "above the diagonal"),
    (manners.SignalChangesOutput, "signals", "y when phase is wanted"),
    (manners.FalseRotary, "rotary", "rotary"),
    (manners.LateDecoding, "decoding", "rotary"),
    (manners.ForgetfulDecoding, "decoding", "decoding"),
    (manners.NonCausalPrefill, "decoding", "prefill"),
    (manners.SharedCache, "decoding", "two batches in turn"),
    (manners.PaddingForgottenInCache, "decoding with padding", "padding"),
    (manners.NoDecode, "decoding", "decode of a module"),
]

PASSES = [
    # What is right, or told by another check, raises no alarm.
    (leaks.GradientLeak, "causal: forward"),
    (leaks.DetachedLeak, "causal: gradient"),
    (leaks.LengthScale, "causal: forward"),
    (leaks.LengthScale, "causal: gradient"),
    (leaks.Rounding, "causal: forward"),
    (leaks.Rounding, "causal: gradient"),
    (leaks.Rounding, "causal: prefix"),
    (manners.TrainingNoise, "determinism"),
    (manners.TrainingNoise, "causal: forward"),
    (manners.ConstantSignal, "signals"),
    (mechanisms.DeclaredHeadConstant, "ablation"),
    (mechanisms.NarrowOscillators, "ablation"),
    (mechanisms.NarrowOscillators, "finite differences"),
    (mechanisms.LateParameter, "ablation"),
    (mechanisms.LateParameter, "gradients"),
]

SKIPS = [
    (leaks.NonCausal, "causal: forward", "non-causal"),
    (leaks.NonCausal, "causal: gradient", "non-causal"),
    (leaks.NonCausal, "decoding", "no cache"),
    (leaks.NoPadding, "padding", "ignores"),
    (leaks.NoPadding, "decoding with padding", "ignores"),
]


def component(cls: type[Attention]):
    return specimen(cls, "attention", emits=frozenset(EMITS.get(cls, ())))


@pytest.mark.parametrize("cls", [leaks.Honest, mechanisms.Oscillators], ids=lambda cls: cls.__name__)
def test_an_honest_mechanism_passes_every_check(cls):
    outcomes = dict(run_checks(component(cls)))
    assert {name: str(failure) for name, failure in outcomes.items() if isinstance(failure, KitFailure)} == {}
    assert list(outcomes) == list(ATTENTION_CHECKS)


@pytest.mark.parametrize(("cls", "name", "told"), CAUGHT, ids=lambda value: getattr(value, "__name__", value))
def test_a_defect_fails_its_check_and_is_told(cls, name, told):
    with pytest.raises(KitFailure) as failure:
        CHECKS[name](component(cls))
    assert told in str(failure.value)


@pytest.mark.parametrize(("cls", "name"), PASSES, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_right_raises_no_alarm(cls, name):
    CHECKS[name](component(cls))


@pytest.mark.parametrize(("cls", "name", "told"), SKIPS, ids=lambda value: getattr(value, "__name__", value))
def test_what_a_mechanism_does_not_claim_is_not_held_against_it(cls, name, told):
    with pytest.raises(NotApplicable, match=told):
        CHECKS[name](component(cls))


def test_the_kit_changes_no_global_state():
    import torch

    before = torch.random.get_rng_state(), torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled()
    for function in ATTENTION_CHECKS.values():
        function(Case(component(leaks.Honest), "attention"))
    after = torch.random.get_rng_state(), torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
