"""A run that is killed at any moment and resumed gives the very weights and log of one that was not.

Runs are children of a fork server that has imported torch already; a child is told where to send itself SIGKILL.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from pathlib import Path

import pytest
from faults.rounds import ROUNDS
from killing import ARMS, child

from lot.storage.folder import folder_of, saved_steps

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
CONTEXT = multiprocessing.get_context("forkserver")
# Optimizers import torch._dynamo; all imports together take longer than the runs.
CONTEXT.set_forkserver_preload(
    ["torch._dynamo", "torchmetrics", "tensorboardX", "lot.training.train", "lot_lattice.attention.lattice"]
)


def run(arm: str, folder: Path, resume: bool, kill: tuple[str, int] | None) -> int:
    """Train in a child, which kills itself at the n-th call of a function if told so; its exit code."""
    process = CONTEXT.Process(target=child, args=(arm, str(folder), resume, kill))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the child hangs"
    return process.exitcode


def outcome(folder: Path) -> dict[str, bytes]:
    """All that must be equal: the log, the final metrics, and every surviving checkpoint's tensors."""
    files = [folder / "metrics.jsonl", folder / "metrics.json"]
    for step in saved_steps(folder / "checkpoints"):
        files += sorted(folder_of(folder / "checkpoints", step).glob("*.safetensors"))
    files += sorted((folder / "snapshots").rglob("*.safetensors"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture(scope="module", params=list(ARMS))
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    """An uninterrupted run of each arm."""
    folder = tmp_path_factory.mktemp("reference") / request.param
    assert run(request.param, folder, resume=False, kill=None) == 0
    return request.param, outcome(folder)


def test_killed_anywhere_then_resumed_is_bit_equal(reference: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    arm, expected = reference
    rng = random.Random(arm)
    points = [("train_step", rng.randint(2, 24)), ("write_log", rng.randint(1, 4)), ("replace", 1)]
    points += [(name, rng.randint(2, 12)) for _ in range(ROUNDS) for name in ("fsync", "rename", "replace")]
    for number, point in enumerate(points):
        folder = tmp_path / str(number)
        limit = {"rename": 3}.get(point[0])
        kill = (point[0], min(point[1], limit) if limit else point[1])
        assert run(arm, folder, resume=False, kill=kill) == -signal.SIGKILL, f"{kill} was never reached"
        again = ("train_step", rng.randint(1, 6))
        if (
            run(arm, folder, resume=True, kill=again) != 0
        ):  # killed once more while resuming, unless it was done already
            assert run(arm, folder, resume=True, kill=None) == 0
        found = outcome(folder)
        assert found.keys() == expected.keys(), f"killed at {kill}"
        differing = [name for name in expected if found[name] != expected[name]]
        assert not differing, f"killed at {kill}: {differing} differ"
        assert not list(folder.rglob("*.tmp")), f"killed at {kill}: temporary files are left"


def test_runs_repeat_and_seeds_differ(reference: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    arm, expected = reference
    assert run(arm, tmp_path / "again", resume=False, kill=None) == 0
    assert outcome(tmp_path / "again") == expected
