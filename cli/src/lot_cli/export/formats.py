"""The files that a model is written to: a program of torch, a program of ONNX, or its weights."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lot.errors import BadInput, first_line
from lot_cli.export.comparison import compare
from lot_cli.export.program import Outputs, exported

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from lot.runs.load import RecordedRun

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MOST_ONNX_BYTES = 2**31 - 2**20
"""Of the weights in one file of ONNX, which is a message of protobuf."""


def write_weights(loaded: RecordedRun, path: Path) -> list[str]:
    """The parameters and buffers of the model, as safetensors; returns the lines to print."""
    from safetensors import SafetensorError
    from safetensors.torch import save_model

    metadata = {"config": loaded.config.to_yaml(), "run": str(loaded.path), "step": str(loaded.step), "format": "pt"}
    try:
        save_model(loaded.model, str(path), metadata=metadata)
    except SafetensorError as error:  # what its writer raises for a full disk
        raise OSError(str(error)) from error
    return [f"{len(loaded.model.state_dict())} tensors; the configuration is in the metadata under 'config'"]


def write_program(loaded: RecordedRun, path: Path, signals: frozenset[str], *, native: bool, fixed: bool) -> list[str]:
    """The model as a program for torch.export.load; returns the lines to print. Raises what `exported` and `compare` raise."""
    module = Outputs(loaded, signals).eval()
    program, sizes = exported(loaded, module, native=native, fixed=fixed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch about its own copying of a program
            torch.export.save(program, path)
    except RuntimeError as error:  # what its writer raises for a full disk
        raise OSError(first_line(error)) from error
    imports = _registering_modules(program, loaded)
    facts = [f"{sizes}; {compare(loaded, module, path, sizes, imports)}"]
    if imports:
        facts.append(f"it calls operators of plugins: import {', '.join(imports)} before loading it")
    return facts


def write_onnx(loaded: RecordedRun, path: Path, signals: frozenset[str], *, fixed: bool) -> list[str]:
    """The model as a program of ONNX; returns the lines to print. Raises what `exported` and `compare` raise."""
    module = Outputs(loaded, signals).eval()
    weights = sum(tensor.nbytes for tensor in loaded.model.state_dict().values())
    if weights > MOST_ONNX_BYTES:
        raise BadInput(
            f"a file of ONNX holds 2 GiB at most; the weights are {weights / 2**30:.1f} GiB", fix="write a .pt2"
        )
    program, sizes = exported(loaded, module, native=False, fixed=fixed)
    names = list(dict.fromkeys(["logits", *_output_names(module)]))
    try:
        with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript", "onnx_ir"):
            warnings.simplefilter("ignore")  # about the inside of torch and onnxscript
            converted = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=["ids"], output_names=names, external_data=False
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise BadInput(f"the model cannot be written as ONNX ({first_line(error.__cause__ or error)})") from error
    assert converted is not None
    axes = zip(converted.model.graph.inputs[0].shape or (), ("batch", "length"), strict=True)
    converted.rename_axes({axis: name for axis, name in axes if not isinstance(axis, int)})
    converted.save(path)
    return [f"{sizes}; in ONNX Runtime {compare(loaded, module, path, sizes, ())}"]


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """A context in which these loggers tell errors only: what they note about each operator means nothing to a user."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def require_onnx() -> None:
    """Raises BadInput where a package is missing that writes ONNX or runs it."""
    if missing := [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]:
        raise BadInput(f"ONNX is written and compared with {', '.join(missing)}", fix="pip install 'lot-cli[onnx]'")


def _output_names(module: Outputs) -> list[str]:
    """The names of what the module gives, in its order."""
    with torch.no_grad():
        found = module(torch.zeros(1, 1, dtype=torch.int64))
    return list(found) if isinstance(found, dict) else ["logits"]


def _registering_modules(program: ExportedProgram, loaded: RecordedRun) -> list[str]:
    """The modules whose import registers the operators of a program that are not torch's own."""
    from lot.nn.export_forms import foreign_operators

    packages = {name.partition(".")[0] for name in foreign_operators(program)}
    modules = {type(module).__module__ for module in loaded.model.modules()}
    return sorted(module for module in modules if module.partition(".")[0] in packages)
