"""A run as data: its schema, and its values from defaults, a file, flags and --set. Imports no torch."""
