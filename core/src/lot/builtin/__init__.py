"""The core's own components, laid out as those of any plugin."""
