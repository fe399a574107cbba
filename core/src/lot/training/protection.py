"""Protects a run from its diagnostics: they see no test data, and what they change is noticed.

A diagnostic is code of a plugin that is handed the model in the middle of training. One that trains, or that looks at the
test split, would decide a comparison without a trace in the configuration.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lot.contracts import Batch, Split, Task
from lot.errors import RunFailed
from lot.storage.tree import is_sharded
from lot.training.generators import GeneratorStates

if TYPE_CHECKING:
    import torchmetrics

COPIED = 1 << 20
"""Numbers up to which a tensor is copied and compared exactly; of a larger one, two sums in float64 are compared."""


class TaskWithoutTest(Task):
    """The task of a run as a diagnostic may use it: everything but the test split."""

    def __init__(self, task: Task, diagnostic: str) -> None:
        self._task, self._diagnostic = task, diagnostic
        self.asked = False
        self.vocab_size, self.seq_len, self.causal = task.vocab_size, task.seq_len, task.causal
        self.token_counts, self.primary, self.origin = task.token_counts, task.primary, task.origin
        self.segments = task.segments

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        """As the task. Raises RunFailed for the test split."""
        self._refuse_test(split)
        return self._task.batch(split, index, size, device)

    def length(self, split: Split) -> int | None:
        """As the task. Raises RunFailed for the test split."""
        self._refuse_test(split)
        return self._task.length(split)

    def metrics(self) -> torchmetrics.MetricCollection:
        """As the task."""
        return self._task.metrics()

    def decode(self, ids: Any) -> str:
        """As the task."""
        return self._task.decode(ids)

    def encode(self, text: str) -> list[int]:
        """As the task."""
        return self._task.encode(text)

    def assets(self) -> dict[str, bytes]:
        """As the task."""
        return self._task.assets()

    def __getattr__(self, name: str) -> Any:
        """What a task has beyond the contract."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._task, name)

    def refusal(self) -> RunFailed:
        """The error that names the diagnostic."""
        return RunFailed(
            f"diagnostic {self._diagnostic} asked for the test split; it may read train and validation only"
        )

    def _refuse_test(self, split: Split) -> None:
        if split == "test":
            self.asked = True
            raise self.refusal()


@contextlib.contextmanager
def unchanged(name: str, models: Sequence[nn.Module], optimizer: torch.optim.Optimizer | None) -> Iterator[None]:
    """A context for the diagnostic `name`. Raises RunFailed, naming what it changed of models, optimizer or generators."""
    tensors, facts, generators = _tensors(models, optimizer), _facts(models, optimizer), GeneratorStates()
    prints = {key: _print(tensor) for key, tensor in tensors.items()}
    yield
    now = _tensors(models, optimizer)
    changed = [
        key for key in {**tensors, **now} if key not in now or key not in prints or not _is(now[key], prints[key])
    ]
    after = _facts(models, optimizer)
    changed += [key for key in {**facts, **after} if facts.get(key) != after.get(key)]
    changed += [f"the generator of {library}" for library in generators.changed()]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise RunFailed(f"diagnostic {name} changed the run, which it may only measure: {', '.join(changed[:3])}{more}")


def _tensors(models: Sequence[nn.Module], optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """Everything of the run that is numbers, by a name for people."""
    found: dict[str, Tensor] = {}
    names: dict[Tensor, str] = {}
    for model in models:
        for name, p in model.named_parameters():
            names[p] = name
            found[f"parameter {name}"] = p
            if p.grad is not None:
                found[f"the gradient of {name}"] = p.grad
        found.update({f"buffer {name}": buffer for name, buffer in model.named_buffers()})
    for owner, state in optimizer.state.items() if optimizer is not None else ():
        of = f"of {names.get(owner, 'a parameter')} in the optimizer"
        found.update({f"{key} {of}": value for key, value in state.items() if isinstance(value, Tensor)})
    return found


def _facts(models: Sequence[nn.Module], optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    """Everything of the run that is no numbers, by a name for people."""
    found: dict[str, Any] = {"a hook on every module": _hooks(nn.modules.module, "_global_")}
    if optimizer is not None:
        groups = optimizer.param_groups
        found["the settings of the optimizer"] = [
            {key: value for key, value in group.items() if key != "params"} for group in groups
        ]
        found["the parameters of the optimizer"] = [[id(p) for p in group["params"]] for group in groups]
        found["a hook on the optimizer"] = _hooks(optimizer)
    for model in models:
        for path, module in model.named_modules():
            who = path or "the model"
            found[f"a hook on {who}"] = _hooks(module)
            found[f"the training mode of {who}"] = module.training
            found[f"the forward of {who}"] = vars(module).get("forward")
            found[f"the signals asked of {who}"] = getattr(module, "want", None)
        for name, p in model.named_parameters():
            found[f"a hook on parameter {name}"] = list(p._backward_hooks or ())
            found[f"whether parameter {name} is trained"] = p.requires_grad
    return found


def _hooks(owner: Any, prefix: str = "_") -> dict[str, list[int]]:
    """The functions in each table of hooks of a module, of an optimizer or of torch."""
    tables = {key: value for key, value in vars(owner).items() if key.startswith(prefix) and key.endswith("_hooks")}
    return {key: [id(hook) for hook in hooks.values()] for key, hooks in tables.items() if isinstance(hooks, dict)}


def _print(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The tensor itself, and what tells whether its numbers change."""
    local = _local(tensor)
    return tensor, _sums(local) if local.numel() > COPIED else local.clone()


def _is(tensor: Tensor, kept: tuple[Tensor, Tensor]) -> bool:
    """Whether a tensor is the one that was kept, with the same numbers."""
    before, numbers = kept
    if tensor is not before:
        return False
    now = _local(tensor)
    now = _sums(now) if now.numel() > COPIED else now
    if now.shape != numbers.shape or now.dtype != numbers.dtype:
        return False
    return torch.equal(now, numbers) or bool(((now == numbers) | (now.isnan() & numbers.isnan())).all())


def _local(tensor: Tensor) -> Tensor:
    """What this process has of a tensor."""
    local: Any = tensor.detach()
    return local.to_local() if is_sharded(local) else local  # type: ignore[no-any-return]


def _sums(tensor: Tensor) -> Tensor:
    wide = torch.float32 if tensor.device.type == "mps" else torch.float64  # which MPS lacks
    return torch.stack((tensor.sum(dtype=wide), tensor.abs().sum(dtype=wide)))
