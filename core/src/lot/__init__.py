"""LOT: a test bench for physics-inspired attention. The public names; each is imported when it is first used.

    registry()                   the components that are installed
    load_config(...)             a run as validated data
    build_model(config)          ids (B, T) -> Output(logits, signals)
    train(config, run_dir=...)   train, evaluate, record
    evaluate(run)                the metrics of a recorded run
    load_run(run)                its best model, its task and its configuration

`import lot` imports no torch. Three functions share a name with their module: `lot.train` is the function, and what
else the module holds is reached by `from lot.train import ...`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lot.component import Component
    from lot.config import Config, load_config
    from lot.contracts import (
        IGNORED,
        Attention,
        Batch,
        Cache,
        Context,
        Diagnostic,
        Dims,
        Embedding,
        Kernel,
        Loss,
        Output,
        Probe,
        Record,
        Task,
    )
    from lot.errors import BadInput, Interrupted, LotError, PluginError, RunFailed
    from lot.evaluate import evaluate
    from lot.hookspecs import hookimpl
    from lot.model import build_model
    from lot.options import option
    from lot.recorded import RecordedRun, load_run
    from lot.registry import Registry, registry
    from lot.train import train

    __version__: str

__all__ = [
    "IGNORED",
    "Attention",
    "BadInput",
    "Batch",
    "Cache",
    "Component",
    "Config",
    "Context",
    "Diagnostic",
    "Dims",
    "Embedding",
    "Interrupted",
    "Kernel",
    "Loss",
    "LotError",
    "Output",
    "PluginError",
    "Probe",
    "Record",
    "RecordedRun",
    "Registry",
    "RunFailed",
    "Task",
    "__version__",
    "build_model",
    "evaluate",
    "hookimpl",
    "load_config",
    "load_run",
    "option",
    "registry",
    "train",
]

_HOMES = {
    "component": ("Component",),
    "config": ("Config", "load_config"),
    "contracts": (
        "IGNORED",
        "Attention",
        "Batch",
        "Cache",
        "Context",
        "Diagnostic",
        "Dims",
        "Embedding",
        "Kernel",
        "Loss",
        "Output",
        "Probe",
        "Record",
        "Task",
    ),
    "errors": ("BadInput", "Interrupted", "LotError", "PluginError", "RunFailed"),
    "evaluate": ("evaluate",),
    "hookspecs": ("hookimpl",),
    "model": ("build_model",),
    "options": ("option",),
    "recorded": ("RecordedRun", "load_run"),
    "registry": ("Registry", "registry"),
    "train": ("train",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """The public name `name`, imported now (PEP 562)."""
    if name == "__version__":
        value: Any = _version()
    elif name in _MODULE_OF:
        value = getattr(importlib.import_module(f"lot.{_MODULE_OF[name]}"), name)
    else:
        raise AttributeError(f"module 'lot' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("lot-core")
    except metadata.PackageNotFoundError:
        return "0+source"  # a source tree that is not installed


class _Package(ModuleType):
    """This package, in which importing the module `lot.train` does not hide the function `lot.train`.

    The import system binds every submodule that it has imported on its package, by this assignment.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _MODULE_OF.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
