"""LOT: a test bench for physics-inspired attention. Everything that users and authors of plugins import.

A run
    load_config(...)             a run as validated data (`Config`)
    train(config, run_dir=...)   train, evaluate and record it (`Result`)
    evaluate(run)                the metrics of a recorded run, at any checkpoint and on any data (`Evaluation`)
    diagnose(run, names)         what diagnostics measure on it (`Look`)
    load_run(run)                its best model, its task and its configuration (`RecordedRun`)
    reliance(run)                what damage to its mechanism costs (`Reliance`, of `Damage`)
    build_task(config)           the data of a run (`Task`)
    build_model(config)          ids (B, T) -> Output(logits, signals) (`Model`; `Decoder` is the core's own)
    generate(model, prompt, n)   the next n tokens of each prompt, one step at a time
    registry()                   the components that are installed (`Registry`)

A plugin
    Component, hookimpl, option, NoOptions       what a plugin registers; no torch is imported for these
    Attention, MLP, Embedding, Model, Task, Loss, Diagnostic, Recorder, Kernel      the contract of each kind of component
    Dims, Context, Parts, Sizes, Batch, Output, Probe, Record, Recording  what a component is given and returns
    BadInput, PluginError, RunFailed, Diverged, Interrupted, LotError       errors and their exit codes
    IGNORED, Cache, GeneratorFor, Positions, Split, CrossEntropy, ablation, cache_folder, file_digest    parts that these use

Beside it: `lot.nn` (what mechanisms are built from), `lot.random` (keyed generators), `lot.circular` (statistics of
angles), `lot.signals`, `lot.metrics`, `lot.figure` (the style of pictures) and `lot.testing` (the kit). All else is internal.

`import lot` imports no torch: each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lot.builtin.cross_entropy import CrossEntropy as CrossEntropy
    from lot.config.load import load_config as load_config
    from lot.config.schema import Config as Config
    from lot.contracts import (
        IGNORED as IGNORED,
        MLP as MLP,
        Attention as Attention,
        Batch as Batch,
        Cache as Cache,
        Context as Context,
        Diagnostic as Diagnostic,
        Dims as Dims,
        Embedding as Embedding,
        GeneratorFor as GeneratorFor,
        Kernel as Kernel,
        Loss as Loss,
        Model as Model,
        Output as Output,
        Parts as Parts,
        Positions as Positions,
        Probe as Probe,
        Record as Record,
        Recorder as Recorder,
        Recording as Recording,
        Split as Split,
        Task as Task,
        ablation as ablation,
    )
    from lot.errors import (
        BadInput as BadInput,
        Diverged as Diverged,
        Interrupted as Interrupted,
        LotError as LotError,
        PluginError as PluginError,
        RunFailed as RunFailed,
    )
    from lot.inspection.diagnose import Look as Look, diagnose as diagnose
    from lot.inspection.evaluate import Evaluation as Evaluation, evaluate as evaluate
    from lot.model.build import build_model as build_model, build_task as build_task
    from lot.model.decoder import Decoder as Decoder
    from lot.model.generate import generate as generate
    from lot.options.declare import NoOptions as NoOptions, option as option
    from lot.plugins.component import Component as Component
    from lot.plugins.hookspecs import hookimpl as hookimpl
    from lot.plugins.registry import Registry as Registry, registry as registry
    from lot.plugins.sizes import Sizes as Sizes
    from lot.runs.load import RecordedRun as RecordedRun, load_run as load_run
    from lot.runs.reliance import Damage as Damage, Reliance as Reliance, reliance as reliance
    from lot.storage.cache import cache_folder as cache_folder
    from lot.storage.digest import file_digest as file_digest
    from lot.training.train import train as train
    from lot.training.trainer import Result as Result

    __version__: str

_HOMES = {
    "builtin.cross_entropy": ("CrossEntropy",),
    "config.load": ("load_config",),
    "config.schema": ("Config",),
    "contracts": (
        "IGNORED",
        "MLP",
        "Attention",
        "Batch",
        "Cache",
        "Context",
        "Diagnostic",
        "Dims",
        "Embedding",
        "GeneratorFor",
        "Kernel",
        "Loss",
        "Model",
        "Output",
        "Parts",
        "Positions",
        "Probe",
        "Record",
        "Recorder",
        "Recording",
        "Split",
        "Task",
        "ablation",
    ),
    "errors": ("BadInput", "Diverged", "Interrupted", "LotError", "PluginError", "RunFailed"),
    "inspection.diagnose": ("Look", "diagnose"),
    "inspection.evaluate": ("Evaluation", "evaluate"),
    "model.build": ("build_model", "build_task"),
    "model.decoder": ("Decoder",),
    "model.generate": ("generate",),
    "options.declare": ("NoOptions", "option"),
    "plugins.component": ("Component",),
    "plugins.hookspecs": ("hookimpl",),
    "plugins.registry": ("Registry", "registry"),
    "plugins.sizes": ("Sizes",),
    "storage.cache": ("cache_folder",),
    "storage.digest": ("file_digest",),
    "runs.load": ("RecordedRun", "load_run"),
    "runs.reliance": ("Damage", "Reliance", "reliance"),
    "training.train": ("train",),
    "training.trainer": ("Result",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted([*_MODULE_OF, "__version__"])


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
