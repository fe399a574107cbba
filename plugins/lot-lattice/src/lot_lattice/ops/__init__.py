"""Functions on tensors: oscillators, the lattice, synchrony."""
