"""Whether arms may be compared: matched parameters, equal everything else, and what is stamped UNFAIR."""

from __future__ import annotations

from typing import Any

import pytest
from study_support import RUN, small

from lot.errors import BadInput
from lot.training.compose import compose
from lot_cli.study.design.check_fairness import Findings, choose_metrics, make_fair, unused_rules
from lot_cli.study.design.fairness import Budget, Initial
from lot_cli.study.design.plan import Arm, find_reference, plan_arms

TIED = {"model": {"tie": True}}


def check(other: dict[str, Any], **changes: Any) -> tuple[Arm, Findings]:
    """The arm `other` beside vanilla, made fair."""
    study = small(arms={"vanilla": None, "other": other}, claims=None, **changes)
    arms = plan_arms(study)
    fair, found = make_fair(study, arms, find_reference(study, arms))
    return fair[1], found


def test_arms_that_differ_in_mechanism_only_are_fair() -> None:
    arm, found = check({"losses": {"cross_entropy": {"label_smoothing": 0.2}}})
    assert found.reasons == found.asked == found.warnings == []
    assert found.initial["other"] == Initial(shared=len(_weights(arm)), of=len(_weights(arm)), rest={})
    assert found.budget == Budget(steps=6, tokens_per_step=32, tokens=192, seeds=3, tuning_runs=2)


def test_the_budget_counts_micro_steps_and_tuning_seeds() -> None:
    base = {**RUN, "train": {**RUN["train"], "accumulate": 2}}
    _, found = check({}, base=base, tune_seeds=3)
    assert found.budget == Budget(steps=6, tokens_per_step=64, tokens=384, seeds=3, tuning_runs=6)


def test_other_initial_values_under_one_name_are_told() -> None:
    """What adds to the residual stream starts scaled by the depth."""
    deeper = {"model": {"layers": 2, "width": 8}}
    base = {**RUN, "model": {**RUN["model"], "width": 8}}
    _, found = check(deeper, base=base, differs={"parameters": "x", "model.layers": "x"})
    rest = found.initial["other"].rest
    assert rest["blocks.0.mlp.down.weight"] == "other initial values"
    assert rest["blocks.1.mlp.down.weight"] == "only in this arm"
    assert "blocks.0.mlp.up.weight" not in rest


def test_parameters_are_matched_by_the_width_of_the_mlp() -> None:
    arm, found = check(TIED, differs={"model.tie": "saves a table"})
    before, after = found.matched
    assert after.parameters_before < 0.99 * before.parameters
    assert abs(after.difference) <= 0.01
    assert after.hidden > after.hidden_before == before.hidden
    composed = compose(arm.config(0))
    assert composed.parameters == after.parameters
    assert composed.model.layers[0].mlp.up.out_features == after.hidden
    assert found.reasons == []
    assert [(asked.rule, asked.arm, asked.why) for asked in found.asked] == [("model.tie", "other", "saves a table")]


def test_weights_that_are_not_shared_are_listed_with_the_reason() -> None:
    _, found = check(TIED, differs={"model.tie": "saves a table"})
    rest = found.initial["other"].rest
    assert rest["head.weight"] == "only in the reference"
    assert rest["blocks.0.mlp.up.bias"].startswith("shape [")
    assert "embedding.weight" not in rest
    assert found.initial["other"].shared == found.initial["other"].of - 3  # up.weight, up.bias, down.weight


def test_within_the_tolerance_an_arm_stays_as_it_is() -> None:
    arm, found = check(TIED, tolerance=0.5, differs={"model.tie": "x"})
    assert found.matched[1].hidden == found.matched[1].hidden_before
    assert "mlp_ratio" not in arm.tree["model"]


def test_arms_that_cannot_be_matched_are_refused() -> None:
    with pytest.raises(
        BadInput, match=r"arms\.other: cannot be matched: the reference has [\d,]+ parameters"
    ) as raised:
        check({"model": {"layers": 4}})
    assert "\n" not in str(raised.value)
    with pytest.raises(BadInput, match="cannot be matched"):
        check(TIED, tolerance=1e-6)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"train": {"steps": 12}}, "train.steps is 12, in the reference 6"),
        ({"train": {"batch_size": 8}}, "train.batch_size is 8, in the reference 4"),
        ({"train": {"decay": "linear"}}, "train.decay is linear, in the reference cosine"),
        ({"optim": {"lr": 0.5}}, "optim.lr is 0.5, in the reference 0.001"),
        ({"task": {"score": "all"}}, "its data are not those of the reference"),
        ({"model": {"dropout": 0.2}}, "model.dropout is 0.2, in the reference 0.1"),
    ],
)
def test_what_differs_unasked_is_unfair_and_what_is_asked_for_is_told(other: dict[str, Any], reason: str) -> None:
    _, unasked = check(other)
    assert f"other: {reason}" in unasked.reasons
    assert unasked.unfair == {"other"}
    ((section, table),) = other.items()
    ((key, _),) = table.items()
    _, asked = check(other, differs={section if section == "task" else f"{section}.{key}": "on purpose"})
    assert (asked.reasons, asked.unfair) == ([], set())
    assert reason in [line.difference for line in asked.asked]


def test_unmatched_parameters_are_unfair_unless_asked_for() -> None:
    _, found = check(TIED, match="none", differs={"model.tie": "x"})
    assert [reason.partition(" parameters")[2] for reason in found.reasons] == [
        f", the reference has {found.matched[0].parameters:,}"
    ]
    _, found = check(TIED, differs={"model.tie": "x", "parameters": "y"})
    assert found.reasons == []
    assert found.matched[1].hidden == found.matched[1].hidden_before


def test_another_width_of_the_mlp_is_told_where_nothing_matches_it() -> None:
    _, found = check({"model": {"mlp_ratio": 3.0}}, match="none")
    assert "other: model.mlp_ratio is 3.0, in the reference 4.0" in found.reasons


def test_a_leaking_arm_is_unfair_even_when_asked_for() -> None:
    leaking = {"attn": {"name": "vanilla", "causal": False}, "allow_leak": True}
    _, found = check(leaking, differs={"allow_leak": "published so"})
    assert found.leaks == ["other"]
    assert found.reasons == ["other sees what it is asked to predict (allow_leak)"]
    assert found.unfair == {"other"}


def test_a_difference_that_is_asked_for_but_not_there_is_told() -> None:
    study = small(differs={"optim.lr": "x"})
    assert unused_rules(study, check({}, differs={"optim.lr": "x"})[1]) == ["differs.optim.lr: nothing differs there"]


def test_tuning_that_resizes_an_arm_or_opens_its_eyes_is_refused() -> None:
    """Both are checked of the arm as it is; tuning would then choose what was never checked."""
    pytest.importorskip("lot_wave")
    base = {**RUN, "embed": {"name": "wave_packet"}}
    with pytest.raises(
        BadInput, match=r"tune: embed\.waves = 400 gives vanilla [\d,]+ parameters in place of [\d,]+; make"
    ):
        check({}, base=base, tune={"embed.waves": [48, 400]})
    check({}, base=base, tune={"embed.waves": [48, 400]}, differs={"parameters": "they are what is tuned"})
    with pytest.raises(BadInput, match=r"tune: with attn\.causal = False vanilla would see what it is to predict"):
        check({}, base={**RUN, "allow_leak": True}, tune={"attn.causal": [True, False]})
    leaks = {"attn": {"name": "vanilla", "causal": False}}
    _, found = check({}, base={**RUN, **leaks, "allow_leak": True}, tune={"attn.causal": [True, False]})
    assert found.leaks == ["vanilla", "other"]


def test_a_loose_tolerance_is_told_where_it_is_used() -> None:
    _, found = check(TIED, tolerance=0.5, differs={"model.tie": "x"})
    assert found.warnings == ["the file lets parameters differ by 50% and still count as equal"]
    assert check({}, tolerance=0.5)[1].warnings == []


def test_metrics_come_with_their_direction() -> None:
    _, found = check({})
    assert choose_metrics(small(metrics=None, claims=None, equivalence=None), found) == {
        "exact_match": True,
        "loss": False,
    }
    assert list(choose_metrics(small(metrics=["loss", "token_accuracy"]), found)) == ["loss", "token_accuracy"]


def test_changing_the_attention_never_changes_the_data() -> None:
    pytest.importorskip("lot_lattice")
    for name in ("lattice", "hybrid"):
        _, found = check({"attn": {"name": name}, "model": {"width": 16}}, differs={"parameters": "not the point"})
        assert not any("data" in reason for reason in found.reasons)


def _weights(arm: Arm) -> dict[str, Any]:
    return dict(compose(arm.config(0)).model.named_parameters())
