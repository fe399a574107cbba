"""The Python code that a task of lm_eval calls: what its numbers depend on beside its configuration."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_eval.api.task import Task

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def code_of_task(task: Task) -> list[str]:
    """Names and digests of the Python files beside the functions that a task names: a function may call what is there."""
    folders = {
        file.parent
        for value in (type(task), *_callables(task.config.to_dict(keep_callable=True)))
        if (file := _file(value))
    }
    files = [file for folder in folders for file in folder.glob("*.py") if file.is_file()]
    return sorted(f"{file.parent.name}/{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files)


def without_addresses(value: Any) -> Any:
    """Plain data, of whose texts none says where in memory a function lies."""
    if isinstance(value, dict):
        return {key: without_addresses(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_addresses(item) for item in value]
    return _ADDRESS.sub("", value) if isinstance(value, str) else value


def _callables(value: Any) -> Iterator[Any]:
    """The functions in a configuration, however deep."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _callables(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _callables(item)
    elif callable(value):
        yield value


def _file(value: Any) -> Path | None:
    """The file of a function or class; None for what is built in, and for what belongs to every task."""
    value = value.func if isinstance(value, functools.partial) else value
    parts = [value, *vars(value).values()] if isinstance(value, type) else [value]
    for part in parts:
        code = getattr(part, "__code__", None)
        if code is not None and not str(getattr(part, "__module__", "")).startswith("lm_eval.api"):
            file = Path(code.co_filename)
            return file if file.is_file() else None
    return None
