"""A run on the disk: its directory, its logs, what it ran on; found, loaded, evaluated."""
