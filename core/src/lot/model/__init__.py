"""The decoder: built, measured, used to generate."""
