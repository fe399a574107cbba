"""The line that moves: at 80 columns it has the steps, the loss, the metric and the time left, and room for ^C."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lot_cli.terminal.progress_line import FREE, ProgressLine

FACTS = "loss 0.01234  val token_accuracy 0.9961  R 0.3142  123,456 tokens/s"


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_line_fits(width: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    line = ProgressLine(console)
    line.begin(100_000, 12_345)
    line.update(12_400, FACTS)
    assert line._progress is not None
    (shown,) = line._progress.get_renderables()
    line.end()
    plain = Console(file=io.StringIO(), width=width)
    with plain.capture() as captured:
        plain.print(shown)
    (text,) = captured.get().splitlines()
    assert len(text.rstrip()) <= width - FREE
    for part in ("12400/100000", "loss 0.01234", "val token_accuracy 0.9961", "-:--:--"):
        assert part in text
    assert ("123,456 tokens/s" in text) == (width == 160)
