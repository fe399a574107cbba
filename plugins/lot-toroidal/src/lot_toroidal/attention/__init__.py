"""The mechanisms, one module per component, and the parts that they share."""
