"""A tree of dicts, lists, scalars and tensors as JSON that stands for it (its skeleton), and the tensors apart, by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def identity(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for tensors that are the same numbers in the same memory."""
    return (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)


def take_tensors(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """The skeleton of `tree`; its tensors go to `tensors`, each once. Raises TypeError for what JSON cannot stand for.

    Trees of equal form get equal numbers in every process: a sharded tensor counts as one of its own.
    """
    return _take(tree, tensors, {})


def give_tensors(skeleton: Any, tensors: Mapping[str, Tensor | None]) -> Any:
    """The tree that `skeleton` stands for."""
    if isinstance(skeleton, list):
        return [give_tensors(item, tensors) for item in skeleton]
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, value),) = skeleton.items()
    if kind == "$tensor":
        return tensors[value]
    if kind == "$dict":
        return {key: give_tensors(item, tensors) for key, item in value}
    if kind == "$tuple":
        return tuple(give_tensors(item, tensors) for item in value)
    return float(value)


def numbers(skeleton: Any, like: Any = None) -> dict[str, Tensor | None]:
    """The numbers of all tensors of a skeleton, each with the tensor that the tree `like` has in its place, if any."""
    if isinstance(skeleton, dict):
        ((kind, value),) = skeleton.items()
        if kind == "$tensor":
            return {value: like if isinstance(like, Tensor) else None}
        if kind == "$dict":
            below = like if isinstance(like, dict) else {}
            pairs = [(item, below.get(key)) for key, item in value]
        else:
            pairs = [(value, like)] if kind == "$tuple" else []
    elif isinstance(skeleton, list):
        likes = like if isinstance(like, (list, tuple)) and len(like) == len(skeleton) else [None] * len(skeleton)
        pairs = list(zip(skeleton, likes, strict=True))
    else:
        pairs = []
    found: dict[str, Tensor | None] = {}
    for item, same in pairs:
        found.update(numbers(item, same))
    return found


def _take(tree: Any, tensors: dict[str, Tensor], seen: dict[tuple[Any, ...], str]) -> Any:
    if isinstance(tree, Tensor):
        number = str(len(tensors))
        if tree.numel() and not is_sharded(tree):
            number = seen.setdefault(identity(tree), number)
        tensors.setdefault(number, tree)
        return {"$tensor": number}
    if isinstance(tree, dict):
        return {"$dict": [[_key(key), _take(value, tensors, seen)] for key, value in tree.items()]}
    if isinstance(tree, (list, tuple)):
        items = [_take(item, tensors, seen) for item in tree]
        return {"$tuple": items} if isinstance(tree, tuple) else items
    if isinstance(tree, float) and (tree != tree or tree in (float("inf"), float("-inf"))):
        return {"$float": repr(tree)}
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    raise TypeError(f"a checkpoint holds tensors, numbers, texts, lists and dicts; got {type(tree).__name__}")


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only a part of `tensor` (a DTensor)."""
    return hasattr(tensor, "placements")


def _key(key: Any) -> int | str:
    if isinstance(key, (int, str)) and not isinstance(key, bool):
        return key
    raise TypeError(f"a key in a checkpoint is a text or an int; got {type(key).__name__}")
