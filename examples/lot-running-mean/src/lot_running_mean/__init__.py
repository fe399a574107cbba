"""Attention by a running mean, for LOT."""
