"""A task and a model from a configuration, refusing what does not fit before anything is allocated."""

from __future__ import annotations

import torch

from lot.config.schema import Config, ModelConfig
from lot.contracts import Attention, Dims, Task
from lot.errors import BadInput
from lot.model.decoder import Decoder
from lot.random import initialize, isolated


def build_task(config: Config) -> Task:
    """The task of a configuration, drawing from its seed."""
    return config.task.create("task", config.seed)  # type: ignore[no-any-return]


def build_model(config: Config, task: Task | None = None) -> Decoder:
    """The model of a configuration on the CPU, its initial values keyed by the seed and the names of its parameters.

    task: what `build_task` gave, if it is at hand. Raises BadInput where parts do not fit each other: an
    option that the dimensions forbid, a non-causal attention on a causal task, a sequence longer than `model.max_len`.
    """
    task = build_task(config) if task is None else task
    model = config.model
    max_len = task.seq_len if model.max_len is None else model.max_len
    if task.seq_len > max_len:
        raise BadInput(where="model.max_len", expected=f"at least the task's {task.seq_len} tokens", got=max_len)

    def dims(layer: int) -> Dims:
        return Dims(
            width=model.width,
            heads=model.heads,
            max_len=max_len,
            vocab_size=task.vocab_size,
            layer=layer,
            layers=model.layers,
            causal=task.causal,
            positions=model.positions,
            dropout=model.dropout,
            token_counts=task.token_counts,
        )

    _check_memory(model, task.vocab_size, max_len)
    attentions = []
    for layer in range(model.layers):
        chosen = config.attention_of(layer)
        attentions.append(chosen.create(config.attention_path(layer), dims(layer)))
    _check_positions(config, attentions)
    _check_causal(config, task, attentions)
    embedding = config.embed.create("embed", dims(0))
    if model.tie and embedding.weight is None:
        raise BadInput(where="model.tie", expected="an embedding with a weight to share", got=config.embed.name)
    with isolated(config.seed, "create", "decoder"):  # constructors draw values that are set right below
        decoder = Decoder(embedding, attentions, model, dims(0))
    initialize(decoder, config.seed)
    return decoder


def _check_memory(model: ModelConfig, vocab_size: int, max_len: int) -> None:
    """Refuse a model whose weights, gradients and moments alone exceed this machine's memory, before it is allocated."""
    hidden = round(model.mlp_ratio * model.width)
    block = 4 * model.width**2 + 2 * model.width * hidden
    parameters = model.layers * block + model.width * (max_len + vocab_size * (1 if model.tie else 2))
    needed, available = 16 * parameters, _memory()  # weight, gradient and two moments in float32
    if needed > available:
        raise BadInput(
            where="model",
            expected=f"weights, gradients and optimizer state within the memory of {available / 2**30:.1f} GiB",
            got=f"about {needed / 2**30:.3g} GiB for {parameters:.3g} parameters",
            fix="lower model.width, model.layers or the vocabulary",
        )


def _memory() -> int:
    """Bytes of memory of this machine, or of the largest GPU if that is more."""
    import os

    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**60
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return max([host, *(torch.cuda.get_device_properties(i).total_memory for i in devices)])


def _check_positions(config: Config, attentions: list[Attention]) -> None:
    if config.model.positions != "rotary":
        return
    for layer, attention in enumerate(attentions):
        if not attention.rotary:
            raise BadInput(
                where="model.positions",
                expected="learned or none",
                got="rotary",
                fix=f"attention {config.attention_of(layer).name} of layer {layer} does not turn queries and keys",
            )


def _check_causal(config: Config, task: Task, attentions: list[Attention]) -> None:
    if not task.causal or config.allow_leak:
        return
    for layer, attention in enumerate(attentions):
        if not attention.causal:
            raise BadInput(
                f"layer {layer}: attention {config.attention_of(layer).name} sees the future, and task "
                f"{config.task.name} is causal: the answer would leak",
                where="attn",
                fix="make it causal, or set allow_leak=true to run it anyway, marked as leaking",
            )


def leaks(config: Config, task: Task, model: Decoder) -> bool:
    """Whether this composition lets a model see what it is asked to predict."""
    return task.causal and not all(attention.causal for attention in model.attentions)
