"""The mechanisms, one module per component, and their slow reference."""
