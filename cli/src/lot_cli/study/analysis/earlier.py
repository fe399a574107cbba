"""Earlier looks at the same runs: a second look makes errors more frequent than p says,
so the report tells of it."""

from __future__ import annotations

from lot_cli.study.design.plan import digest
from lot_cli.study.result import EarlierLook, Result


def earlier_looks(previous: Result | None, result: Result) -> list[EarlierLook]:
    """Results that gave verdicts on some of the runs of `result`, but with other seeds, arms,
    metrics or margins.

    A reader who looks, adds seeds and looks again finds a difference too often,
    and no p value knows of it.
    previous: the result that `result` replaces. A look that could give no verdict tempts no
    reader, and is left out.
    """
    if previous is None or not _keys(previous) & _keys(result):
        return []
    judged = any(c.verdict not in ("too few pairs", "diverged") for c in previous.comparisons)
    if not judged or _asked(previous) == _asked(result):
        return previous.earlier
    look = EarlierLook(
        date=previous.date,
        seeds=len(previous.seeds),
        arms=list(previous.arms),
        metrics=list(previous.metrics),
    )
    return [*previous.earlier, look]


def _keys(result: Result) -> set[str]:
    return {row.key for row in result.runs}


def _asked(result: Result) -> str:
    """What a result was asked, as one digest."""
    study = result.study
    return digest([sorted(result.seeds), study.arms, result.metrics, study.equivalence, study.alpha])
