"""Measurements and pictures of toroidal attention."""
