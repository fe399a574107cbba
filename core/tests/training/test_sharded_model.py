"""The sharded model as its owner sees it, in a process group of one; `tests/test_parallel.py` trains it in several."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from toy import toy_config

from lot.contracts import Context
from lot.devices.processes import Team
from lot.errors import BadInput
from lot.training.compose import Composition, compose
from lot.training.parallel import Sharded, gradient_norm

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="needs gloo")


@pytest.fixture(autouse=True)
def group() -> Iterator[None]:
    """A process group of one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def shard(composition: Composition, probed: bool = False) -> Sharded:
    return Sharded(composition.model, Team(0, 1, torch.device("cpu")), compiled=False, probed=probed)


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.full_tensor() if isinstance(t, DTensor) else t for name, t in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_outputs_gradients_and_norms_are_those_of_the_model() -> None:
    composition = compose(toy_config())
    plain = copy.deepcopy(composition.model)
    parallel = shard(composition)
    batch = composition.task.batch("train", 0, 4)
    for model in (plain, parallel.forward):
        output = model(batch.inputs, Context())
        composition.objective(output, batch, Context(), 0)[0].backward()
    assert all(isinstance(p, DTensor) for p in parallel.model.parameters())
    norms = [gradient_norm(model.parameters(), 1e-3) for model in (plain, parallel.model)]
    torch.testing.assert_close(norms[1], norms[0])
    assert not isinstance(norms[1], DTensor)
    for expected, p in zip(plain.parameters(), parallel.model.parameters(), strict=True):
        assert expected.grad is not None
        gradient: Any = p.grad
        torch.testing.assert_close(gradient.full_tensor(), expected.grad)


def test_the_whole_is_a_replica_to_look_into() -> None:
    composition = compose(toy_config())
    parallel = shard(composition, probed=True)
    with torch.no_grad():
        for p in parallel.model.parameters():
            p.add_(1.0)
    whole = parallel.whole()
    assert whole is not None
    assert same(values(whole), values(parallel.model))
    with torch.no_grad():
        for p in whole.parameters():
            p.zero_()
    assert not same(values(whole), values(parallel.model)), "it shares nothing with the model"


class Spoiling(torch.optim.Optimizer):
    """Its step changes everything, and then may fail."""

    def __init__(self, model: nn.Module, fails: bool) -> None:
        self.fails = fails
        super().__init__(model.parameters(), {"lr": 1.0})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.mul_(2.0)
                self.state[p]["seen"] = p.grad
        if self.fails:
            raise NotImplementedError("no such operation, on shards")


@pytest.mark.parametrize("fails", [False, True])
def test_the_rehearsal_of_an_optimizer_leaves_no_trace(fails: bool) -> None:
    parallel = shard(compose(toy_config()))
    before = values(parallel.model)
    if fails:
        with pytest.raises(BadInput, match=r"optim: .*\(no such operation\); choose another, or train.parallel=ddp"):
            parallel.optimizer(lambda model: Spoiling(model, fails))
    else:
        assert not parallel.optimizer(lambda model: Spoiling(model, fails)).state
    assert same(values(parallel.model), before)
    assert all(p.grad is None for p in parallel.model.parameters())


def test_a_parameter_that_is_a_number_is_refused() -> None:
    composition = compose(toy_config())
    composition.model.layers[0].temperature = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(BadInput, match=r"train.parallel: the parameter blocks.0.temperature is a single number"):
        shard(composition)
