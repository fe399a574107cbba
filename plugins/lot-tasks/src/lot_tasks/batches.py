"""Rows of numbers as a batch on a device."""

from __future__ import annotations

import numpy as np
import torch

from lot import Batch


def to_batch(
    inputs: np.ndarray, targets: np.ndarray, device: torch.device | str, segments: np.ndarray | None = None
) -> Batch:
    """The rows on a device as int64, moved in one copy that does not wait for the device; `segments` stay on the CPU."""
    pair = torch.from_numpy(np.stack([inputs, targets]))  # (2, B, T), as narrow as it was stored
    device = torch.device(device)
    if device.type == "cuda":
        pair = pair.pin_memory()
    pair = pair.to(device, non_blocking=True).long()
    return Batch(pair[0], pair[1], segments=None if segments is None else torch.from_numpy(segments))
