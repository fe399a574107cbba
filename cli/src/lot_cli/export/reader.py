"""A program of its own: reads an exported file as somebody without LOT does, and writes what it gives.

python -P reader.py FILE INPUTS OUTPUTS ABSENT IMPORTED: the tensors ids (B, T) in INPUTS (safetensors) by name; what the
program gives for each goes to OUTPUTS as NAME/OUTPUT. ABSENT: modules that do not import here; IMPORTED: modules to import
first; both separated by commas. It imports nothing of LOT: nothing of it would be there.
"""

from __future__ import annotations

import importlib
import importlib.abc
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from safetensors.torch import load_file, save_file


class Absent(importlib.abc.MetaPathFinder):
    """Makes modules impossible to import, as where they are not installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Raises ModuleNotFoundError for a module that is to be absent."""
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def of_torch(file: str) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    """What calls a program of torch."""
    module = torch.export.load(file).module()

    def run(ids: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            found = module(ids)
        return found if isinstance(found, dict) else {"logits": found}

    return run


def of_onnx(file: str) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
    """What calls a program of ONNX."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(ids: torch.Tensor) -> dict[str, torch.Tensor]:
        found = session.run(names, {"ids": ids.numpy()})
        return {name: torch.from_numpy(array) for name, array in zip(names, found, strict=True)}

    return run


def main(file: str, inputs: str, outputs: str, absent: str, imported: str) -> None:
    """Reads, runs and writes."""
    sys.meta_path.insert(0, Absent(absent.split(",")))
    for module in filter(None, imported.split(",")):
        importlib.import_module(module)
    run = of_onnx(file) if file.endswith(".onnx") else of_torch(file)
    found: dict[str, torch.Tensor] = {}
    for name, ids in load_file(inputs).items():
        try:
            given = run(ids)
        except Exception as error:
            raise RuntimeError(f"at {' x '.join(map(str, ids.shape))}: {error}") from error
        found |= {f"{name}/{output}": tensor.contiguous().clone() for output, tensor in given.items()}
    save_file(found, outputs)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as problem:
        print(" ".join(str(problem).split())[:500], file=sys.stderr)
        sys.exit(1)
