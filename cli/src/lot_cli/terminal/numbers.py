"""Numbers as text, so that the terminal, Markdown and HTML write the same number in the same way.

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

DASH = "–"
"""What stands for a number that is not there."""


def number(value: float | None, absent: str = DASH) -> str:
    """`value` with four significant digits and thousands grouped, or a power of ten from 1e15 on; `absent` where it is None
    or not finite."""
    if value is None or not math.isfinite(value):
        return absent
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:.4g}"


def signed(value: float | None) -> str:
    """A difference with three significant digits, always with its sign."""
    return DASH if value is None else "0" if value == 0 else f"{value:+.3g}"


def ratio(value: float) -> str:
    """A ratio with three significant digits; thousands are grouped."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def interval(low: float | None, high: float | None, text: Callable[[float], str] = signed) -> str:
    """`[low, high]`, each bound written by `text`; empty where there is no interval."""
    return "" if low is None or high is None else f"[{text(low)}, {text(high)}]"


def p_value(value: float | None) -> str:
    """p with three significant digits."""
    return DASH if value is None else "< 0.0001" if value < 1e-4 else f"{value:.3g}"


def p_equals(value: float | None, name: str = "p") -> str:
    """`p = 0.012`, or `p < 0.0001`."""
    text = p_value(value)
    return f"{name} {text}" if text.startswith("<") else f"{name} = {text}"


def compact(value: float | None, unit: str = "") -> str:
    """A quantity with a decimal prefix: `3.1 M`."""
    if value is None:
        return DASH
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".strip()


def seconds(value: float | None) -> str:
    """A duration given in seconds, with the unit that suits it: `12.3 ms`."""
    if value is None:
        return DASH
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def duration(value: float) -> str:
    """A time that people wait for, given in seconds: `40 s`, `12 min`, `3.2 h`."""
    for factor, unit in ((3600.0, "h"), (60.0, "min")):
        if value >= factor:
            return f"{value / factor:,.3g} {unit}"
    return f"{value:.3g} s"


def binary_bytes(value: float) -> str:
    """A number of bytes with a binary prefix: `1.5 MiB`."""
    for exponent, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value >= 2**exponent:
            return f"{value / 2**exponent:.3g} {unit}"
    return f"{value:.0f} B"


def count(amount: int, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def finite_or_null(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """Metrics for JSON, which has no NaN and no infinity: None stands for them."""
    return {key: value if value is not None and math.isfinite(value) else None for key, value in metrics.items()}
