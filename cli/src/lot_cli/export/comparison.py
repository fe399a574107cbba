"""A written file against the model, at several sizes, in a process in which LOT does not import."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot.errors import BadInput, RunFailed
from lot.plugins.component import KINDS
from lot.plugins.registry import registry
from lot_cli.export import reader
from lot_cli.export.program import Outputs, Sizes, random_ids

if TYPE_CHECKING:
    from lot.runs.load import RecordedRun

TOLERANCE = 1e-4
"""Largest difference between an output of the program and of the model, relative to the largest value of that output."""
CHEAP = 1024
"""Tokens up to which the longest sequence of the model is always compared."""


def compare(loaded: RecordedRun, module: Outputs, file: Path, sizes: Sizes, imports: Sequence[str]) -> str:
    """One line that says at which sizes the program in `file` was found to give what the module gives.

    imports: modules of plugins that the program needs; without them nothing of LOT and of no plugin is there to import.
    Raises BadInput where it does not run, and RunFailed where it gives something else.
    """
    from safetensors.torch import load_file, save_file

    batches = {str(index): random_ids(loaded, *shape) for index, shape in enumerate(_shapes(loaded, sizes))}
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "inputs.safetensors", Path(folder) / "outputs.safetensors"
        save_file(batches, inputs)
        absent = () if imports else _packages()
        words = [str(file), str(inputs), str(outputs), ",".join(absent), ",".join(imports)]
        done = subprocess.run(
            [sys.executable, "-P", reader.__file__, *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise BadInput(f"the exported program does not run {said}" if said.startswith("at ") else said)
        theirs = load_file(outputs)
    for name, ids in batches.items():
        with torch.no_grad():
            found = module(ids)
        for output, ours in (found if isinstance(found, dict) else {"logits": found}).items():
            _require_equal(output, theirs[f"{name}/{output}"], ours, ids)
    where = ", ".join(f"{ids.shape[0]} x {ids.shape[1]}" for ids in batches.values())
    others = f" and {', '.join(sorted(module.signals))}" if module.signals else ""
    return f"logits{others} equal to the model's to {TOLERANCE:g} (relative) at {where}"


def _require_equal(output: str, theirs: Tensor, ours: Tensor, ids: Tensor) -> None:
    at = f"at {ids.shape[0]} x {ids.shape[1]}"
    if theirs.shape != ours.shape:
        raise RunFailed(
            f"the exported program gives {output} {tuple(theirs.shape)}, the model {tuple(ours.shape)} {at}"
        )
    difference = float((theirs - ours).abs().max() / ours.abs().max().clamp(min=torch.finfo(torch.float32).tiny))
    if not difference <= TOLERANCE:
        raise RunFailed(f"the exported program's {output} differs from the model's by {difference:.2g} (relative) {at}")


def _shapes(loaded: RecordedRun, sizes: Sizes) -> list[tuple[int, int]]:
    """Sizes to compare at, all different: small and odd ones, and longer sequences than those of the training."""
    T = loaded.task.seq_len
    longest = sizes.max_len if sizes.max_len <= max(2 * T, CHEAP) else 2 * T
    lengths = (longest, T // 2 + 1, 1, max(1, T - 1))
    found = [
        (sizes.batch or batch, sizes.length or length) for batch, length in zip((1, 3, 1, 5), lengths, strict=True)
    ]
    return list(dict.fromkeys(found))


def _packages() -> list[str]:
    """The packages of LOT and of every plugin that is installed."""
    components = (component for kind in KINDS for component in registry().components(kind))
    return sorted({"lot", "lot_cli", *(component.factory.partition(".")[0] for component in components)})
