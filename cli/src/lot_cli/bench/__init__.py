"""Benchmarks: paired timings, and the page of their results."""

from lot_cli.bench.harness import Case

__all__ = ["Case"]
