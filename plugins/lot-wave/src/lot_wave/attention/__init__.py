"""The mechanisms, one module per component."""
