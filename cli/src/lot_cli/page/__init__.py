"""One HTML page that needs nothing else: its elements, its figures, its style. Imports no torch."""
