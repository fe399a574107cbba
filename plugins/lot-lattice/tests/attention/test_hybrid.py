"""Hybrid attention: the blend of two attentions that are tested by themselves."""

from __future__ import annotations

import pytest
import torch

from lot import BadInput, Context
from lot_lattice.attention.hybrid import HybridAttention
from lot_lattice.config import HybridConfig


@pytest.mark.parametrize("inner", [{"name": "vanilla"}, {"name": "lattice", "score": "neighbors"}], ids=str)
def test_output_is_the_blend_of_both_sides(make, inner):
    module = make.hybrid(inner=inner, blend=0.3)
    x = make.normal(2, 6, 16)
    y, _ = module(x, Context())
    inner_y, phase_y = module.inner(x, Context())[0], module.phase(x, Context())[0]
    torch.testing.assert_close(y, 0.7 * inner_y + 0.3 * phase_y)


def test_it_is_causal_only_if_both_sides_are(make):
    assert make.hybrid().causal
    assert not make.hybrid(phase={"causal": False}).causal
    assert not make.hybrid(inner={"name": "vanilla", "causal": False}).causal
    assert not make.hybrid(inner={"name": "vanilla", "causal": False}).can_decode()


def test_what_is_wanted_is_asked_of_both_sides(make):
    module = make.hybrid()
    module.want = frozenset({"phase", "attention"})
    assert module.want == frozenset({"phase", "attention"})
    _, signals = module(make.normal(2, 6, 16), Context())
    assert {name: tuple(value.shape) for name, value in signals.items()} == {
        "phase": (2, 4, 6, 3),
        "attention": (2, 4, 6, 6),
    }


def test_phases_are_those_of_the_phase_side(make):
    module = make.hybrid(inner={"name": "lattice"})
    module.want = frozenset({"phase", "neighbor_weights"})
    _, signals = module(make.normal(2, 6, 16), Context())
    assert {name: tuple(value.shape) for name, value in signals.items()} == {"phase": (2, 4, 6, 3)}


def test_decoding_equals_the_forward_pass(make):
    module = make.hybrid()
    x = make.normal(2, 9, 16)
    decoded, _ = make.decoded(module, x)
    torch.testing.assert_close(decoded, module(x, Context())[0])


@pytest.mark.parametrize(("blend", "inner"), [(0.0, "lattice"), (1.0, "vanilla")])
def test_ablation_randomizes_both_sides(make, blend, inner):
    """Each seen alone, the other side having no share."""
    module = make.hybrid(blend=blend, inner={"name": inner})
    x = make.normal(2, 6, 16)
    y, _ = module(x, Context())
    with module.ablate(make.generator):
        assert (module(x, Context())[0] - y).abs().max() > 1e-3
    assert torch.equal(module(x, Context())[0], y)


@pytest.mark.parametrize(("blend", "silent"), [(0.0, "phase."), (1.0, "inner.")])
def test_a_side_without_a_share_is_inert(make, blend, silent):
    module = make.hybrid(blend=blend)
    assert module.inert == {name for name, _ in module.named_parameters() if name.startswith(silent)}
    assert make.hybrid(blend=0.5).inert == frozenset()


def test_inert_parameters_of_the_inner_attention_are_named(make):
    module = make.hybrid(inner={"name": "lattice", "score": "head"})
    assert "inner.alpha" in module.inert
    assert module.inert <= {name for name, _ in module.named_parameters()}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"inner": {"name": "vanila"}}, "vanilla"),
        ({"inner": {"name": 3}}, "inner.name: expected the name of an attention, got 3"),
        ({"inner": {"name": "lattice", "couplng": 1.0}}, "inner.couplng: unknown option; did you mean 'coupling'"),
        ({"inner": {"name": "lattice", "lattice_shape": [3, 3]}}, "inner.lattice_shape: expected sizes"),
        ({"phase": {"oscillators": 0}}, "phase.oscillators: expected a number >= 1"),
    ],
)
def test_impossible_configurations_are_refused_with_their_path(make, options, told):
    with pytest.raises(BadInput, match=told):
        HybridAttention(HybridConfig(**options), make.dims())
