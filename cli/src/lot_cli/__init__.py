"""The command line of LOT: thin commands over `lot`, which find everything else through its registry."""
