"""Passports: made before the first run, kept, and held against each arm."""
