"""Recorders: where the rows of a run can go beside its own log, one module per component."""
