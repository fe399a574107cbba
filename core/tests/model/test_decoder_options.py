"""The options of a decoder of today: what each computes, written out, and what is refused because it would have no effect."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from toy import ToyRegistry, toy_config

import lot
from lot.contracts import Context
from lot.errors import BadInput
from lot.model.build import build_model
from lot.testing.draws import perturb

T = 7


def reload(table: dict[str, Any]) -> lot.Config:
    return lot.load_config(table, registry=ToyRegistry())  # type: ignore[arg-type]


def model_of(*sets: str) -> Any:
    """A perturbed model in float64 and evaluation mode."""
    model = build_model(toy_config(*sets))
    perturb(model)
    return model.double().eval()


def ids(length: int = T) -> Tensor:
    return torch.randint(7, (2, length), generator=torch.Generator().manual_seed(1))


def turn(x: Tensor, base: float, turned: int) -> Tensor:
    """Rotary positions on the first `turned` channels of x (B, T, d), pair by pair; their angles are kept in float32."""
    y = x.clone()
    half = turned // 2
    for t in range(x.shape[1]):
        for i in range(half):
            angle = torch.tensor(t * base ** (-2 * i / turned), dtype=torch.float64)
            c, s = angle.cos().float().double(), angle.sin().float().double()
            y[:, t, i] = x[:, t, i] * c - x[:, t, half + i] * s
            y[:, t, half + i] = x[:, t, i] * s + x[:, t, half + i] * c
    return y


def rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def test_every_option_at_once_equals_the_model_written_out() -> None:
    d, heads, kv, eps, base = 6, 4, 2, 1e-4, 500.0
    model = model_of(
        *("model.width=16", "model.heads=4", "model.kv_heads=2", f"model.head_width={d}", "model.qk_norm=true"),
        *("model.positions=rotary", f"model.rope_base={base}", "model.rotary_fraction=0.67", "model.norm=rms"),
        *(f"model.norm_eps={eps}", "model.bias=false", "model.parallel=true", "model.head_bias=true", "model.layers=1"),
        *("mlp.name=swiglu", "model.mlp_ratio=1.5", "model.max_len=16"),
    )
    w = dict(model.named_parameters())
    assert not [name for name in w if "bias" in name and name != "head_bias"]
    x = w["embedding.table.weight"][ids()]
    h = rms(x, w["blocks.0.norm_attention.weight"], eps)
    q, k, v = (h @ w["blocks.0.attention.heads.qkv.weight"].T).split((heads * d, kv * d, kv * d), dim=-1)
    mixed = []
    for head in range(heads):
        own, shared = slice(head * d, (head + 1) * d), slice(head // 2 * d, (head // 2 + 1) * d)
        a = turn(rms(q[..., own], w["blocks.0.attention.heads.query_norm.weight"], eps), base, 4)
        b = turn(rms(k[..., shared], w["blocks.0.attention.heads.key_norm.weight"], eps), base, 4)
        score = (a @ b.transpose(1, 2) / math.sqrt(d)).masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf)
        mixed.append(score.softmax(-1) @ v[..., shared])
    y = torch.cat(mixed, dim=-1) @ w["blocks.0.attention.heads.out.weight"].T
    gate, up = h @ w["blocks.0.mlp.gate.weight"].T, h @ w["blocks.0.mlp.up.weight"].T
    z = (F.silu(gate) * up) @ w["blocks.0.mlp.down.weight"].T
    logits = rms(x + y + z, w["norm.weight"], eps) @ w["head.weight"].T + w["head_bias"]
    torch.testing.assert_close(model(ids()).logits, logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["decoder", "gpt2", "llama"])
def test_a_preset_is_a_decoder_with_other_defaults(name: str) -> None:
    config = toy_config(f"model.name={name}", "model.width=16", "model.heads=2")
    table = config.to_dict()
    assert reload(table) == config
    same = reload({**table, "model": {**table["model"], "name": "decoder"}})
    one, other = build_model(config).state_dict(), build_model(same).state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert config.mlp is not None
    assert config.mlp.name == ("swiglu" if name == "llama" else "gelu")


def test_an_mlp_may_be_another_one_in_a_layer() -> None:
    config = toy_config("model.layers=3", "mlp.layers.1.name=swiglu")
    model = build_model(config)
    assert [type(mlp).__name__ for mlp in model.mlps.values()] == ["GeluMLP", "SwiGLU", "GeluMLP"]
    assert reload(config.to_dict()) == config


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["model.kv_heads=3", "model.heads=4"], "model.kv_heads: expected a divisor of the 4 heads, got 3"),
        (
            ["model.rope_base=500"],
            "model.rope_base: expected its default, for without rotary positions it has no effect",
        ),
        (["model.rotary_fraction=0.5"], "model.rotary_fraction: expected its default"),
        (
            ["model.positions=rotary", "model.rotary_fraction=0.1", "model.width=16", "model.heads=2"],
            "model.rotary_fraction: expected an even number of channels, got 0",
        ),
        (["mlp.layers.9.name=gelu"], "mlp.layers.9: expected a layer from 0 to"),
        (["mlp.hidden=3"], "mlp.hidden: unknown"),
        (["model.name=nothing"], "unknown model 'nothing'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(sets: list[str], message: str) -> None:
    with pytest.raises(BadInput) as refused:
        build_model(toy_config(*sets))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_options_of_heads_are_refused_where_an_attention_makes_its_own() -> None:
    class Own(lot.Attention):
        """Means over the past, with no queries or keys."""

        def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
            return x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None], {}

    from lot.model.build import _check_heads, dims_of

    config = toy_config("model.kv_heads=1", "model.heads=2")
    dims = dims_of(config.sizes, max_len=8, vocab_size=7)
    with pytest.raises(BadInput, match=r"model\.kv_heads: has no effect on attention vanilla of layer 0"):
        _check_heads(config, dims, {0: Own()})


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_a_window_of_positions_can_be_told_by_the_context(positions: str) -> None:
    """Tokens 3 and following of a sequence, told so by `start` or token by token, are the same."""
    model = model_of(f"model.positions={positions}", "model.max_len=16")
    by_start = model(ids(), Context(start=3)).logits
    told = torch.arange(3, 3 + T).expand(2, -1)
    torch.testing.assert_close(model(ids(), Context(positions=told)).logits, by_start)
