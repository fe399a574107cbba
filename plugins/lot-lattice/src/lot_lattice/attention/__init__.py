"""The mechanisms, one module per component, with their slow reference."""
