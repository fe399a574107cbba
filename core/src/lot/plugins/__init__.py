"""A component that is not built yet: declared, found, looked up. Imports no torch."""
