"""The metrics of a task score what they claim: right answers beat wrong ones, and every target counts once."""

from __future__ import annotations

import torch
from torch import Tensor

from lot.contracts import IGNORED, Task
from lot.testing.case import Case
from lot.testing.draws import normal
from lot.testing.failure import require, require_close
from lot.testing.kinds.task_batches import batch_size, make_task

LARGEST_LOGITS = 1 << 22
"""Most numbers in the logits that metrics are tried on, beyond three rows."""


def metrics(case: Case) -> None:
    """Metrics are finite scalars; right answers beat wrong ones; loss and primary metric count every target once."""
    task = make_task(case)
    V, names = task.vocab_size, _compute(task, [])
    for name in ("loss", task.primary):
        require(name in names, "metrics", expected=f"{name!r} among them", got=", ".join(sorted(names)))
    direction = task.metrics()[task.primary].higher_is_better
    require(
        isinstance(direction, bool),
        f"higher_is_better of the primary metric {task.primary!r}",
        expected="True or False",
        got=direction,
        cause="a Metric without the class attribute",
    )

    B = min(batch_size(task, "validation"), max(3, LARGEST_LOGITS // (task.seq_len * V)))
    batch = task.batch("validation", 0, B)
    answer = batch.targets.clamp(min=0)
    right = 20.0 * torch.nn.functional.one_hot(answer, V).float()
    scores = {}
    for name, logits in (("right", right), ("wrong", -right), ("random", normal((B, task.seq_len, V), "logits"))):
        scores[name] = _compute(task, [(logits, batch.targets)])
        for metric, value in scores[name].items():
            require(
                value == value and abs(value) != float("inf"),
                f"metric {metric} of {name} answers",
                expected="a finite number",
                got=value,
            )
    if V > 1:
        best, worst = scores["right"][task.primary], scores["wrong"][task.primary]
        require(
            best > worst if direction else best < worst,
            f"primary metric {task.primary!r} of right answers",
            expected=f"better than the {worst:.4g} of wrong ones ({'higher' if direction else 'lower'} is better)",
            got=f"{best:.4g}",
            cause="a shifted target, or a higher_is_better that is the wrong way round",
        )

    logits = normal((B, task.seq_len, V), "logits")
    elsewhere = torch.where((batch.targets == IGNORED)[..., None], 9.0 * normal(tuple(logits.shape), "other"), logits)
    _require_equal_scores(
        _compute(task, [(elsewhere, batch.targets)]),
        scores["random"],
        "after logits of ignored targets were replaced",
        "a score over all positions",
    )
    if B > 2:
        # Parts of unequal size and unequal score: an average of averages differs from the average.
        _require_sums(task, torch.cat((right[:1], logits[1:])), batch.targets)


def _require_sums(task: Task, logits: Tensor, targets: Tensor) -> None:
    """Two unequal batches give what the same rows give in one batch: each metric keeps a sum and a count."""
    # Only these two: another metric may be the average that its source published.
    whole = {
        name: value for name, value in _compute(task, [(logits, targets)]).items() if name in ("loss", task.primary)
    }
    _require_equal_scores(
        _compute(task, [(logits[:1], targets[:1]), (logits[1:], targets[1:])]),
        whole,
        "of two unequal batches against the same rows in one",
        "an average of the averages of batches; keep a sum and a count instead",
    )


def _compute(task: Task, updates: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    import torchmetrics

    collection = task.metrics()
    require(
        isinstance(collection, torchmetrics.MetricCollection),
        "metrics()",
        expected="a torchmetrics.MetricCollection",
        got=type(collection).__name__,
    )
    if not updates:
        return {str(name): 0.0 for name in collection}
    for logits, targets in updates:
        collection.update(logits, targets)
    found = collection.compute()
    for name, value in found.items():
        require(
            isinstance(value, Tensor) and value.numel() == 1,
            f"metric {name}",
            expected="a scalar",
            got=str(getattr(value, "shape", value)),
        )
    return {name: float(value) for name, value in found.items()}


def _require_equal_scores(got: dict[str, float], expected: dict[str, float], what: str, cause: str) -> None:
    for name, value in expected.items():
        require_close(
            torch.tensor(got[name]),
            torch.tensor(value),
            1e-4,
            f"metric {name} {what}",
            scale=max(1.0, abs(value)),
            cause=cause,
        )
