"""The kit on attention: honest mechanisms pass whole, and each defect fails the check that is there for it."""

from __future__ import annotations

import pytest
from kit_specimens import (
    documents,
    emitted_signals,
    forward_form,
    leaks,
    mechanisms,
    neutral_forms,
    positions_and_decoding,
    randomness_and_state,
    specimen,
)

from lot.contracts import Attention
from lot.testing import KitFailure, NotApplicable, checks, run_checks
from lot.testing.case import Case
from lot.testing.kinds.attention import ATTENTION_CHECKS

CHECKS = checks("attention")
EMITS = {
    emitted_signals.UnaskedSignals: {"phase"},
    emitted_signals.AllSignals: {"phase", "attention"},
    emitted_signals.UndeclaredSignal: {"phase"},
    emitted_signals.MisshapenSignal: {"phase"},
    emitted_signals.DetachedSignal: {"phase"},
    emitted_signals.ConstantSignal: {"natural_frequency"},
    emitted_signals.SilentSignal: {"phase"},
    emitted_signals.UnmaskedSignal: {"attention"},
    emitted_signals.SignalChangesOutput: {"phase"},
    forward_form.NarrowPhases: {"phase"},
    mechanisms.Oscillators: {"phase"},
    leaks.Honest: {"attention"},
    neutral_forms.Absent: {"attention"},
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
    (mechanisms.TokenAlone, "mixes positions", "attends to nothing"),
    (mechanisms.FalseInert, "ablation", "declared inert"),
    (mechanisms.UnknownInert, "ablation", "beta"),
    (mechanisms.DeafState, "ablation", "ablate()"),
    (mechanisms.StuckAblation, "ablation", "after ablate() has ended"),
    (mechanisms.Detached, "gradients", "none for drive.weight"),
    (mechanisms.HalfDetached, "finite differences", "drive.weight"),
    (mechanisms.RootAtZero, "gradients", "the input"),
    (mechanisms.Overflow, "gradients", "finite"),
    (randomness_and_state.Counter, "determinism", "state kept between calls"),
    (randomness_and_state.GlobalNoise, "determinism", "global"),
    (randomness_and_state.PythonNoise, "determinism", "that of random"),
    (randomness_and_state.EternalDropout, "determinism", "dropout"),
    (randomness_and_state.GlobalInitialization, "initial values", "same seed"),
    (randomness_and_state.UnprefixedInitialization, "initial values", "prefixed"),
    (randomness_and_state.AccumulatingInitialization, "initial values", "second reset"),
    (randomness_and_state.Uninitialized, "builds", "alpha"),
    (randomness_and_state.HiddenState, "state", "buffer"),
    (randomness_and_state.ExtraState, "state", "tensors only"),
    (forward_form.FixedDtype, "dtypes", "torch.float64"),
    (forward_form.NarrowPhases, "dtypes", "float32 or wider"),
    (forward_form.RoughSum, "dtypes", "autocast"),
    (forward_form.Overwriting, "shapes", "unchanged"),
    (forward_form.WrongShape, "shapes", "shape of y"),
    (forward_form.NoTuple, "shapes", "pair"),
    (forward_form.Contiguous, "shapes", "non-contiguous"),
    (forward_form.LengthOne, "shapes", "ZeroDivisionError"),
    (forward_form.DataDependent, "compile", "control flow"),
    (forward_form.DataDependent, "export", "control flow"),
    (forward_form.StepOnHost, "compile", "int(ctx.step)"),
    (emitted_signals.UnaskedSignals, "signals", "none is wanted"),
    (emitted_signals.AllSignals, "signals", "only"),
    (emitted_signals.UndeclaredSignal, "signals", "coupling_force"),
    (emitted_signals.MisshapenSignal, "signals", "shape of the signal phase"),
    (emitted_signals.DetachedSignal, "signals", "autograd graph"),
    (emitted_signals.SilentSignal, "signals", "at least one"),
    (emitted_signals.UnmaskedSignal, "signals", "above the diagonal"),
    (emitted_signals.SignalChangesOutput, "signals", "y when phase is wanted"),
    (positions_and_decoding.FalseRotary, "rotary", "rotary"),
    (documents.GoesOn, "documents", "goes on"),
    (documents.CountsOn, "documents", "output for documents"),
    (documents.SeesBack, "documents", "gradient of"),
    (documents.Remembers, "documents", "earlier calls"),
    (positions_and_decoding.LateDecoding, "decoding", "rotary"),
    (positions_and_decoding.ForgetfulDecoding, "decoding", "decoding"),
    (positions_and_decoding.NonCausalPrefill, "decoding", "prefill"),
    (positions_and_decoding.SharedCache, "decoding", "two batches in turn"),
    (positions_and_decoding.PaddingForgottenInCache, "decoding with padding", "padding"),
    (positions_and_decoding.NoDecode, "decoding", "decode of a module"),
    (positions_and_decoding.FirstLayerForgets, "decoding", "logits of a decoder of two layers"),
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
    (leaks.Experts, "causal: forward"),
    (leaks.Experts, "causal: gradient"),
    (leaks.NoisyTraining, "causal: forward"),
    (leaks.NoisyTraining, "causal: gradient"),
    (leaks.NoisyTraining, "causal: prefix"),
    (documents.Masks, "documents"),
    (leaks.NoPadding, "documents"),
    (leaks.NonCausal, "documents"),
    (randomness_and_state.TrainingNoise, "determinism"),
    (randomness_and_state.TrainingNoise, "causal: forward"),
    (emitted_signals.ConstantSignal, "signals"),
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
        function(Case(component(neutral_forms.Absent), "attention"))
    after = torch.random.get_rng_state(), torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
