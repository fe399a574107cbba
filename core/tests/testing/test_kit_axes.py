"""The kit over its axes: what is broken in a part of the space of configuration only is caught, whatever the seed."""

from __future__ import annotations

import pytest
from kit_specimens import axes, leaks, specimen

from lot.contracts import Dims
from lot.testing import KitFailure, checks, examine
from lot.testing.case import Case
from lot.testing.points import BATCHES, LENGTHS, PADDINGS, PARAMETERS, PLACES, STEPS, points

CHECKS = checks("attention")
SEEDS = (None, 0, 1)
"""A fresh seed, as users have it, and some that repeat."""

CAUGHT = [
    *(
        (cls, "axes: causal", told)
        for cls, told in [
            (axes.FirstLayer, "layer 0 of"),
            (axes.LastLayer, "layer "),
            (axes.OnlyLayer, "layer 0 of 1"),
            (axes.DeepModel, "layer "),
            (axes.OneHead, "1 head,"),
            (axes.EightHeads, "8 heads"),
            (axes.Length64, "T = 64,"),
            (axes.Length17, "T = 17,"),
            (axes.Multiple96, "T = "),
            (axes.Longer, "T = "),
            (axes.Length256, "T = 256,"),
            (axes.OneSequence, "B = 1,"),
            (axes.FiveSequences, "B = 5,"),
            (axes.SixteenSequences, "B = 16,"),
            (axes.AfterTheFirstStep, "step "),
            (axes.StepOne, "step 1,"),
            (axes.Late, "step 1000000"),
            (axes.LateTraining, "step 1000000"),
            (axes.WithPadding, " padding"),
            (axes.LateWithPadding, "step 1000000"),
            (axes.Rotary, "positions rotary"),
            (axes.WithDropout, "dropout 0.2"),
            (axes.Double, "float64"),
            (axes.FirstLayerTraining, "training mode"),
            (axes.FarParameters, "far parameters"),
            (axes.GradientAt64, "T = 64,"),
            (axes.NeighborOfEight, "B = 8,"),
            (axes.CountsTokens, "where the text ends"),
            (axes.LateState, "the same output"),
        ]
    ),
    (axes.LatePaddedState, "axes: padding", "step 1000000"),
    (axes.LongScale, "axes: prefix", "depends on the length"),
    (axes.PaddedScale, "axes: prefix", " padding"),
    (axes.UndeclaredByLength, "axes: prefix", "depends on the length"),
    (axes.NarrowWithOneHead, "axes: shapes", "1 head,"),
    (axes.SqueezedBatch, "axes: shapes", "B = 1,"),
    (axes.LateInfinity, "axes: shapes", "step 1000000"),
    (axes.RemembersTraining, "memory", "evaluation then finds them again"),
    (axes.RecognizesTraining, "memory", "seen in training"),
    (axes.ProductOfZeros, "acts", "none for a, b"),
    (axes.ShortRing, "decoding", "max_len"),
    (axes.ByLengthWithCache, "builds", "can_decode() is True"),
    (axes.ByLengthLeaking, "causal: forward", "bit-equal"),
    (axes.ByLengthLeaking, "axes: causal", "exactly 0"),
    (axes.UndeclaredSpiking, "finite differences", "not declared in `straight_through`"),
    (axes.DeclaredProduct, "ablation", "declared inert"),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("cls", "name", "told"), CAUGHT, ids=lambda value: getattr(value, "__name__", value))
def test_a_defect_in_a_part_of_the_space_is_caught_whatever_the_seed(cls, name, told, seed):
    setting = {} if seed is None else {"seed": seed}
    with pytest.raises(KitFailure) as failure:
        CHECKS[name](specimen(cls, "attention"), **setting)
    assert told in str(failure.value)


@pytest.mark.parametrize("seed", [1002, 1006, 1053])
def test_a_leak_of_the_next_token_is_caught_where_most_of_the_only_sequence_is_padding(seed):
    # With these seeds T = 64 stands at one padded sequence, where most places of a cut are beside padding.
    with pytest.raises(KitFailure, match="T = 64,"):
        CHECKS["axes: causal"](specimen(axes.GradientAt64, "attention"), seed=seed)


@pytest.mark.parametrize(
    "cls",
    [
        axes.Windowed,
        axes.Alibi,
        axes.Convolution,
        axes.Decay,
        axes.DropsWeights,
        axes.OpensFirst,
        axes.Spiking,
        axes.ByLength,
        leaks.Experts,
        leaks.NoisyTraining,
        leaks.NoPadding,
    ],
)
def test_an_honest_design_raises_no_alarm(cls):
    result = told(cls)
    assert {check.name: check.why for check in result.failed} == {}


def told(cls):
    """What the kit finds without the checks that take most of its time, and that of a signal."""
    return examine(specimen(cls, "attention", emits="attention"), skip={"compile", "export", "signals"})


@pytest.mark.parametrize(
    ("cls", "line"),
    [
        (axes.TrainingOnly, "gate acts in training mode only"),
        (axes.EvaluationOnly, "gate acts in evaluation mode only"),
    ],
)
def test_what_acts_in_one_mode_only_is_told(cls, line):
    result = told(cls)
    assert line in result.told
    assert any(other.startswith("training and evaluation give outputs that differ by") for other in result.told)


def test_a_small_effect_is_told_with_its_size_and_does_not_fail():
    result = told(axes.SmallEffect)
    assert result.passed
    assert 0 < dict(result.effects)["gate"] < 1e-4
    assert [line for line in result.told if line.startswith("resampling gate moves the output by ")]


def test_buffers_that_training_changes_are_told():
    result = told(axes.RemembersInBuffer)
    assert result.trained_buffers == ("mean",)
    assert any(line.startswith("training changes the buffers mean, which move evaluation by") for line in result.told)


def test_a_declared_dependence_on_the_length_skips_the_prefix_and_nothing_else():
    result = told(axes.ByLength)
    assert result.passed
    assert result.depends_on_length
    skipped = {check.name: check.why for check in result.skipped}
    assert skipped["causal: prefix"].startswith(
        "it declares depends_on_length: 65 of 130 tokens alone give something else"
    )
    assert skipped["axes: prefix"] == "it declares depends_on_length"
    assert "axes: causal" not in skipped


def test_a_declared_straight_through_gradient_is_told_and_passes():
    result = told(axes.Spiking)
    assert result.passed
    assert result.straight_through == "a spike by a sigmoid"
    assert any(line.startswith("straight-through gradients (a spike by a sigmoid): other than") for line in result.told)


@pytest.mark.parametrize("seed", range(5))
def test_points_cover_every_value_and_every_pair(seed):
    found = points(Case(specimen(leaks.Honest, "attention"), "attention", seed=seed))
    assert {p.T for p in found} >= {*LENGTHS, 255, 256, 257, 264}
    assert {p.B for p in found} == set(BATCHES)
    place = {(0, 1): "only"}
    rows = [
        (
            place.get((p.dims.layer, p.dims.layers))
            or ("first" if p.dims.layer == 0 else "last" if p.dims.layer == p.dims.layers - 1 else "middle"),
            p.step,
            p.padding,
            p.parameters,
            p.dims.heads,
            p.dims.positions,
            p.dims.dropout,
        )
        for p in found
    ]
    values = (PLACES, STEPS, PADDINGS, PARAMETERS, (1, 2, 4, 8), ("learned", "rotary", "none"), (0.0, 0.2))
    for a, first in enumerate(values):
        for b, second in enumerate(values):
            if a < b:
                assert {(row[a], row[b]) for row in rows} >= {(x, y) for x in first for y in second}


def test_points_differ_from_seed_to_seed_and_repeat_with_it():
    made = specimen(leaks.Honest, "attention")
    one, same, other = (points(Case(made, "attention", seed=seed)) for seed in (1, 1, 2))
    assert [str(p) for p in one] == [str(p) for p in same]
    assert [str(p) for p in one] != [str(p) for p in other]
    assert Case(made, "attention").seed != Case(made, "attention").seed


def test_lengths_stay_within_the_model_of_the_case():
    short = Case(
        specimen(leaks.Honest, "attention"), "attention", dims=Dims(width=24, heads=2, max_len=20, vocab_size=5)
    )
    found = points(short)
    assert max(p.T for p in found) == 20
    assert {p.dims.heads for p in found} == {1, 2}
