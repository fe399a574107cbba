"""The contract of the compiled code of a plugin."""

from __future__ import annotations

import abc

import torch


class Kernel(abc.ABC):
    """Compiled code of a plugin."""

    @abc.abstractmethod
    def build(self) -> str:
        """Compile for this machine; one line that says what was built. Raises RunFailed when it cannot."""

    @abc.abstractmethod
    def status(self) -> str:
        """One line: built or not, for what, and which form runs now."""

    @abc.abstractmethod
    def form(self, device: torch.device) -> str:
        """What computes on `device`, built now where it has to be: a name that changes when bits may.

        A run records it in its fingerprint. Raises RunFailed where compiled code is required and cannot be had.
        """
