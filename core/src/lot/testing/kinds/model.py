"""The checks of a model: it gives each part its place, sees no future, and decodes what it computes in one pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lot.contracts import Context, Model, Output
from lot.random import initialize
from lot.testing.case import Case, CheckFunction
from lot.testing.draws import normal
from lot.testing.failure import (
    KitFailure,
    NotApplicable,
    largest,
    require,
    require_close,
    require_equal,
    require_finite,
)
from lot.testing.properties.decoding import require_decoding
from lot.testing.properties.documents import packed
from lot.testing.specimens.samples import token_ids
from lot.testing.specimens.whole_model import sizes_of, whole_model

TOLERANCE = 1e-5
"""Relative to the largest logit, in float64: a model may keep tables in float32."""


def _tokens(case: Case, model: Model, batch: int, length: int, *key: str | int) -> Tensor:
    return token_ids(model.dims, batch, min(length, model.dims.max_len), *key).to(case.device)


def builds(case: Case) -> None:
    """The factory gives a model whose parts stand where its sizes say, and whose parameters all have a value."""
    sizes, model = sizes_of(case), whole_model(case, perturbed=False)
    require(isinstance(model, Model), "factory", expected="a lot.Model", got=type(model).__name__)
    _require_slots("attentions", model.attentions, sizes.attention_layers)
    _require_slots("mlps", model.mlps, sizes.mlp_layers)
    require(
        len(model.layers) == sizes.layers,
        "layers",
        expected=f"{sizes.layers} modules, as sizes() says",
        got=len(model.layers),
    )
    for name, parameter in model.named_parameters():
        require_finite(parameter, f"initial value of {name}", cause="a parameter that reset_parameters forgets")
    _require_disjoint(model)


def _require_slots(name: str, found: Any, expected: tuple[int, ...]) -> None:
    require(isinstance(found, dict), name, expected="a dict from layer to module", got=type(found).__name__)
    require(
        tuple(found) == expected,
        f"layers in {name}",
        expected=f"those of sizes(): {', '.join(map(str, expected)) or 'none'}",
        got=", ".join(map(str, found)) or "none",
    )


def _require_disjoint(model: Model) -> None:
    """Blocks are sharded one by one: no parameter may belong to two."""
    owner: dict[int, int] = {}
    for layer, block in enumerate(model.layers):
        for name, parameter in block.named_parameters():
            other = owner.setdefault(id(parameter), layer)
            require(
                other == layer,
                f"parameter {name} of block {layer}",
                expected="a parameter of one block",
                got=f"one that block {other} has too",
                cause="a module that blocks share; keep it beside them",
            )


@torch.no_grad()
def shapes(case: Case) -> None:
    """Logits are (B, T, V) and finite, for one token up to max_len, whatever the batch; the model takes no context too."""
    model = whole_model(case)
    for B, T in ((1, 1), (2, 7), (3, 24)):
        ids = _tokens(case, model, B, T)
        kept = ids.clone()
        output = model(ids, case.context())
        require(isinstance(output, Output), "forward", expected="a lot.Output", got=type(output).__name__)
        expected = (B, ids.shape[1], model.dims.vocab_size)
        shape = tuple(output.logits.shape)
        require(shape == expected, "shape of the logits", expected=str(expected), got=str(shape))
        require_finite(output.logits, f"logits for B = {B}, T = {T}")
        require(torch.equal(ids, kept), "ids after forward", expected="unchanged values", got="other values")
        require_equal(model(ids).logits, output.logits, "logits without a context")


@torch.no_grad()
def causal(case: Case) -> None:
    """With causal attention, replacing the tokens from t on, or those of other sequences, changes no logit before t."""
    for training in (False, True):
        model = whole_model(case, training=training)
        ids = _tokens(case, model, 3, 16)
        T = ids.shape[1]
        full = _logits(case, model, ids)
        for t in range(1, T):
            changed = _tokens(case, model, 3, 16, "others", t)
            changed[0, :t] = ids[0, :t]
            require_close(
                _logits(case, model, changed)[0, :t],
                full[0, :t],
                0.0 if not training else TOLERANCE,
                f"logits before position {t} after later tokens and other sequences were replaced",
                cause="a statistic over the sequence or the batch, or a mask of the model that is wrong",
            )


def _logits(case: Case, model: nn.Module, ids: Tensor, **context: Any) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        logits: Tensor = model(ids, case.context(**context)).logits
    return logits


def initial_values(case: Case) -> None:
    """What is not loaded is keyed by seed and name; what is loaded comes from a file, whatever the seed."""
    first, again, other = (whole_model(case, perturbed=False, seed=seed) for seed in (3, 3, 4))
    values, others = dict(first.named_parameters()), dict(other.named_parameters())
    unknown = sorted(first.loaded - values.keys())
    require(not unknown, "loaded", expected="names of parameters", got=", ".join(unknown))
    for name, parameter in again.named_parameters():
        require_equal(parameter, values[name], f"value of {name} for the same seed")
    for name in sorted(first.loaded):
        require_equal(others[name], values[name], f"loaded value of {name} for another seed")
    initialize(again, 3)
    for name, parameter in again.named_parameters():
        require_equal(parameter, values[name], f"value of {name} after a second reset")


def signals(case: Case) -> None:
    """Signals of a part come by layer; those that the model itself declares come too; none that is not wanted."""
    model = whole_model(case)
    ids = _tokens(case, model, 2, 9)
    plain = model(ids, case.context())
    require(not plain.signals, "signals when none is wanted", expected="none", got=", ".join(plain.signals))
    own = case.component.emits
    model.set_want(frozenset({"attention"}) | own)
    output = model(ids, case.context())
    require_close(output.logits, plain.logits, TOLERANCE, "logits when signals are wanted")
    slots = sizes_of(case).attention_layers
    if slots:
        found = output.signals.get("attention")
        require(
            isinstance(found, dict) and tuple(found) == slots,
            "signals['attention']",
            expected=f"a dict with a tensor for each of the layers {', '.join(map(str, slots))}",
            got=type(found).__name__ if not isinstance(found, dict) else ", ".join(map(str, found)),
        )
    for name in sorted(own):
        value = output.signals.get(name)
        table = case.signal(name)
        if not isinstance(value, Tensor):
            raise KitFailure(
                f"signal {name}, which the component declares", expected="a tensor", got=type(value).__name__
            )
        B, T = ids.shape
        sizes = {"B": B, "T": T, "D": model.dims.width, "H": model.dims.heads, "V": model.dims.vocab_size}
        problem = table.problem(value.shape, {**sizes, "L+1": model.dims.layers + 1}) if table else None
        require(problem is None, f"shape of the signal {name}", expected=str(problem), got=str(tuple(value.shape)))


def gradients(case: Case) -> None:
    """Every parameter that trains gets a finite gradient, but for those that parts declare inert."""
    model = whole_model(case, training=True)
    ids = _tokens(case, model, 2, 16)
    logits = model(ids, case.context()).logits
    torch.autograd.backward(logits, normal(tuple(logits.shape), "cotangent", device=case.device))
    inert = _inert(model)
    missing = []
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            require_finite(parameter.grad, f"gradient of {name}")
        if parameter.requires_grad and name not in inert and (parameter.grad is None or not largest(parameter.grad)):
            missing.append(name)
    require(
        not missing,
        "gradient of the logits",
        expected="one for every parameter that trains",
        got=f"none for {', '.join(missing[:5])}",
        cause="a part that forward leaves out",
    )


def _inert(model: Model) -> set[str]:
    """Full names of the parameters that the parts of a model declare inert."""
    names = {id(module): path for path, module in model.named_modules()}
    parts: list[Any] = [*model.attentions.values(), *model.mlps.values(), model.embedding]
    return {f"{names[id(part)]}.{name}" for part in parts for name in getattr(part, "inert", ())}


@torch.no_grad()
def padding(case: Case) -> None:
    """Padding on either side changes no other logit, where the context tells the positions of the tokens."""
    model = whole_model(case, dtype=torch.float64)
    ids = _tokens(case, model, 2, 12)
    T = ids.shape[1]
    full = _logits(case, model, ids)
    n = T // 3
    for side in ("left", "right"):
        filling = _tokens(case, model, 2, n, "filling")
        row = (
            torch.cat((filling, ids[:, : T - n]), dim=1)
            if side == "left"
            else torch.cat((ids[:, : T - n], filling), dim=1)
        )
        pad = torch.zeros_like(row, dtype=torch.bool)
        pad[:, slice(0, n) if side == "left" else slice(T - n, T)] = True
        positions = ((~pad).cumsum(1) - 1).clamp(min=0)
        ctx = Context(padding=pad, positions=positions)
        logits = model(row, ctx).logits
        require_close(
            logits[~pad].view(2, T - n, -1),
            full[:, : T - n],
            TOLERANCE,
            f"logits of the text with padding on its {side}, against those without",
            scale=largest(full),
            cause="a positional part that leaves ctx.positions out, or ctx.padding that does not reach the attention",
        )


@torch.no_grad()
def halves(case: Case) -> None:
    """`upper` on what `lower` gives is what `forward` gives, between any two layers: logits, and the signals of both."""
    model = whole_model(case, dtype=torch.float64)
    if not model.splits():
        raise NotApplicable("it offers no lower and upper")
    model.set_want(frozenset({"attention"}))
    ids, ctx = _tokens(case, model, 2, 9), case.context()
    if model.segments:
        ctx = replace(
            ctx, segments=(torch.arange(ids.shape[1], device=case.device) >= ids.shape[1] // 2).expand(2, -1).long()
        )
    whole = model(ids, ctx)
    for layers in range(len(model.layers) + 1):
        x, below = model.lower(ids, ctx, layers)
        output = model.upper(x, ctx, layers)
        place = f"with the halves parted after {layers} layers"
        require_close(
            output.logits, whole.logits, TOLERANCE, f"logits {place}", cause="a layer that is left out, or passed twice"
        )
        found = sorted({**below.get("attention", {}), **output.signals.get("attention", {})})
        expected = sorted(whole.signals.get("attention", {}))
        require(found == expected, f"layers that give a signal {place}", expected=str(expected), got=str(found))


@torch.no_grad()
def documents(case: Case) -> None:
    """Logits of documents that share rows are those of each document alone, with padding beside them and without."""
    model = whole_model(case, dtype=torch.float64)
    if not model.segments:
        raise NotApplicable("it does not say `segments`: it is refused with a task that tells documents apart")
    T = _tokens(case, model, 3, 24).shape[1]
    for padded in (False, True):
        rows = packed(T, padded)
        ids = _tokens(case, model, 3, 24)
        padding = None if rows.padding is None else rows.padding.to(case.device)
        logits = model(ids, Context(segments=rows.segments.to(case.device), padding=padding)).logits
        for row, places in rows.documents:
            at = places.to(case.device)
            alone = _logits(case, model, ids[row : row + 1, at])[0]
            require_close(
                logits[row, at],
                alone,
                TOLERANCE,
                "logits of a document that shares a row, against those of the document alone",
                cause="an embedding or attention that is not called through lot.nn.apart, or ctx.positions left out",
            )


@torch.no_grad()
def decoding(case: Case) -> None:
    """Logits with caches equal those of one pass, in pieces, up to max_len, whatever the batch."""
    model = whole_model(case, dtype=torch.float64)
    if not model.can_decode():
        raise NotApplicable("it offers no cache")
    for batch in (1, 4):
        require_decoding(
            case,
            model,
            _tokens(case, model, batch, 24),
            TOLERANCE,
            f"logits of {batch} sequences, decoded in pieces",
            cause="a returned cache that is dropped, ctx.start left out, or caches that layers share",
        )


@torch.no_grad()
def state(case: Case) -> None:
    """The state survives safetensors: a model built from another seed continues with the same bits."""
    from safetensors.torch import load, save

    model, fresh = whole_model(case), whole_model(case, perturbed=False, seed=11)
    own = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    result = fresh.load_state_dict(load(save(own)), strict=False)
    problems = [*result.missing_keys, *result.unexpected_keys]
    require(not problems, "names in the state", expected="the same names in every build", got=", ".join(problems))
    ids = _tokens(case, model, 2, 9)
    require_equal(_logits(case, fresh, ids), _logits(case, model, ids), "logits of a model that loaded the state")


def compiled(case: Case) -> None:
    """torch.compile gives the same logits, in one graph that serves every step."""
    model = whole_model(case)
    ids = _tokens(case, model, 2, 9)
    torch._dynamo.reset()
    try:
        forward = torch.compile(model, backend="eager", fullgraph=True)
        for step in (0, 5):
            expected = model(ids, case.context(step=step)).logits
            require_close(
                forward(ids, case.context(step=step)).logits, expected, 1e-4, f"logits compiled (step {step})"
            )
    except torch._dynamo.exc.TorchDynamoException as error:
        raise KitFailure(
            "torch.compile(fullgraph=True)",
            expected="one graph",
            got=str(error).partition("\n")[0],
            cause="data-dependent Python control flow, or .item()",
        ) from error
    finally:
        torch._dynamo.reset()


MODEL_CHECKS: dict[str, CheckFunction] = {
    "builds": builds,
    "shapes": shapes,
    "causal": causal,
    "initial values": initial_values,
    "signals": signals,
    "gradients": gradients,
    "padding": padding,
    "halves": halves,
    "documents": documents,
    "decoding": decoding,
    "state": state,
    "compile": compiled,
}
"""The checks of a model, in the order in which they run."""
