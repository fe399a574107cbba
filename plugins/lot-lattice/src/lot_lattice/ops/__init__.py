"""Functions on tensors: the dynamics (each fast form beside the slow reference), the lattice, synchrony."""
