"""A task and a model from a configuration, refusing what does not fit before anything is allocated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lot.config.schema import Config
from lot.contracts import Attention, Dims, Model, Parts, Task
from lot.errors import BadInput
from lot.model.neutral import hold_neutral
from lot.nn.projections import Projections, Rotary, require_heads
from lot.plugins.sizes import Sizes
from lot.random import initialize, isolated


def build_task(config: Config) -> Task:
    """The task of a configuration, drawing from its seed."""
    return config.task.create("task", config.seed)  # type: ignore[no-any-return]


def rebuild_task(config: Config, assets: Mapping[str, bytes], data: Path | None = None) -> Task:
    """The task of a configuration from the `assets` that a run kept of it; data: a file in place of the one that it reads.

    Without assets and data it is built as for a new run. Raises BadInput where the options do not fit the assets.
    """
    if not assets and data is None:
        return build_task(config)
    chosen = config.task
    factory = chosen.component.load()
    if not hasattr(factory, "from_assets"):
        raise BadInput(f"task {chosen.name} cannot be built from what a run keeps: it has no from_assets", where="task")
    try:
        with isolated(0, "create", chosen.component.name):
            return factory.from_assets(chosen.options, config.seed, assets, data)  # type: ignore[no-any-return]
    except BadInput as error:
        raise error if error.where.startswith("--") else error.under("task") from None


def build_model(config: Config, task: Task | None = None) -> Model:
    """The model of a configuration on the CPU, its initial values keyed by the seed and the names of its parameters.

    task: what `build_task` gave, if it is at hand. Raises BadInput where parts do not fit each other: an
    option that the dimensions forbid, a non-causal attention on a causal task, a sequence longer than `model.max_len`.
    """
    task = build_task(config) if task is None else task
    dims = dims_around(config, task)
    _check_memory(config, dims)
    attentions = {
        layer: chosen.create(config.path_of("attn", layer), replace(dims, layer=layer))
        for layer, chosen in config.attentions.items()
    }
    _check_heads(config, dims, attentions)
    _check_positions(config, attentions)
    _check_causal(config, task, attentions)
    mlps = {
        layer: chosen.create(config.path_of("mlp", layer), replace(dims, layer=layer))
        for layer, chosen in config.mlps.items()
    }
    embedding = None if config.embed is None else config.embed.create("embed", dims)
    if getattr(config.model.options, "tie", False) and getattr(embedding, "weight", None) is None:
        raise BadInput(where="model.tie", expected="an embedding with a weight to share", got=config.embed.name)  # type: ignore[union-attr]
    with isolated(config.seed, "create", "decoder"):  # constructors draw values that are set right below
        model: Model = config.model.create("model", Parts(dims, embedding, attentions, mlps))
    initialize(model, config.seed)
    if config.train.neutral:
        hold_neutral(model, config)
    return model


def dims_around(config: Config, task: Task) -> Dims:
    """The dimensions of layer 0. Raises BadInput where the model does not fit itself or the task."""
    sizes = config.sizes
    max_len = task.seq_len if sizes.max_len is None else sizes.max_len
    if task.seq_len > max_len:
        raise BadInput(where="model.max_len", expected=f"at least the task's {task.seq_len} tokens", got=max_len)
    if sizes.vocab_size is not None and task.vocab_size > sizes.vocab_size:
        raise BadInput(
            f"model {config.model.name} has {sizes.vocab_size:,} tokens, and task {config.task.name} {task.vocab_size:,}",
            where="model",
            fix="use the tokenizer of the model",
        )
    if sizes.tokens not in (None, task.vocab_size):
        raise BadInput(
            f"model {config.model.name} knows {sizes.tokens:,} tokens, and task {config.task.name} has {task.vocab_size:,}",
            where="task",
            fix="use the tokenizer of the model, as in --task text_lm --set task.tokenizer=FOLDER/tokenizer.json",
        )
    dims = dims_of(
        sizes, max_len=max_len, vocab_size=task.vocab_size, causal=task.causal, token_counts=task.token_counts
    )
    require_heads(dims)
    return dims


def dims_of(sizes: Sizes, *, max_len: int, vocab_size: int, **facts: Any) -> Dims:
    """The dimensions of layer 0 of a model. max_len, vocab_size: where the model leaves them open. facts: of the task."""
    return Dims(
        width=sizes.width,
        heads=sizes.heads,
        max_len=max_len if sizes.max_len is None else sizes.max_len,
        vocab_size=vocab_size if sizes.vocab_size is None else sizes.vocab_size,
        layers=sizes.layers,
        positions=sizes.positions,
        dropout=sizes.dropout,
        **sizes.details,
        **facts,
    )


def _check_memory(config: Config, dims: Dims) -> None:
    """Refuse a model whose weights, gradients and moments alone exceed this machine's memory, before it is allocated."""
    tied, pretrained = getattr(config.model.options, "tie", False), config.sizes.pretrained
    block = 4 * dims.width * dims.heads * dims.head_width + 2 * dims.width * dims.hidden
    parameters = dims.layers * block + dims.width * (dims.max_len + dims.vocab_size * (1 if tied else 2))
    each = 4 if config.train.only else 16  # bytes: a weight, and where it trains gradient and two moments, in float32
    needed, available = each * parameters, memory()
    if needed > available:
        raise BadInput(
            where="model",
            expected=f"weights, gradients and optimizer state within the memory of {available / 2**30:.1f} GiB",
            got=f"about {needed / 2**30:.3g} GiB for {parameters:.3g} parameters",
            fix="choose a smaller model" if pretrained else "lower model.width, model.layers or the vocabulary",
        )


def memory() -> int:
    """Bytes of memory of this machine, or of the largest GPU if that is more."""
    import os

    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**60
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return max([host, *(torch.cuda.get_device_properties(i).total_memory for i in devices)])


def _check_heads(config: Config, dims: Dims, attentions: dict[int, Attention]) -> None:
    """Refuse what concerns the heads of `Projections` where an attention has none: it would have no effect."""
    asked = [
        ("kv_heads", dims.kv_heads not in (None, dims.heads)),
        ("head_width", dims.head_channels is not None and dims.head_channels * dims.heads != dims.width),
        ("qk_norm", dims.qk_norm),
        ("rope_base", dims.rope_base != Dims.rope_base),
        ("rotary_fraction", dims.rotary_fraction != Dims.rotary_fraction),
    ]
    if config.sizes.pretrained:
        return
    for layer, attention in attentions.items():
        for name, given in asked:
            needs = Rotary if name.startswith("ro") else Projections
            if given and not any(isinstance(module, needs) for module in attention.modules()):
                raise BadInput(
                    f"has no effect on attention {config.attention_of(layer).name} of layer {layer}, "
                    f"which makes its {'positions' if needs is Rotary else 'heads'} by itself",
                    where=f"model.{name}",
                    fix="leave it out, or choose another attention",
                )


def _check_positions(config: Config, attentions: dict[int, Attention]) -> None:
    if config.sizes.positions != "rotary" or config.sizes.pretrained:
        return
    for layer, attention in attentions.items():
        if not attention.rotary:
            raise BadInput(
                where="model.positions",
                expected="learned or none",
                got="rotary",
                fix=f"attention {config.attention_of(layer).name} of layer {layer} does not turn queries and keys",
            )


def _check_causal(config: Config, task: Task, attentions: dict[int, Attention]) -> None:
    if not task.causal or config.allow_leak:
        return
    for layer, attention in attentions.items():
        if not attention.causal:
            raise BadInput(
                f"layer {layer}: attention {config.attention_of(layer).name} sees the future, and task "
                f"{config.task.name} is causal: the answer would leak",
                where="attn",
                fix="make it causal, or set allow_leak=true to run it anyway, marked as leaking",
            )


def leaks(config: Config, task: Task, model: Model) -> bool:
    """Whether this composition lets a model see what it is asked to predict."""
    return task.causal and not all(attention.causal for attention in model.attentions.values())
