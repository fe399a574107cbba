"""Wave attention, embedding, optimizer, loss and diagnostics for LOT. Importing this package imports no torch."""
