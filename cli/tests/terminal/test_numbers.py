"""Numbers as text."""

from __future__ import annotations

import pytest

from lot_cli.terminal import numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (numbers.number(None), "–"),
        (numbers.number(12345.6), "12,346"),
        (numbers.number(8.2964e24), "8.296e+24"),
        (numbers.number(float("nan"), absent="not finite"), "not finite"),
        (numbers.signed(0.01234), "+0.0123"),
        (numbers.signed(0.0), "0"),
        (numbers.interval(-1.0, 2.5), "[-1, +2.5]"),
        (numbers.interval(None, 2.5), ""),
        (numbers.p_equals(0.0123), "p = 0.0123"),
        (numbers.p_equals(1e-9), "p < 0.0001"),
        (numbers.compact(1.23e9, "B"), "1.23 GB"),
        (numbers.compact(12.0), "12"),
        (numbers.seconds(2.5e-5), "25 µs"),
        (numbers.seconds(1.5), "1.5 s"),
        (numbers.seconds(3e-8), "30 ns"),
        (numbers.binary_bytes(1536), "1.5 KiB"),
        (numbers.ratio(12345.6), "12,346"),
    ],
)
def test_numbers_in_words(text: str, expected: str) -> None:
    assert text == expected
