"""Checkpoints: what goes in comes out, damage is seen, nothing half-written is ever found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from lot.errors import BadInput
from lot.storage import checkpoint
from lot.storage.files import remove_leftovers
from lot.storage.folder import digest_of, folder_of, latest_sound, problem_of, prune, saved_steps


def some_state() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    weight = torch.randn(4, 6)
    model = {"a.weight": weight, "tied.weight": weight, "b": torch.randn(6, 4).T, "empty": torch.zeros(0, 3)}
    state = {
        "optimizer": {
            "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(4, 6)}, 1: {"step": torch.tensor(3.0)}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.98), "params": [0, 1], "fused": None}],
        },
        "best": {"value": float("inf"), "step": None},
        "text": "é",
        "flag": True,
        "bf16": torch.randn(3).bfloat16(),
    }
    return model, state


def equal(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))  # type: ignore[arg-type]
    return type(a) is type(b) and a == b


def test_everything_comes_back_with_its_type(tmp_path: Path) -> None:
    model, state = some_state()
    folder = checkpoint.save(tmp_path, 7, model, state)
    loaded = checkpoint.load(folder)
    assert loaded.step == 7
    assert equal(loaded.state, state)
    assert equal(loaded.model, dict(loaded.model))
    for name, tensor in model.items():
        assert torch.equal(loaded.model[name], tensor), name


def test_a_tied_tensor_is_stored_once(tmp_path: Path) -> None:
    model, state = some_state()
    folder = checkpoint.save(tmp_path, 1, model, state)
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["a.weight", "b", "empty"]


def test_overlapping_views_are_stored_apart(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    model = {"all": base, "part": base[3:7]}
    loaded = checkpoint.load(checkpoint.save(tmp_path, 1, model, {}))
    assert torch.equal(loaded.model["part"], base[3:7])


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"])
def test_any_damage_is_seen(tmp_path: Path, name: str) -> None:
    folder = checkpoint.save(tmp_path, 1, *some_state())
    file = folder / name
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    assert problem_of(folder) is None
    for _ in range(60):  # flip one bit anywhere
        broken = bytearray(whole)
        at = int(rng.integers(len(whole)))
        broken[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(broken)
        harmless = name == "MANIFEST.json" and _same_files(whole, bytes(broken))
        assert harmless or problem_of(folder) is not None, f"bit flip at {at} of {name}"
    file.write_bytes(whole[: len(whole) // 2])
    assert problem_of(folder) is not None
    file.unlink()
    assert problem_of(folder) is not None


def _same_files(whole: bytes, broken: bytes) -> bool:
    """Whether a manifest still says the same of the files (a flip in its format number or white space does not matter)."""
    try:
        return bool(json.loads(whole)["files"] == json.loads(broken)["files"])
    except (ValueError, KeyError, TypeError):
        return False


def test_a_file_that_does_not_belong_is_seen(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 1, *some_state())
    (folder / "extra.bin").write_bytes(b"x")
    assert "extra.bin" in str(problem_of(folder))


def test_a_damaged_one_is_set_aside_and_the_one_before_used(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        checkpoint.save(tmp_path, step, *some_state())
    for step in (10, 15):
        (folder_of(tmp_path, step) / "state.json").write_text("{}")
    warnings: list[str] = []
    assert latest_sound(tmp_path, warnings.append) == folder_of(tmp_path, 5)
    assert len(warnings) == 2
    assert saved_steps(tmp_path) == [5]
    assert sorted(p.name for p in tmp_path.glob(".damaged-*")) == [
        ".damaged-step_00000010-0",
        ".damaged-step_00000015-0",
    ]


def test_all_damaged_is_bad_input_and_none_is_lost(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 5, *some_state())
    (folder / "state.json").write_text("{}")
    with pytest.raises(BadInput, match="all 1 checkpoints are damaged"):
        latest_sound(tmp_path, lambda text: None)
    assert len(list(tmp_path.glob(".damaged-*"))) == 1


def test_none_at_all_is_none(tmp_path: Path) -> None:
    assert latest_sound(tmp_path / "absent", lambda text: None) is None


def test_prune_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step in range(1, 7):
        checkpoint.save(tmp_path, step, {"w": torch.ones(1)}, {})
    prune(tmp_path, keep=2, best=3)
    assert saved_steps(tmp_path) == [3, 5, 6]


def test_hostile_content_is_only_data(tmp_path: Path) -> None:
    """A checkpoint with a pickle in place of a tensor file does not load, and nothing in it runs."""
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    folder = checkpoint.save(tmp_path, 1, *some_state())
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    manifest["files"]["model.safetensors"] = digest_of(folder / "model.safetensors")
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    assert problem_of(folder) is None, "the manifest vouches for it"
    with pytest.raises(BadInput, match="not a checkpoint of LOT"):
        checkpoint.load(folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.skipif(os.name != "posix", reason="file-size limits are POSIX")
def test_a_full_disk_leaves_no_half_checkpoint(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import resource, signal, torch
        from pathlib import Path
        from lot.storage import checkpoint
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        folder = Path({str(tmp_path)!r})
        checkpoint.save(folder, 1, {{"w": torch.ones(10)}}, {{}})
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            checkpoint.save(folder, 2, {{"w": torch.ones(1_000_000)}}, {{}})
        except OSError as error:
            print("refused")
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "refused\n", done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["step_00000001"]
    assert problem_of(folder_of(tmp_path, 1)) is None


def test_a_kill_while_pruning_leaves_no_half_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"w": torch.ones(1)}, {})

    def killed(folder: Path, **options: object) -> None:
        if folder.exists():
            (folder / "model.safetensors").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(tmp_path, 1, None)
    assert saved_steps(tmp_path) == [2, 3]
    assert all(problem_of(folder_of(tmp_path, step)) is None for step in (2, 3))
    remove_leftovers(tmp_path)
    prune(tmp_path, 1, None)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000003"]
