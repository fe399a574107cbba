"""How the command line speaks: tables, progress, names, errors."""
