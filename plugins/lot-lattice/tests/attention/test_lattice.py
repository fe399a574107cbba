"""Lattice attention against its reference, and what it promises beyond."""

from __future__ import annotations

import logging
import math

import pytest
import torch

from lot import BadInput, Context
from lot.random import initialize
from lot_lattice.attention.lattice import LatticeAttention
from lot_lattice.attention.reference import lattice_attention_reference
from lot_lattice.config import LatticeConfig
from lot_lattice.kernels.dispatch import say_once
from lot_lattice.ops.angles import random_phases

FORMS = [
    {},
    {"score": "neighbors", "substeps": 2},
    {"substeps": 3},
    {"score": "head"},
    {"dynamics": "relax", "steps": 3, "substeps": 2},
    {"lattice_shape": (2, 2), "boundary": "periodic", "neighborhood": "von_neumann"},
    {"lattice_shape": (1, 4), "radius": 2, "causal": False},
    {"lattice_shape": (4,), "boundary": "periodic", "score": "neighbors"},
]


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_equals_reference_in_values_and_gradients(make, options):
    module = make.lattice(**options)
    x = make.normal(2, 5, 16).requires_grad_()
    module.want = frozenset({"phase"})
    y, signals = module(x, Context())
    expected, theta = lattice_attention_reference(module, x)
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(signals["phase"], theta, rtol=1e-9, atol=1e-11)

    module.want = frozenset()  # phases and features may then be one step
    unwatched, _ = module(x, Context())
    torch.testing.assert_close(unwatched, expected, rtol=1e-9, atol=1e-11)

    cotangent = make.normal(*y.shape)
    inputs = [x, *module.parameters()]
    want = torch.autograd.grad((expected * cotangent).sum(), inputs, allow_unused=True)
    for output in (y, unwatched):
        got = torch.autograd.grad((output * cotangent).sum(), inputs, allow_unused=True)
        for left, right, tensor in zip(got, want, inputs, strict=True):
            zero = torch.zeros_like(tensor)
            torch.testing.assert_close(
                zero if left is None else left, zero if right is None else right, rtol=1e-8, atol=1e-10
            )


@pytest.mark.parametrize("module_type", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("padded", [False, True])
def test_phases_nobody_asks_for_leave_the_same_output(make, module_type, padded):
    module = make.lattice().to(module_type)
    x = make.normal(3, 9, 16).to(module_type)
    padding = None
    if padded:
        padding = torch.zeros(3, 9, dtype=torch.bool)
        padding[1, 6:] = True
    y, _ = module(x, Context(padding=padding))
    module.want = frozenset({"phase"})
    watched, _ = module(x, Context(padding=padding))
    assert torch.equal(y, watched)


def test_eight_heads_lie_on_a_lattice_of_two_by_four(make):
    assert LatticeAttention(LatticeConfig(), make.dims(heads=8)).shape == (2, 4)


def test_a_lattice_may_have_three_dimensions(make):
    module = make.lattice(make.dims(heads=8), lattice_shape=(2, 2, 2), neighborhood="von_neumann")
    assert (module.neighbor.sum(1) == 3).all()


def test_published_score_has_no_effect(make):
    """softmax(s + c) = softmax(s): one number for all keys of a query changes nothing."""
    module = make.lattice(score="head")
    x = make.normal(2, 9, 16)
    y, _ = module(x, Context())
    with module.ablate(make.generator):
        scrambled, _ = module(x, Context())
    assert (scrambled - y).abs().max() < 1e-14


def test_the_published_score_is_warned_of_once(make, caplog):
    say_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="lot_lattice"):
        make.lattice()
        assert caplog.messages == []
        for _ in range(2):
            make.lattice(score="head")
    assert len(caplog.messages) == 1
    assert "score=head, as published, has no effect" in caplog.messages[0]


@pytest.mark.parametrize("name", ["lattice", "phase"])
def test_a_value_of_lot_kernels_that_means_nothing_is_refused_before_anything_runs(make, monkeypatch, name):
    monkeypatch.setenv("LOT_KERNELS", "fast")
    with pytest.raises(BadInput, match="LOT_KERNELS: expected auto, off or require, got fast"):
        getattr(make, name)()


@pytest.mark.parametrize("options", [{}, {"score": "neighbors"}, {"dynamics": "relax"}], ids=str)
def test_corrected_score_acts(make, options):
    module = LatticeAttention(LatticeConfig(**options), make.dims()).double().eval()
    initialize(module, 0)
    x = make.normal(2, 9, 16)
    y, _ = module(x, Context())
    with module.ablate(make.generator):
        scrambled, _ = module(x, Context())
    assert (scrambled - y).abs().max() > 1e-4
    torch.testing.assert_close(module(x, Context())[0], y)


@pytest.mark.parametrize(
    ("options", "heads"),
    [
        ({}, 4),
        ({"score": "head"}, 4),
        ({}, 1),
        ({"dynamics": "relax"}, 1),
        ({"dynamics": "relax"}, 4),
        ({"score": "neighbors"}, 4),
    ],
    ids=str,
)
def test_exactly_the_parameters_called_inert_do_not_act(make, options, heads):
    module = make.lattice(make.dims(heads=heads), **options)
    x = make.normal(2, 9, 16)
    before, _ = module(x, Context())
    silent = set()
    for name, parameter in module.named_parameters():
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.copy_(0.5 * make.normal(*parameter.shape))
            moved = (module(x, Context())[0] - before).abs().max()
            parameter.copy_(kept)
        if moved < 1e-9:
            silent.add(name)
    assert silent == module.inert


@pytest.mark.parametrize("options", [form for form in FORMS if form.get("causal", True)], ids=str)
@pytest.mark.parametrize("train", [True, False])
def test_nothing_comes_from_later_tokens(make, options, train):
    module = make.lattice(**options).train(train)
    x = make.normal(2, 9, 16).requires_grad_()
    y, _ = module(x, Context())
    for t in (1, 5, 8):
        (gradient,) = torch.autograd.grad(y[:, :t].sum(), x, retain_graph=True)
        assert (gradient[:, t:] == 0).all()
        changed = x.detach().clone()
        changed[:, t:] = 1000 * make.normal(2, 9 - t, 16)
        assert torch.equal(module(changed, Context())[0][:, :t], y[:, :t])


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("options", [form for form in FORMS if form.get("causal", True)], ids=str)
def test_decoding_equals_the_forward_pass(make, options, positions):
    module = make.lattice(make.dims(positions=positions), **options)
    x = make.normal(2, 9, 16)
    decoded, cache = make.decoded(module, x)
    torch.testing.assert_close(decoded, module(x, Context())[0])
    assert cache.theta.shape == (2, 4)  # a phase per head, beside keys and values


def test_a_non_causal_module_does_not_decode(make):
    module = make.lattice(causal=False)
    assert not module.can_decode()
    with pytest.raises(BadInput, match="non-causal"):
        module.init_cache(1, "cpu", torch.float64)


def test_what_padding_holds_reaches_no_token(make):
    module = make.lattice()
    x = make.normal(2, 8, 16)
    padding = torch.zeros(2, 8, dtype=torch.bool)
    padding[0, :3] = padding[1, 6:] = True
    y, _ = module(x, Context(padding=padding))
    other = torch.where(padding[..., None], make.normal(2, 8, 16), x)
    torch.testing.assert_close(module(other, Context(padding=padding))[0][~padding], y[~padding], rtol=0, atol=0)


def test_signals_are_those_asked_for(make):
    module = make.lattice()
    x = make.normal(2, 6, 16)
    assert module(x, Context())[1] == {}
    module.want = frozenset({"phase", "coupling_force", "natural_frequency", "neighbor_weights", "attention", "hidden"})
    _, signals = module(x, Context())
    shapes = {name: tuple(value.shape) for name, value in signals.items()}
    assert shapes == {
        "phase": (2, 4, 6),
        "coupling_force": (2, 4, 6),
        "natural_frequency": (4,),
        "neighbor_weights": (4, 4),
        "attention": (2, 4, 6, 6),
    }
    torch.testing.assert_close(signals["attention"].sum(-1), torch.ones(2, 4, 6, dtype=torch.float64))
    theta, W = signals["phase"], signals["neighbor_weights"]
    force = module.coupling[:, None] * (W[:, :, None] * (theta[:, None] - theta[:, :, None]).sin()).sum(2)
    torch.testing.assert_close(signals["coupling_force"], force)


def test_a_tiny_lattice_constant_leaves_the_mean_of_the_nearest_neighbors(make):
    module = make.lattice(score="neighbors").float()
    with torch.no_grad():
        module.log_spacing.fill_(math.log(1e-3))
    assert (module.neighbor_weights() == 0).all()
    share = module.neighbor_shares()
    assert share[0].tolist() == [0.0, 0.5, 0.5, 0.0]  # on a lattice of 2 x 2: left and below, not across
    y, _ = module(make.normal(2, 5, 16, dtype=torch.float32), Context())
    assert y.isfinite().all()


def test_the_attention_signal_is_what_the_output_is_made_of(make):
    module = make.lattice()
    module.want = frozenset({"attention"})
    x = make.normal(1, 7, 16)
    y, signals = module(x, Context())
    _, _, v = module.heads.split(x)
    torch.testing.assert_close(module.heads.merge(signals["attention"] @ v), y)


def test_phases_are_float32_under_autocast(make):
    module = make.lattice().float()
    module.want = frozenset({"phase", "attention"})
    x = make.normal(2, 9, 16, dtype=torch.float32)
    _, expected = module(x, Context())
    with torch.autocast("cpu", torch.bfloat16):
        y, signals = module(x, Context())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(signals["phase"], expected["phase"], rtol=0, atol=0)
    torch.testing.assert_close(signals["attention"], expected["attention"], rtol=0, atol=2e-2)


@pytest.mark.parametrize("options", [{}, {"dynamics": "relax"}], ids=str)
def test_compiled_equals_eager(make, options):
    module = make.lattice(**options).float()
    module.want = frozenset({"phase"})
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    x = make.normal(2, 9, 16, dtype=torch.float32).requires_grad_()
    y, signals = module(x, Context())
    again, compiled_signals = compiled(x, Context())
    torch.testing.assert_close(again, y)
    torch.testing.assert_close(compiled_signals["phase"], signals["phase"])
    torch.testing.assert_close(torch.autograd.grad(again.sum(), x), torch.autograd.grad(y.sum(), x))


def test_exported_program_equals_eager(make):
    module = make.lattice().float()
    x = make.normal(2, 9, 16, dtype=torch.float32)

    class Alone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, Context())[0]

    program = torch.export.export(Alone(), (x,))
    assert sum("lattice_scan" in str(node.target) for node in program.graph.nodes) == 1
    torch.testing.assert_close(program.module()(x), module(x, Context())[0])


def test_initial_values_depend_on_the_seed_and_the_configuration_alone(make):
    def built(seed: int) -> LatticeAttention:
        module = LatticeAttention(
            LatticeConfig(coupling=0.7, lattice_constant=2.0, init_freq_range=(3.0, 4.0), alpha=0.5), make.dims()
        )
        initialize(module, seed)
        return module

    one, same, other = built(1), built(1), built(2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.frequency, other.frequency)
    assert ((one.frequency >= 3) & (one.frequency <= 4)).all()
    assert (one.coupling == 0.7).all()
    assert (one.alpha == 0.5).all()
    torch.testing.assert_close(one.neighbor_weights()[0, 1].item(), math.exp(-1 / 2))


def test_initial_values_are_drawn_as_stated(make):
    """With many heads, so that a distribution shows."""
    module = LatticeAttention(LatticeConfig(), make.dims(width=512, heads=256))
    initialize(module, 0)
    for values, low, high in ((module.start_phase, -math.pi, math.pi), (module.frequency, 0.25, 2.0)):
        quantiles = ((values.detach() - low) / (high - low)).quantile(torch.linspace(0, 1, 5))
        assert quantiles.tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.1)
    assert module.drive.weight.detach().std().item() == pytest.approx(0.02, rel=0.02)


def test_randomized_phases_lie_anywhere_on_the_circle(make):
    theta = random_phases(torch.zeros(2000), make.generator)
    quantiles = (theta / math.pi).quantile(torch.linspace(0, 1, 5))
    assert quantiles.tolist() == pytest.approx([-1, -0.5, 0, 0.5, 1], abs=0.1)


def test_the_published_score_has_to_be_asked_for():
    config = LatticeConfig()
    assert (config.score, config.causal) == ("phase", None)
    assert config.coupling > 0  # neighbors attract
    assert config.alpha > 0  # and tokens in phase attend to each other


def test_memory_of_the_backward_pass_grows_linearly_with_length(make):
    """What autograd keeps, counted in elements, at T and 2T."""
    module = make.lattice(make.dims(max_len=512)).float()

    def kept(T: int) -> int:
        sizes = []
        x = make.normal(1, T, 16, dtype=torch.float32).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            module(x, Context())
        return sum(sizes)

    assert kept(512) < 2.05 * kept(256)


@pytest.mark.parametrize(
    ("options", "heads", "told"),
    [
        (
            {"lattice_shape": (2, 3)},
            4,
            r"lattice_shape: expected sizes whose product is the number of heads, 4, got \[2, 3\]",
        ),
        ({"score": "neighbors"}, 1, "score: expected phase or head for a single head"),
        ({}, 5, "model.heads: expected a divisor of the width 16, got 5"),
        ({}, 257, "model.heads: expected at most 256, since each head is an oscillator, got 257"),
    ],
)
def test_impossible_configurations_are_refused(make, options, heads, told):
    with pytest.raises(BadInput, match=told):
        LatticeAttention(LatticeConfig(**options), make.dims(heads=heads))
