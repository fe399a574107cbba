"""The loss of every test example, kept beside the metrics of a run, so that two runs can be compared example by example."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lot.contracts import IGNORED
from lot.errors import BadInput
from lot.storage.files import created_as_usual, temporary_name

FILE = "test_examples.safetensors"
"""In the directory of a run: `loss` (N,) float32, sums in nats, and `scored` (N,) int32, numbers of targets."""
MOST = 4096
"""Rows of the file at most, which bounds it to 33 kB; of a larger split, neighbors share a row."""


class ExampleLosses(NamedTuple):
    """Sums over test examples, or over groups of neighbors of equal size."""

    loss: Tensor
    """(N,) float64, nats, summed over the scored targets of a row."""
    scored: Tensor
    """(N,) int64, scored targets of a row."""
    size: int
    """Examples that share a row; the last one may have fewer."""

    def add(self, logits: Tensor, targets: Tensor, first: int, positions: Tensor | None = None) -> None:
        """Count a batch: logits (B, T, V), targets (B, T) int64. first: the place of its first example in the split.

        positions: of the tokens, which make no difference here.
        """
        losses = F.cross_entropy(
            logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        rows = (first + torch.arange(len(targets))) // self.size
        self.loss.index_add_(0, rows, losses.view_as(targets).double().sum(1).cpu())
        self.scored.index_add_(0, rows, (targets != IGNORED).sum(1).cpu())

    def save(self, run: Path) -> None:
        """Write the file of the run, whole or not at all. Raises OSError."""
        from safetensors.torch import save_file

        final = run / FILE
        temporary = temporary_name(final)
        try:
            with created_as_usual(temporary):
                save_file({"loss": self.loss.float(), "scored": self.scored.int()}, temporary, {"size": str(self.size)})
            temporary.replace(final)
        except Exception as error:
            temporary.unlink(missing_ok=True)
            raise OSError(str(error)) from error


def new_example_losses(examples: int) -> ExampleLosses:
    """Zeros, for a split of so many examples."""
    size = max(1, -(-examples // MOST))
    rows = -(-examples // size)
    return ExampleLosses(torch.zeros(rows, dtype=torch.float64), torch.zeros(rows, dtype=torch.int64), size)


def load_example_losses(run: Path) -> ExampleLosses | None:
    """What the run wrote; None where it wrote nothing. Raises BadInput for a damaged file."""
    from safetensors import SafetensorError, safe_open

    path = run / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            size = int(file.metadata()["size"])
            return ExampleLosses(file.get_tensor("loss").double(), file.get_tensor("scored").long(), size)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: damaged ({error})", fix="restore it, or remove it to go on without it") from None
