"""The decoder: what its options mean, and that initial values depend on nothing but seed and name."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from toy import toy_config

from lot.builtin.config import VanillaConfig
from lot.builtin.vanilla import Vanilla
from lot.contracts import Context, Dims
from lot.errors import BadInput
from lot.model.build import build_model


def ids(batch: int = 3, length: int = 6) -> torch.Tensor:
    return torch.randint(7, (batch, length))


def test_vanilla_equals_attention_written_out() -> None:
    torch.manual_seed(0)
    dims = Dims(width=12, heads=3, max_len=9, vocab_size=5)
    attention = Vanilla(VanillaConfig(), dims).double()
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    q, k, v = attention.heads.qkv(x).view(2, 7, 3, 3, 4).permute(2, 0, 3, 1, 4)
    expected = torch.zeros(2, 7, 12, dtype=torch.float64)
    for b in range(2):
        for h in range(3):
            for t in range(7):
                weights = (k[b, h, : t + 1] @ q[b, h, t] / 2.0).softmax(0)
                expected[b, t, 4 * h : 4 * h + 4] = weights @ v[b, h, : t + 1]
    torch.testing.assert_close(attention(x, Context())[0], attention.heads.out(expected))


def test_initial_values_are_keyed_by_name() -> None:
    """A wider vocabulary, another depth or an option more changes no value of a parameter that keeps name and shape."""
    base = build_model(toy_config()).state_dict()
    for other in (toy_config("model.layers=3"), toy_config("model.mlp_ratio=2.0"), toy_config("model.tie=true")):
        changed = build_model(other).state_dict()
        shared = [name for name in base if name in changed and changed[name].shape == base[name].shape]
        assert len(shared) > 5
        # The scale of residual outputs depends on the depth; their direction does not.
        for name in shared:
            a, b = base[name], changed[name]
            scale = 1.0 if not a.any() else float(b.norm() / a.norm())
            torch.testing.assert_close(a * scale, b)
    again, seeded = build_model(toy_config()).state_dict(), build_model(toy_config("seed=1")).state_dict()
    assert all(torch.equal(base[name], again[name]) for name in base)
    assert not torch.equal(base["head.weight"], seeded["head.weight"])


def test_a_model_starts_and_computes_as_gpt2_does() -> None:
    model = build_model(toy_config("model.width=64", "model.layers=8"))
    model.set_want(frozenset({"hidden"}))
    block = model.layers[0]
    assert float(block.mlp.up.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    for leaving in (block.mlp.down, block.attention.heads.out):  # what adds to the residual stream
        assert float(leaving.weight.detach().std()) == pytest.approx(0.02 / 4, rel=0.05)
    with torch.no_grad():  # as small as they start, all forms of GELU are one
        block.mlp.up.weight.mul_(20)
        block.mlp.down.weight.mul_(200)
    tokens = ids()
    hidden = model(tokens).signals["hidden"]
    torch.testing.assert_close(hidden[0], model.embedding.weight[tokens] + model.positions.weight)
    x = hidden[0] + block.attention(block.norm_attention(hidden[0]), Context())[0]
    up = block.mlp.up(block.norm_mlp(x))
    gelu = 0.5 * up * (1 + torch.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
    torch.testing.assert_close(hidden[1], x + block.mlp.down(gelu))
    torch.testing.assert_close(model(tokens).logits, model.head(model.norm(hidden[-1])))


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build_model(toy_config())
    assert torch.equal(torch.get_rng_state(), before)


def test_recompute_changes_no_gradient() -> None:
    gradients = []
    for recompute in ("false", "true"):
        model = build_model(toy_config(f"model.recompute={recompute}", "model.dropout=0.3")).train()
        torch.manual_seed(1)
        model(torch.arange(6)[None]).logits.square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_a_tied_head_is_the_embedding() -> None:
    model = build_model(toy_config("model.tie=true"))
    assert model.head is None
    hidden = {}
    model.norm.register_forward_hook(lambda module, inputs, output: hidden.update(value=output))
    logits = model(ids()).logits
    torch.testing.assert_close(logits, hidden["value"] @ model.embedding.weight.T)


@pytest.mark.parametrize("positions", ["learned", "rotary", "none"])
def test_decoding_equals_the_full_pass(positions: str) -> None:
    model = build_model(toy_config(f"model.positions={positions}")).double().eval()
    tokens = ids()
    full = model(tokens).logits
    caches = model.init_cache(3, "cpu", torch.float64)
    first, caches = model.extend(tokens[:, :2], Context(), caches)
    rest = []
    for t in range(2, 6):
        logits, caches = model.extend(tokens[:, t : t + 1], Context(start=t), caches)
        rest.append(logits)
    torch.testing.assert_close(torch.cat([first, *rest], 1), full)


def test_rotary_scores_depend_on_the_distance_only() -> None:
    model = build_model(toy_config("model.positions=rotary", "model.max_len=64")).double()
    rotary = model.attentions[0].heads.rotary  # type: ignore[union-attr]
    q, k = torch.randn(2, 1, 8, dtype=torch.float64)
    rotary.double()
    scores = [float((rotary(q, start) * rotary(k, start + 5)).sum()) for start in (0, 3, 40)]  # type: ignore[operator]
    assert scores == pytest.approx([scores[0]] * 3, abs=1e-6)


def test_signals_are_given_when_wanted_and_only_then() -> None:
    model = build_model(toy_config())
    assert model(ids()).signals == {}
    model.set_want(frozenset({"hidden", "attention"}))
    signals = model(ids()).signals
    assert signals["hidden"].shape == (3, 3, 6, 16)
    assert sorted(signals["attention"]) == [0, 1]
    torch.testing.assert_close(signals["attention"][1].sum(-1), torch.ones(3, 2, 6))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.heads=3"], "model.heads: expected a divisor of the width 16, got 3"),
        (["model.max_len=3"], "model.max_len: expected at least the task's 6 tokens, got 3"),
        (["attn.causal=false"], "allow_leak=true"),
        (["model.width=18", "model.heads=6", "model.positions=rotary"], "even head width"),
        (["model.width=1048576", "model.heads=1"], "memory"),
    ],
)
def test_what_does_not_fit_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build_model(toy_config(*overrides))


def test_a_leak_is_allowed_when_asked_for() -> None:
    from lot.training.compose import compose

    assert compose(toy_config("attn.causal=false", "allow_leak=true")).leak
    assert not compose(toy_config()).leak


def test_norms_and_biases_do_not_decay() -> None:
    from lot.builtin.optimizers import parameter_groups

    model = build_model(toy_config())
    decaying, rest = parameter_groups(list(model.parameters()), 0.1)
    assert {p.dim() for p in decaying["params"]} == {2}
    assert {p.dim() for p in rest["params"]} == {1}
    assert (decaying["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert sum(len(g["params"]) for g in (decaying, rest)) == len(list(model.parameters()))


def test_the_configuration_reaches_the_optimizers() -> None:
    adamw = {"lr": 0.3, "betas": (0.7, 0.8), "eps": 0.01, "weight_decay": 0.2}
    muon = {"matrix_lr": 0.4, "momentum": 0.6, "nesterov": False}
    for name, options in (("adamw", adamw), ("muon", {**adamw, **muon})):
        config = toy_config(optim={"name": name, **options})
        optimizer = config.optim.component.create(config.optim.options, build_model(config))
        *hidden, decaying, rest = optimizer.param_groups
        for group in (decaying, rest):
            assert (group["lr"], group["betas"], group["eps"]) == (0.3, (0.7, 0.8), 0.01)
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.2, 0.0][-len(hidden) - 2 :]
        for group in hidden:
            assert (group["lr"], group["momentum"], group["nesterov"]) == (0.4, 0.6, False)


def test_muon_takes_the_hidden_matrices() -> None:
    config = toy_config(optim={"name": "muon"})
    model = build_model(config)
    optimizer = config.optim.component.create(config.optim.options, model)
    muon, adamw = optimizer.parts
    hidden = {id(p) for name, p in model.named_parameters() if name.startswith("blocks.") and p.dim() == 2}
    assert {id(p) for group in muon.param_groups for p in group["params"]} == hidden
    assert isinstance(adamw, torch.optim.AdamW)
    linears = [m for block in model.blocks for m in block.modules() if isinstance(m, nn.Linear)]
    assert hidden == {id(m.weight) for m in linears}
