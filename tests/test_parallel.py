"""Several processes, whole copies (DDP) or shards (FSDP2): they train as one does, and read each other's checkpoints."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from support import TINY
from together import ARMS, MODEL, PARALLEL, STEPS, config, cut, same

from lot.config.load import load_config
from lot.errors import BadInput
from lot.inspection.evaluate import evaluate
from lot.runs.directory import RunDir
from lot.storage import checkpoint
from lot.storage.folder import folder_of, latest_sound, problem_of, saved_steps
from lot.training.compose import compose
from lot.training.train import train

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not torch.distributed.is_gloo_available(), reason="needs gloo, and /proc for faults"
)
Found = list[dict[str, Any]]
TESTS = Path(__file__).parent


def together(scenario: str, folder: Path, processes: int, *options: str) -> Found:
    """What each process found."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH")))),
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # the shared store outlives a restart and stalls it
    }
    command = [*launcher, *options, str(TESTS / "together.py"), scenario, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{scenario}-{rank}.json").read_text()) for rank in range(processes)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scenarios leave their runs."""
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def compared(folder: Path) -> Found:
    """Every arm in two processes."""
    return together("compare", folder, 2)


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, dict[str, float]]:
    """Every arm in one process, where `fsdp` has nothing to shard."""
    return {arm: train(config(arm, "fsdp", steps=STEPS[arm]), folder / arm).metrics for arm in ARMS}


def rows(run: Path) -> list[dict[str, Any]]:
    return [row for row in RunDir(run).rows() if "split" in row or "diagnostic" in row]


def require_close(run: Path, reference: Path, tolerance: float) -> None:
    """The logs of two runs tell the same story, and their last weights are the same up to rounding."""
    assert len(rows(run)) == len(rows(reference))
    for row, expected in zip(rows(run), rows(reference), strict=True):
        assert row.keys() == expected.keys()
        for key, value in expected.items():
            near = pytest.approx(value, rel=tolerance, abs=tolerance) if isinstance(value, float) else value
            assert row[key] == near, f"{key} at step {row['step']}"
    step = saved_steps(reference / "checkpoints")[-1]
    ours, theirs = (checkpoint.load(folder_of(r / "checkpoints", step)).model for r in (run, reference))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("how", PARALLEL)
@pytest.mark.parametrize("arm", ARMS)
def test_two_train_as_one(
    arm: str, how: str, folder: Path, compared: Found, alone: dict[str, dict[str, float]]
) -> None:
    """Also where rows have different numbers of scored targets, and where validation batches do not come out even."""
    # Muon orthogonalizes in bfloat16.
    require_close(folder / f"{arm}-{how}", folder / arm, 5e-3 if arm == "muon" else 2e-5)
    for found in compared:
        assert found[f"{arm}-{how}"]["metrics"]["loss"] == pytest.approx(alone[arm]["loss"], rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"attn": {"name": "lattice"}}, "attn: this attention needs whole sequences; set train.context_parallel=1"),
        (
            {"attn": {**ARMS["ring"]["attn"], "layers": {1: {"name": "vanilla"}}}},
            "attn.layers.1: this attention needs whole sequences",
        ),
        (
            {"train": {"context_parallel": 3}},
            "train.context_parallel: expected a divisor of the task's 16 tokens, got 3",
        ),
        ({"task": {**TINY["task"], "seq_len": 14}}, "attn.balance: expected an even number of positions per process"),
        ({"losses": {"wave_coherence": {}}}, "losses.wave_coherence: this loss needs whole sequences"),
    ],
)
def test_sequences_that_cannot_be_spread_are_refused_at_once(changes: dict[str, Any], told: str | None) -> None:
    tree = {**TINY, "model": MODEL, **ARMS["ring"], **changes}
    with nullcontext() if told is None else pytest.raises(BadInput, match=re.escape(told)):
        compose(load_config(tree))


def test_shards_are_shards(folder: Path, compared: Found) -> None:
    """Each process has written about half, and nothing is in two files as a whole."""
    saved = folder_of(folder / "lattice-fsdp/checkpoints", 24)
    sizes = [path.stat().st_size for path in sorted(saved.glob("shard-*-model-00001-of-00002.safetensors"))]
    assert len(sizes) == 2
    assert max(sizes) < 1.2 * min(sizes)
    manifest = json.loads((saved / "MANIFEST.json").read_text())["files"]
    assert {path.name for path in saved.iterdir()} == {*manifest, "MANIFEST.json"}
    assert problem_of(saved) is None
    assert json.loads((folder / "lattice-fsdp/run.json").read_text())["fingerprint"]["parallel"] == "fsdp"


def test_what_cannot_be_shared_or_sharded_is_refused(folder: Path, compared: Found) -> None:
    for found in compared:
        assert found["wave"]["code"] == found["batch"]["code"] == found["held-ddp"]["code"] == 2
        assert found["wave"]["error"].startswith("optim: this optimizer does not work on sharded parameters (aten.")
        assert found["wave"]["error"].endswith("choose another, or train.parallel=ddp")
        assert found["batch"]["error"] == "train.batch_size: expected a multiple of the 2 processes, got 5"
        assert found["span"]["error"] == "train.context_parallel: expected a divisor of the 2 processes, got 3"
        assert "holds a run already" in found["held-ddp"]["error"]
    assert not (folder / "wave").exists()
    assert not (folder / "batch").exists()


@pytest.mark.parametrize("case", ["full-ddp-0", "full-fsdp-0", "full-fsdp-1"])
def test_a_disk_that_is_full_for_one_stops_all(case: str, folder: Path, compared: Found) -> None:
    for found in compared:
        assert found[case]["code"] == 3
        assert "storage failed at step 8: [Errno 28] No space left on device" in found[case]["error"]
    assert saved_steps(folder / case / "checkpoints") == [6]
    assert problem_of(folder_of(folder / case / "checkpoints", 6)) is None
    assert not list((folder / case).rglob("*.tmp"))
    assert RunDir(folder / case).status()["exit_code"] == 3


def test_four_read_what_two_wrote(folder: Path, compared: Found, alone: dict[str, dict[str, float]]) -> None:
    """To identical values, sharded or not, optimizer included; and go on from there."""
    for found in together("elsewhere", folder, 4):
        for source in PARALLEL:
            for target in PARALLEL:
                assert found[f"{source} to {target}"], f"{source} to {target}"
    for how in PARALLEL:
        require_close(folder / f"resumed-{how}", folder / "lattice", 2e-5)
    for span in (2, 4):
        require_close(folder / f"ring-of-{span}", folder / "ring", 2e-5)


def test_one_reads_what_two_wrote(folder: Path, compared: Found, alone: dict[str, dict[str, float]]) -> None:
    measured = evaluate(folder / "lattice-fsdp", device="cpu")["metrics"]
    assert measured["loss"] == pytest.approx(compared[0]["lattice-fsdp"]["metrics"]["loss"], rel=1e-6)
    cut(folder / "lattice-fsdp", folder / "resumed-alone", 18)
    result = train(None, folder / "resumed-alone", resume=True)
    assert result.step == 24
    assert math.isfinite(result.metrics["loss"])
    require_close(folder / "resumed-alone", folder / "lattice", 2e-5)


def test_the_best_shards_are_tested(folder: Path, compared: Found) -> None:
    """Where the last step is not the best, the best is loaded back into the shards."""
    document = json.loads((folder / "wild/metrics.json").read_text())
    assert document["step"] < document["steps"]
    measured = evaluate(folder / "wild", device="cpu")
    assert measured["step"] == document["step"]
    for found in compared:
        assert found["wild"]["metrics"]["loss"] == pytest.approx(measured["metrics"]["loss"], rel=1e-6)


def test_a_damaged_shard_is_noticed(folder: Path, compared: Found) -> None:
    cut(folder / "lattice-fsdp", folder / "damaged", 24)
    saved = folder_of(folder / "damaged/checkpoints", 24)
    shard = saved / "shard-00002-model-00001-of-00002.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert problem_of(saved) == f"{shard.name} does not match its checksum"
    shard.unlink()
    assert problem_of(saved) == f"{shard.name} is missing"
    warnings: list[str] = []
    newest = latest_sound(folder / "damaged/checkpoints", warnings.append)
    assert newest == folder_of(folder / "damaged/checkpoints", 18)
    assert len(warnings) == 1


def test_sequences_that_are_spread_are_probed_as_they_are_trained(folder: Path) -> None:
    """By both processes, at global places: also a leak at the one place between the two, and one in the gradient alone."""
    for found in together("leaking", folder, 2):
        for name, words in (
            ("border", ["with the inputs from position 8 on replaced", "at position 7", "training mode"]),
            ("gradient", ["the gradient of logits reaches an input at position", "training mode"]),
        ):
            assert found[name]["code"] == 2
            for word in ("attention toroidal_ring sees what it is asked to predict", *words):
                assert word in found[name]["error"]
        assert "loss" in found["none"]["metrics"]
        assert "loss" in found["allowed"]["metrics"]
    assert not (folder / "leaking-border").exists()
    sound, allowed = (json.loads((folder / f"leaking-{name}/run.json").read_text()) for name in ("none", "allowed"))
    assert (sound["leak"], sound["leak_probe"]["status"]) == (False, "passed")
    assert (allowed["leak"], allowed["leak_probe"]["status"]) == (True, "leak")


def test_torchrun_restarts_after_a_killed_process(folder: Path, compared: Found) -> None:
    """Killed inside a save, it comes to the very log, snapshots and weights of the run that nobody killed."""
    for found in together("killed", folder, 2, "--max-restarts=1"):
        assert found["restarts"] == "1"
        assert found["metrics"] == compared[0]["lattice-fsdp"]["metrics"]
    killed, reference = folder / "killed", folder / "lattice-fsdp"
    assert (killed / "metrics.jsonl").read_bytes() == (reference / "metrics.jsonl").read_bytes()
    assert not list(killed.rglob("*.tmp"))
    for path in (reference / "snapshots").rglob("*.safetensors"):
        assert (killed / path.relative_to(reference)).read_bytes() == path.read_bytes()
    assert saved_steps(killed / "checkpoints") == saved_steps(reference / "checkpoints")
    for step in saved_steps(reference / "checkpoints"):
        ours, theirs = (checkpoint.load(folder_of(r / "checkpoints", step)) for r in (killed, reference))
        assert same(ours.model, theirs.model)
        assert same(*({**found.state, "timing_bytes": None} for found in (ours, theirs)))
