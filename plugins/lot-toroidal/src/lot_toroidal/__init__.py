"""Toroidal attention: positions on a ring, head channels stacked as platters."""
