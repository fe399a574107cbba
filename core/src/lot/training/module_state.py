"""What the modules of a model keep beside parameters, so that a pass that must change nothing can be taken back.

Mechanisms keep running statistics in buffers, and caches or phases in plain attributes; both are covered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

_OF_TORCH = frozenset(vars(nn.Module())) | {"want"}
"""Attributes that torch gives every module, and the signals that a pass asks for."""


class _Kept(NamedTuple):
    """An object and what was in it: of a container, that of each item."""

    object: Any
    content: Any


class _Slot(NamedTuple):
    """Where a module keeps a value. name: that within the model. store, key: the table that holds it."""

    name: str
    store: dict[str, Any]
    key: str
    is_buffer: bool

    @property
    def value(self) -> Any:
        return self.store[self.key]


class ModuleState:
    """Buffers and plain attributes of all modules as they are now; tensors and generators are copied.

    What an object of another class holds inside is not seen, only that it is the same object.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = list(model.named_modules())
        self._kept = {(id(slot.store), slot.key): (slot, _keep(slot.value)) for slot in _slots(self._modules)}

    def changed(self, *, buffers_only: bool = False) -> list[str]:
        """The names of buffers and attributes that are no longer as they were, and of attributes that are new."""
        found = [
            slot.name
            for slot, kept in self._kept.values()
            if (slot.is_buffer or not buffers_only) and not _is_as_kept(slot, kept)
        ]
        return found if buffers_only else found + [slot.name for slot in self._new()]

    def restore(self) -> None:
        """Put everything back: values into the objects that held them, and these objects where they were."""
        for slot in self._new():
            del slot.store[slot.key]
        for slot, kept in self._kept.values():
            if not _is_as_kept(slot, kept):
                slot.store[slot.key] = _put_back(kept)

    def _new(self) -> list[_Slot]:
        return [slot for slot in _slots(self._modules) if (id(slot.store), slot.key) not in self._kept]


def _slots(modules: Iterable[tuple[str, nn.Module]]) -> Iterator[_Slot]:
    for path, module in modules:
        dot = f"{path}." if path else ""
        for key in module._buffers:
            yield _Slot(dot + key, module._buffers, key, True)
        for key in vars(module):
            if key not in _OF_TORCH:
                yield _Slot(dot + key, vars(module), key, False)


def _is_as_kept(slot: _Slot, kept: _Kept) -> bool:
    return slot.key in slot.store and _same(slot.value, kept)


def _keep(value: Any) -> _Kept:
    if isinstance(value, (Tensor, np.ndarray)):
        return _Kept(value, value.detach().clone() if isinstance(value, Tensor) else value.copy())
    if isinstance(value, torch.Generator):
        return _Kept(value, value.get_state())
    if isinstance(value, np.random.Generator):
        return _Kept(value, value.bit_generator.state)
    if isinstance(value, dict):
        return _Kept(value, {key: _keep(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return _Kept(value, [_keep(item) for item in value])
    return _Kept(value, None)


def _same(value: Any, kept: _Kept) -> bool:
    """Whether `value` is the object that was kept, with the same in it."""
    content = kept.content
    if value is not kept.object:
        return isinstance(value, int | float | str) and type(value) is type(kept.object) and bool(value == kept.object)
    if isinstance(value, Tensor):
        return bool(value.shape == content.shape) and _equal(value, content)
    if isinstance(value, np.ndarray):
        return bool(value.shape == content.shape and value.tobytes() == content.tobytes())
    if isinstance(value, torch.Generator):
        return torch.equal(value.get_state(), content)
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state) == repr(content)
    if isinstance(value, dict):
        return list(value) == list(content) and all(_same(item, content[key]) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return len(value) == len(content) and all(map(_same, value, content))
    return True


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape hold the same, NaN being equal to itself."""
    return torch.equal(a, b) or bool(((a == b) | (a.isnan() & b.isnan())).all())


def _put_back(kept: _Kept) -> Any:
    """The object that was kept, with what was in it."""
    value, content = kept
    if isinstance(value, Tensor):
        with torch.no_grad():
            if value.shape != content.shape:
                value.resize_(content.shape)
            value.copy_(content)
    elif isinstance(value, np.ndarray):
        value[...] = content
    elif isinstance(value, torch.Generator):
        value.set_state(content)
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = content
    elif isinstance(value, dict):
        value.clear()
        value.update({key: _put_back(item) for key, item in content.items()})
    elif isinstance(value, list):
        value[:] = [_put_back(item) for item in content]
    elif isinstance(value, tuple):
        for item in content:
            _put_back(item)
    return value
