"""Attention with Kuramoto oscillators: heads coupled on a lattice, and phase-coupled tokens."""
