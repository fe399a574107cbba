"""The states below the first layer that trains, computed once for each sequence and kept in the cache.

Where neither the embedding nor the first k layers train, and nothing there is random or depends on the step, the state after
them is a function of a sequence alone. Each sequence is computed by itself, so that its bits depend neither on the others of
its batch nor on what was kept before.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import itertools
import json
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lot.config.schema import Config
from lot.contracts import Context, Model, Output
from lot.devices.device import device_name
from lot.errors import BadInput
from lot.nn.documents import with_documents
from lot.random import torch_generator
from lot.storage.cache import cache_folder
from lot.storage.states import StateFile

WHERE = "train.cache_prefix"
FOLDER = "prefix"
"""The folder of the cache in which the files are."""
TRIED = 32
"""Tokens, at most, of the sequence on which it is tried whether the states are always the same."""
_FORMAT = 2


def keep_prefix(
    model: Model,
    trained: set[str],
    warn: Callable[[str], None] = lambda text: None,
    config: Config | None = None,
) -> None:
    """Let `model` keep the states below its first layer with a parameter in `trained` (names), from here on.

    warn: told, once, where the disk takes no more. config: that the model is made from; states of other options of its parts
    are other states, also where no try tells them apart.

    Raises BadInput where there are none to keep, or where they are not always the same.
    """
    if not model.splits():
        raise BadInput(
            f"the model {type(model).__name__} cannot be entered between two layers",
            where=WHERE,
            fix="leave it out; a model of yours takes part by lower and upper (see lot.Model)",
        )
    moving = [p for name, p in model.named_parameters() if name in trained]
    below = next((i for i, layer in enumerate(model.layers) if _any_of(moving, layer)), len(model.layers))
    if below == 0 or _any_of(moving, model.embedding):
        what = "the embedding trains" if below else "layer 0 trains"
        raise BadInput(
            where=WHERE,
            expected="an embedding and first layers that do not train",
            got=f"a training in which {what}",
            fix="say by train.only what trains, or leave it out",
        )
    _leave_uncompiled()
    prefix = Prefix(model, below, moving, [] if config is None else _parts_below(config, below))
    prefix.require_alike()
    prefix.warn = warn
    model.forward = prefix.forward  # type: ignore[method-assign]


def prefix_of(model: nn.Module) -> Prefix | None:
    """What keeps the states of a model, or None where nothing does."""
    found = getattr(vars(model).get("forward"), "__self__", None)
    return found if isinstance(found, Prefix) else None


@contextlib.contextmanager
def computed_anew(model: nn.Module) -> Iterator[None]:
    """A context in which every layer of `model` computes: for what looks into layers, or changes them."""
    prefix = prefix_of(model)
    before = prefix.resting if prefix is not None else False
    if prefix is not None:
        prefix.resting = True
    try:
        yield
    finally:
        if prefix is not None:
            prefix.resting = before


class _Kept(NamedTuple):
    """A file of states, and their type."""

    file: StateFile
    dtype: torch.dtype


class Prefix:
    """The states of `model` before layer `below`. moving: the parameters that train. parts: what is chosen below, as tables.

    resting: whether every layer computes all the same. warn: told, once, where states cannot be kept.
    """

    def __init__(self, model: Model, below: int, moving: list[nn.Parameter], parts: list[Any]) -> None:
        self._model = weakref.ref(model)  # which holds this, and goes as soon as nobody else holds it
        self.below, self.moving, self.parts, self.resting = below, moving, parts, False
        self.warn: Callable[[str], None] = lambda text: None
        self._lower = [module for part in (model.embedding, *model.layers[:below]) for module in part.modules()]
        upper = {id(module) for layer in model.layers[below:] for module in layer.modules()}
        self._around = [m for m in model.modules() if id(m) not in upper and m is not model]
        self._files: dict[tuple[Any, ...], _Kept] = {}
        self._silent: dict[frozenset[str], bool] = {}
        self._seen: list[Any] = []
        self._weights = ""
        self._full = False

    @property
    def model(self) -> Model:
        """The model whose states these are."""
        model = self._model()
        assert model is not None, "only the model calls this"
        return model

    def __deepcopy__(self, memo: dict[int, Any]) -> Prefix:
        """That of a copy of the model, which is being made."""
        twin = Prefix.__new__(Prefix)
        memo[id(self)] = twin
        facts = {name: value for name, value in vars(self).items() if name != "_model"}
        vars(twin).update(copy.deepcopy(facts, memo), _model=weakref.ref(memo[id(self.model)]))
        return twin

    def forward(self, ids: Tensor, ctx: Context | None = None) -> Output:
        """What the model returns, with the states of its prefix from the cache where that is the same."""
        ctx = Context() if ctx is None else ctx
        x = self._states(ids, ctx)
        if x is None:
            return type(self.model).forward(self.model, ids, ctx)
        return self.model.upper(x, ctx, self.below)

    def require_alike(self) -> None:
        """Raise BadInput unless a pass gives the same states in training and in evaluation, at any step, and changes nothing."""
        model, training = self.model, self.model.training
        with torch.enable_grad():
            model.train()
            before = self._tensors()
            first = self._tried(0, TRIED)
            changed = before != self._tensors()
            second = self._tried(1, TRIED)
            model.eval()
            third = self._tried(10**6, TRIED)
            model.train(training)
        if self._moves(first):
            raise BadInput(
                where=WHERE,
                expected="states that do not train",
                got=f"a parameter that trains and acts below layer {self.below}, where the first layer trains",
                fix="say by train.only what trains, or leave it out",
            )
        if changed or not (torch.equal(first, second) and torch.equal(first, third)):
            why = "a pass changes what the next one computes" if changed else "they are random, or depend on the step"
            raise BadInput(
                f"the states below layer {self.below}, where training begins, are not always the same: {why}",
                where=WHERE,
                fix="set model.dropout=0, or leave it out",
            )

    def _moves(self, x: Tensor) -> bool:
        """Whether states depend on a parameter that trains."""
        if not x.requires_grad:
            return False
        return any(g is not None for g in torch.autograd.grad(x.sum(), self.moving, allow_unused=True))

    def _tried(self, step: int, length: int) -> Tensor:
        """The states of one random sequence, the same at every call; the noise is that of `step`. length: its tokens, at most."""
        dims, device = self.model.dims, next(self.model.parameters()).device
        generator = torch_generator(0, "prefix", "tried")
        ids = torch.randint(dims.vocab_size, (1, min(length, dims.max_len)), generator=generator).to(device)
        ctx = Context(step=torch.full((), step, device=device))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(step)
            return self.model.lower(ids, ctx, self.below)[0]

    def _states(self, ids: Tensor, ctx: Context) -> Tensor | None:
        """x (B, T, D) before layer `below`; None where the prefix must compute, since something looks into it or trains it."""
        if self.resting or ctx.group is not None or self._watched():
            return None
        with torch.no_grad():
            rows = [_row(ctx, i, len(ids)) for i in range(len(ids))]
            if not self._is_silent(ids[:1], rows[0]):
                return None
            kept = self._kept(ids.device, ids.shape[1])
            return torch.cat([self._state(kept, ids[i : i + 1], row) for i, row in enumerate(rows)])

    def _watched(self) -> bool:
        """Whether gradients are to flow into the prefix, or a hook sees it."""
        trains = torch.is_grad_enabled()
        return any(
            module._forward_hooks
            or module._forward_pre_hooks
            or module._backward_hooks
            or (trains and any(p is not None and p.requires_grad for p in module._parameters.values()))
            for module in self._lower
        )

    def _is_silent(self, ids: Tensor, row: Context) -> bool:
        """Whether the prefix gives none of the signals that the model is asked for."""
        want = self.model.want
        if want and want not in self._silent:
            self._silent[want] = not self.model.lower(ids, row, self.below)[1]
        return not want or self._silent[want]

    def _state(self, kept: _Kept, ids: Tensor, row: Context) -> Tensor:
        """x (1, T, D) of one sequence."""
        digest, shape = _digest_of(ids, row), (1, ids.shape[1], self.model.dims.width)
        try:
            content = kept.file.get(digest)
        except OSError as error:
            self._tell(error)
            content = None
        if content is not None and len(content) == shape[1] * shape[2] * kept.dtype.itemsize:
            return torch.frombuffer(content, dtype=kept.dtype).view(shape).to(ids.device)
        x, _ = self.model.lower(ids, row, self.below)
        if not self._full:
            try:
                kept.file.put(digest, _bytes(x))
            except OSError as error:
                self._tell(error)
        return x

    def _tell(self, error: OSError) -> None:
        """The disk does not take more; the run goes on without."""
        if not self._full:
            self._full = True
            where = f" ({error.filename})" if error.filename else ""
            self.warn(
                f"no more states are kept: {error.strerror or error}{where}; they are computed where they are needed"
            )

    # What the states depend on beside the sequence

    def _kept(self, device: torch.device, length: int) -> _Kept:
        """The file for the weights, the precision and the device of now, and for sequences of this length."""
        seen = self._tensors()
        if seen != self._seen:
            self._seen, self._weights = seen, self._digest_weights()
        autocast = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
        numerics = (str(autocast), torch.get_num_threads(), torch.get_float32_matmul_precision())
        now = (self._weights, device_name(device), length, *numerics)
        if now not in self._files:
            self._files[now] = self._open(now, length)
        return self._files[now]

    def _open(self, now: tuple[Any, ...], length: int) -> _Kept:
        # What the code computes, to the bit: other code has another file. A shorter sequence would not show what acts far away.
        tried = self._tried(0, length)
        facts = {
            "format": _FORMAT,
            "model": f"{type(self.model).__module__}.{type(self.model).__qualname__}",
            "below": self.below,
            "parts": self.parts,
            "now": now,
            "tried": [str(tried.dtype), hashlib.sha256(_bytes(tried)).hexdigest()],
            "torch": torch.__version__,
            "cpu": torch.backends.cpu.get_cpu_capability(),
        }
        key = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:32]
        layers = f"layers 0 to {self.below - 1}" if self.below > 1 else "layer 0"
        dtype = str(tried.dtype).removeprefix("torch.")
        title = f"states of {type(self.model).__name__} after {layers}, width {self.model.dims.width}, {dtype}"
        return _Kept(StateFile(cache_folder() / FOLDER / key, title), tried.dtype)

    def _resting(self) -> Iterator[tuple[str, Tensor]]:
        """Parameters that do not train, and buffers, outside the layers from `below` on."""
        moving = {id(p) for p in self.moving}
        for i, module in enumerate((self.model, *self._around)):
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None and id(tensor) not in moving:
                    yield f"{i}.{name}", tensor

    def _tensors(self) -> list[Any]:
        """What changes whenever the value of one of them does."""
        return [(t.data_ptr(), t._version, t.dtype) for _, t in self._resting()]

    def _digest_weights(self) -> str:
        digest = hashlib.sha256()
        for name, tensor in self._resting():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(_bytes(tensor))
        return digest.hexdigest()


def _leave_uncompiled() -> None:
    """Let compilers leave the look into the cache alone; not at import, for that takes all of torch._dynamo."""
    if not hasattr(Prefix._states, "_torchdynamo_disable"):
        Prefix._states = torch.compiler.disable(Prefix._states)  # type: ignore[method-assign, no-untyped-call]


def _parts_below(config: Config, below: int) -> list[Any]:
    """The tables of the embedding, and of the attention and the MLP of each layer before `below`."""
    layers = [[of.get(layer) for of in (config.attentions, config.mlps)] for layer in range(below)]
    return [None if part is None else part.table() for part in (config.embed, *itertools.chain(*layers))]


def _any_of(parameters: list[nn.Parameter], module: nn.Module) -> bool:
    """Whether a module has one of these parameters."""
    own = {id(p) for p in module.parameters()}
    return any(id(p) in own for p in parameters)


def _row(ctx: Context, i: int, rows: int) -> Context:
    """The context of row `i` alone: what is given for each of the `rows` rows is cut, and what was found of all is found anew."""
    own = {field.name: _of_row(getattr(ctx, field.name), i, rows) for field in dataclasses.fields(ctx)}
    return with_documents(dataclasses.replace(ctx, **own))


def _of_row(value: Any, i: int, rows: int) -> Any:
    if isinstance(value, Tensor):
        return value[i : i + 1] if value.dim() and value.shape[0] == rows else value
    return value if isinstance(value, int) else None


def _digest_of(ids: Tensor, row: Context) -> bytes:
    """The digest (32 bytes) of a sequence (1, T), and of all that the context says of it."""
    digest = hashlib.sha256(str(tuple(ids.shape)).encode() + _bytes(ids))
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if field.name not in ("step", "documents") and value is not None:  # segments say what documents do
            digest.update(f"{field.name}\n".encode())
            digest.update(_bytes(value) if isinstance(value, Tensor) else repr(value).encode())
    return digest.digest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
