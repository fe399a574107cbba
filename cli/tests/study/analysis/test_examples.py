"""The standard error over test examples: that of a ratio of sums, and what a study shows of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from study_support import Made

from lot.runs.examples import ExampleLosses, load_example_losses
from lot.storage.files import read_json
from lot_cli.study.analysis.examples import over_examples
from lot_cli.study.report.markdown import to_markdown


def save(folder: Path, loss: np.ndarray, scored: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    ExampleLosses(torch.tensor(loss), torch.tensor(scored, dtype=torch.int64), 1).save(folder)
    return folder


def test_it_is_what_the_difference_varies_by_when_other_examples_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scored = rng.integers(1, 30, size=20_000)
    noise = rng.normal(size=(2, 20_000)) * np.sqrt(scored)
    ours, theirs = 2.0 * scored + noise[0], 2.1 * scored + noise[1] + 0.2 * noise[0]
    drawn = rng.integers(0, 20_000, size=(2000, 400))
    differences = ((ours - theirs)[drawn].sum(1)) / scored[drawn].sum(1)
    few = drawn[0]
    found = over_examples(
        [save(tmp_path / "a", ours[few], scored[few])], [save(tmp_path / "b", theirs[few], scored[few])]
    )
    assert found is not None
    assert found.examples == 400
    assert found.error == pytest.approx(differences.std(), rel=0.15)


def test_seeds_are_averaged_and_examples_without_targets_count_for_nothing(tmp_path: Path) -> None:
    scored = np.array([2, 0, 2, 2])
    first, second = np.array([1.0, 0, 3.0, 2.0]), np.array([3.0, 0, 1.0, 2.0])
    ours = [save(tmp_path / "a0", first, scored), save(tmp_path / "a1", second, scored)]
    theirs = [save(tmp_path / f"b{seed}", np.zeros(4), scored) for seed in range(2)]
    found = over_examples(ours, theirs)
    assert found is not None
    assert (found.examples, found.error) == (3, pytest.approx(0.0, abs=1e-12))  # each example has 2 nats on average
    alone = over_examples(ours[:1], theirs[:1])
    assert alone is not None
    # differences of 1, 3 and 2 nats over 6 targets: sqrt(3 / 2 * 2) / 6
    assert alone.error == pytest.approx(np.sqrt(3.0) / 6)


def test_runs_that_kept_none_or_that_do_not_fit_give_none(tmp_path: Path) -> None:
    scored = np.array([2, 2])
    kept = save(tmp_path / "a", np.ones(2), scored)
    assert over_examples([kept], [tmp_path / "nothing"]) is None
    assert over_examples([kept], [save(tmp_path / "b", np.ones(2), np.array([2, 1]))]) is None


def test_a_study_shows_it_beside_its_interval_over_seeds(made: Made) -> None:
    loss, accuracy = (next(c for c in made.result.comparisons if c.metric == m) for m in ("loss", "token_accuracy"))
    assert loss.examples == 16
    assert loss.example_error is not None
    assert 0 < loss.example_error < 1
    assert accuracy.example_error is None
    for row in made.result.runs:
        folder = made.folder / "runs" / row.key
        kept = load_example_losses(folder)
        assert kept is not None
        measured = read_json(folder / "metrics.json")["metrics"]["loss"]
        assert float(kept.loss.sum() / kept.scored.sum()) == pytest.approx(measured, rel=1e-6)
    report = to_markdown(made.result)
    assert "± over examples is the standard error of a difference over the 16 test examples" in report
    assert f"| {loss.example_error:.2g} |" in report
