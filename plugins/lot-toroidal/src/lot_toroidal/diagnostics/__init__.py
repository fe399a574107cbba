"""Measurements and pictures of toroidal attention, one module per component."""
