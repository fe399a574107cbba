"""Figures as text, the same in terminal, Markdown and HTML."""

from __future__ import annotations

from typing import Any


def number(value: float | None) -> str:
    """Four significant digits, thousands grouped; a dash where there is none."""
    if value is None:
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def signed(value: float | None) -> str:
    """A difference: three significant digits, always with its sign."""
    return "–" if value is None else "0" if value == 0 else f"{value:+.3g}"


def interval(low: float | None, high: float | None, text: Any = signed) -> str:
    """`[low, high]`, or nothing where there is none."""
    return "" if low is None or high is None else f"[{text(low)}, {text(high)}]"


def p_value(value: float | None) -> str:
    """p with three significant digits."""
    return "–" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.3g}"


def p_equals(value: float | None, name: str = "p") -> str:
    """`p = 0.012`, or `p < 0.0001`."""
    text = p_value(value)
    return f"{name} {text}" if text.startswith("<") else f"{name} = {text}"


def compact(value: float | None, unit: str = "") -> str:
    """A quantity with a prefix: 3.1 M."""
    if value is None:
        return "–"
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".strip()


def seconds(value: float | None) -> str:
    """A duration: 12.3 ms."""
    if value is None:
        return "–"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} µs"


def count(number: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
