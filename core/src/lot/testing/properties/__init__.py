"""One property per module, checked for every kind that promises it."""
