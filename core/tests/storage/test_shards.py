"""The sharded form of a checkpoint, written by one process; `tests/test_parallel.py` has several."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from lot.devices.processes import Team
from lot.storage import checkpoint, shards
from lot.storage.folder import problem_of
from lot.storage.tree import numbers, take_tensors

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="needs gloo")
ALONE = Team(0, 1, torch.device("cpu"))


@pytest.fixture(autouse=True)
def group() -> Iterator[None]:
    """A process group of one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def sharded(tensor: torch.Tensor) -> DTensor:
    return distribute_tensor(tensor, init_device_mesh("cpu", (1,)), [Shard(0)])


def some_state() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    buffer = torch.arange(5)
    model = {"w": sharded(torch.randn(6, 4)), "half": sharded(torch.randn(3).bfloat16()), "buffer": buffer}
    moments = {"exp_avg": sharded(torch.randn(6, 4)), "step": torch.tensor(3.0), "none": torch.zeros(0, 2)}
    optimizer = {"state": {0: moments}, "param_groups": [{"betas": (0.9, 0.98), "params": [0], "fused": None}]}
    return model, {"optimizer": optimizer, "best": {"value": float("inf"), "step": None}, "flag": torch.tensor(True)}


def plain(tree: Any) -> Any:
    if isinstance(tree, DTensor):
        return tree.full_tensor()
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    return type(tree)(map(plain, tree)) if isinstance(tree, (list, tuple)) else tree


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def test_both_forms_hold_the_same(tmp_path: Path) -> None:
    model, state = some_state()
    for name in ("shards", "whole"):
        (tmp_path / name).mkdir()
    apart = shards.save(tmp_path / "shards", 7, model, state, ALONE)
    whole = checkpoint.save(tmp_path / "whole", 7, plain(model), plain(state))
    found, expected = checkpoint.load(apart), checkpoint.load(whole)
    assert found.step == expected.step == 7
    assert found.model.keys() == model.keys()
    assert all(equal(found.model[name], expected.model[name]) for name in model)
    assert equal(found.state, expected.state)
    assert equal(found.state, plain(state))
    assert problem_of(apart) is None


@pytest.mark.parametrize("form", ["shards", "whole"])
def test_what_is_loaded_is_placed_like_what_is_there(tmp_path: Path, form: str) -> None:
    model, state = some_state()
    if form == "shards":
        folder = shards.save(tmp_path, 7, model, state, ALONE)
    else:
        folder = checkpoint.save(tmp_path, 7, plain(model), plain(state))
    like = checkpoint.Checkpoint(0, *some_state())
    found = checkpoint.load(folder, like=like)
    assert equal(plain(found.model["w"]), plain(model["w"]))
    assert isinstance(found.model["w"], DTensor)
    assert not isinstance(found.model["buffer"], DTensor)
    moments = found.state["optimizer"]["state"][0]
    assert isinstance(moments["exp_avg"], DTensor)
    assert not isinstance(moments["step"], DTensor)
    assert equal(plain(found.state), plain(state))
    assert checkpoint.load(folder, like=like, state=False).state == {}


def test_a_tensor_of_another_shape_comes_whole(tmp_path: Path) -> None:
    """So that whoever copies it into the model can say what differs."""
    folder = shards.save(tmp_path, 1, {"w": sharded(torch.ones(6, 4))}, {}, ALONE)
    like = checkpoint.Checkpoint(0, {"w": sharded(torch.ones(5, 4))}, {})
    assert checkpoint.load(folder, like=like).model["w"].shape == (6, 4)


def test_a_sound_checkpoint_is_kept(tmp_path: Path) -> None:
    first = shards.save(tmp_path, 1, {"w": torch.ones(2)}, {}, ALONE)
    assert shards.save(tmp_path, 1, {"w": torch.zeros(2)}, {}, ALONE) == first
    assert torch.equal(checkpoint.load(first).model["w"], torch.ones(2))
    assert [entry.name for entry in tmp_path.iterdir()] == [first.name], "nothing temporary is left"


def test_facts_need_no_tensors(tmp_path: Path) -> None:
    folder = shards.save(tmp_path, 1, *some_state(), ALONE)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    facts = checkpoint.facts(folder)
    assert facts["best"] == {"value": float("inf"), "step": None}
    assert facts["optimizer"]["state"][0]["step"] is None


def test_tensors_of_a_skeleton_are_found_where_they_are() -> None:
    a, b = torch.ones(1), torch.ones(2)
    tensors: dict[str, torch.Tensor] = {}
    skeleton = json.loads(json.dumps(take_tensors({"x": [1, (a, b)], "again": a}, tensors)))
    assert tensors == {"0": a, "1": b}
    assert numbers(skeleton) == {"0": None, "1": None}
    like = {"x": [1, (b, None)]}
    assert numbers({"$dict": [["x", skeleton["$dict"][0][1]]]}, like) == {"0": b, "1": None}
