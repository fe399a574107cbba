"""The lattice of each layer, read off the model that is measured."""

from __future__ import annotations

from lot import Probe
from lot_lattice.attention.lattice import LatticeAttention
from lot_lattice.ops.synchrony import by_layer


def lattice_shapes(probe: Probe) -> dict[int, tuple[int, ...]]:
    """The lattice of every layer whose signal `phase` is that of heads on a lattice."""
    phases = by_layer(probe.output, "phase")
    found = {
        module.dims.layer: module.shape
        for module in probe.model.modules()
        if isinstance(module, LatticeAttention) and module.dims.layer in phases and phases[module.dims.layer].dim() == 3
    }
    return dict(sorted(found.items()))
