"""What a model is, read from its config.json: as options of LOT's own decoder. What that cannot compute is refused here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from lot import BadInput

GELU = frozenset({"gelu_new", "gelu_pytorch_tanh", "gelu_fast"})
"""Names of the GELU in its tanh form."""
SILU = frozenset({"silu", "swish"})


@attrs.frozen(kw_only=True)
class Architecture:
    """A pretrained model without its weights.

    family: by which the names of its weights are known. mlp: LOT's name of its MLP. hidden: channels inside the MLP.
    longest: tokens up to which the model computes what it was trained to. vocab_size: rows of its embedding. tokens: the
    number of ids that its tokenizer gives, where that is known; there may be more rows. tied: whether the embedding is the
    output head. attention_bias: of queries, keys and values. output_bias: of what comes out of attention.
    """

    family: str
    width: int
    heads: int
    kv_heads: int
    head_width: int
    layers: int
    hidden: int
    vocab_size: int
    longest: int
    tied: bool
    mlp: Literal["gelu", "swiglu"]
    norm: Literal["layer", "rms"]
    norm_eps: float
    positions: Literal["learned", "rotary"]
    rope_base: float = 10000.0
    rotary_fraction: float = 1.0
    attention_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    qk_norm: bool = False
    parallel: bool = False
    tokens: int | None = None

    @property
    def details(self) -> dict[str, Any]:
        """The fields of `lot.Dims` that attention heeds."""
        return {
            "head_channels": self.head_width,
            "kv_heads": self.kv_heads,
            "qk_norm": self.qk_norm,
            "rope_base": self.rope_base,
            "rotary_fraction": self.rotary_fraction,
            "bias": self.output_bias,
            "qkv_bias": self.attention_bias,
            "mlp_ratio": self.hidden / self.width,
            "norm_eps": self.norm_eps,
        }

    @property
    def options(self) -> dict[str, Any]:
        """Options of LOT's decoder; those about heads are in `details`."""
        rotary = {"rope_base": self.rope_base, "rotary_fraction": self.rotary_fraction}
        return {
            "width": self.width,
            "heads": self.heads,
            "layers": self.layers,
            "head_width": self.head_width,
            "kv_heads": self.kv_heads,
            "mlp_ratio": self.hidden / self.width,
            "positions": self.positions,
            "tie": self.tied,
            "norm": self.norm,
            "norm_eps": self.norm_eps,
            "bias": self.norm == "layer",
            "head_bias": self.head_bias,
            "parallel": self.parallel,
            **(rotary if self.positions == "rotary" else {}),
        }


def read_architecture(facts: Mapping[str, Any], where: str) -> Architecture:
    """The architecture that the content of a config.json tells. where: the file, for messages.

    Raises BadInput for another architecture, and for a variant of a known one that LOT's decoder does not compute.
    """
    read = Facts(facts, where)
    family = facts.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise BadInput(where=where, expected=f"a model_type that LOT can compute ({known})", got=repr(family))
    if facts.get("quantization_config") is not None:
        raise BadInput(where=where, expected="weights that are not quantized", got="a quantization_config")
    found = FAMILIES[family](read)
    if found.heads % found.kv_heads:
        raise BadInput(
            where=where, expected=f"key heads that divide the {found.heads} heads", got=f"{found.kv_heads} key heads"
        )
    return found


class Facts:
    """The content of a config.json, read with messages that name the file. facts: it. where: its path."""

    def __init__(self, facts: Mapping[str, Any], where: str) -> None:
        self.facts, self.where = facts, where

    def count(self, name: str, default: int | None = None) -> int:
        """A whole number of at least 1."""
        value = self.facts.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
            raise BadInput(where=f"{self.where}: {name}", expected="a whole number of at least 1", got=repr(value))
        return value

    def number(self, name: str, default: float, facts: Mapping[str, Any] | None = None) -> float:
        """A number above 0. facts: the table that it is in."""
        value = (self.facts if facts is None else facts).get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise BadInput(where=f"{self.where}: {name}", expected="a number above 0", got=repr(value))
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Yes or no."""
        value = self.facts.get(name, default)
        if not isinstance(value, bool):
            raise BadInput(where=f"{self.where}: {name}", expected="true or false", got=repr(value))
        return value

    def require(self, name: str, allowed: Any, default: Any) -> None:
        """Refuse a value that LOT's decoder does not compute."""
        value = self.facts.get(name, default)
        allowed = allowed if isinstance(allowed, frozenset) else frozenset({allowed})
        if isinstance(value, (dict, list)) or value not in allowed:
            raise BadInput(
                where=f"{self.where}: {name}",
                expected=" or ".join(str(one) for one in sorted(allowed, key=str)),
                got=repr(value),
                fix="LOT's decoder computes no other",
            )

    def rope(self, fraction: float = 1.0) -> tuple[float, float]:
        """Base and share of rotary positions. Raises BadInput for frequencies that are stretched."""
        table = self.facts.get("rope_parameters") or self.facts.get("rope_scaling") or {}
        if not isinstance(table, Mapping):
            raise BadInput(where=f"{self.where}: rope_parameters", expected="a table", got=repr(table))
        kind = table.get("rope_type", table.get("type", "default"))
        if kind != "default":
            raise BadInput(
                where=f"{self.where}: rope_type",
                expected="default",
                got=repr(kind),
                fix="LOT's decoder has no stretched rotary frequencies",
            )
        base = self.number("rope_theta", self.number("rope_theta", 10000.0), table)
        share = self.number("partial_rotary_factor", self.number("partial_rotary_factor", fraction), table)
        return base, share


def _llama(read: Facts, **more: Any) -> Architecture:
    """Llama, and what differs from it in a few facts."""
    read.require("hidden_act", SILU, "silu")
    width, heads = read.count("hidden_size"), read.count("num_attention_heads")
    base, fraction = read.rope()
    bias = read.flag("attention_bias", False)
    facts = {
        "family": "llama",
        "width": width,
        "heads": heads,
        "kv_heads": read.count("num_key_value_heads", heads),
        "head_width": read.count("head_dim", max(1, width // heads)),
        "layers": read.count("num_hidden_layers"),
        "hidden": read.count("intermediate_size"),
        "vocab_size": read.count("vocab_size"),
        "longest": read.count("max_position_embeddings", 2048),
        "tied": read.flag("tie_word_embeddings", False),
        "mlp": "swiglu",
        "norm": "rms",
        "norm_eps": read.number("rms_norm_eps", 1e-6),
        "positions": "rotary",
        "rope_base": base,
        "rotary_fraction": fraction,
        "attention_bias": bias,
        "output_bias": bias,
        "mlp_bias": read.flag("mlp_bias", False),
    }
    return Architecture(**{**facts, **more})


def _mistral(read: Facts, **more: Any) -> Architecture:
    """Llama whose attention may look back over a window only: up to its length there is no difference."""
    found = _llama(read, **more)
    if read.facts.get("sliding_window", 4096) is None:
        return found
    return attrs.evolve(found, longest=min(found.longest, read.count("sliding_window", 4096)))


def _qwen(read: Facts, **more: Any) -> Architecture:
    """Qwen 2 has biases on queries, keys and values; Qwen 3 normalizes queries and keys."""
    if read.flag("use_sliding_window", False):
        return _mistral(read, **more)
    return _llama(read, **more)


def _phi(read: Facts) -> Architecture:
    read.require("hidden_act", GELU, "gelu_new")
    read.require("qk_layernorm", False, False)
    width, heads = read.count("hidden_size"), read.count("num_attention_heads")
    base, fraction = read.rope(0.5)
    return Architecture(
        family="phi",
        width=width,
        heads=heads,
        kv_heads=read.count("num_key_value_heads", heads),
        head_width=max(1, width // heads),
        layers=read.count("num_hidden_layers"),
        hidden=read.count("intermediate_size"),
        vocab_size=read.count("vocab_size"),
        longest=read.count("max_position_embeddings", 2048),
        tied=read.flag("tie_word_embeddings", False),
        mlp="gelu",
        norm="layer",
        norm_eps=read.number("layer_norm_eps", 1e-5),
        positions="rotary",
        rope_base=base,
        rotary_fraction=fraction,
        attention_bias=True,
        output_bias=True,
        mlp_bias=True,
        head_bias=True,
        parallel=True,
    )


def _gpt2(read: Facts) -> Architecture:
    read.require("activation_function", GELU, "gelu_new")
    read.require("scale_attn_weights", True, True)
    read.require("scale_attn_by_inverse_layer_idx", False, False)
    read.require("add_cross_attention", False, False)
    width, heads = read.count("n_embd"), read.count("n_head")
    return Architecture(
        family="gpt2",
        width=width,
        heads=heads,
        kv_heads=heads,
        head_width=max(1, width // heads),
        layers=read.count("n_layer"),
        hidden=read.count("n_inner", 4 * width),
        vocab_size=read.count("vocab_size"),
        longest=read.count("n_positions"),
        tied=read.flag("tie_word_embeddings", True),
        mlp="gelu",
        norm="layer",
        norm_eps=read.number("layer_norm_epsilon", 1e-5),
        positions="learned",
        attention_bias=True,
        output_bias=True,
        mlp_bias=True,
    )


FAMILIES: dict[str, Callable[[Facts], Architecture]] = {
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": lambda read: _qwen(read, attention_bias=True, output_bias=False, mlp_bias=False),
    "qwen3": lambda read: _qwen(read, qk_norm=True, head_width=read.count("head_dim", 128)),
    "phi": _phi,
    "gpt2": _gpt2,
}
"""How the facts of each `model_type` are read."""
