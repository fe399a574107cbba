"""Fails as soon as it is imported."""

raise RuntimeError("this plugin is broken on purpose")
