"""The package of a plugin: written from templates, and extended by another component."""
