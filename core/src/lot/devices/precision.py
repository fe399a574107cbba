"""The precision of a run: float32, or bfloat16 where the device has it."""

from __future__ import annotations

import torch


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Autocast to bfloat16 where `precision` is "bf16", nothing otherwise."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def choose_precision(precision: str, device: torch.device) -> str:
    """ "fp32" or "bf16"; `auto` is bf16 on a GPU that has it."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
