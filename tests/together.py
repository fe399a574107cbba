"""What the processes of a test do together: `torchrun together.py SCENARIO FOLDER`. One start serves many assertions.

Each process leaves what it found in FOLDER/SCENARIO-RANK.json; `test_parallel.py` judges.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from support import TINY

from lot.config.load import load_config
from lot.config.schema import Config
from lot.devices.processes import Team, _AddUp as AddUp, join_team
from lot.errors import LotError
from lot.storage import checkpoint
from lot.storage.folder import folder_of, saved_steps
from lot.training.compose import compose
from lot.training.parallel import Parallel, spread
from lot.training.train import train
from lot_toroidal.attention.ring import RingAttention

MODEL = {**TINY["model"], "dropout": 0.0}
TRAIN = {
    **TINY["train"],
    "accumulate": 2,
    "clip": 0.5,
    "eval_examples": 10,
}  # 3 batches: not one for each of 2 processes
ARM: dict[str, Any] = {
    "attn": {"name": "lattice"},
    "losses": {"diversity": {"weight": 0.1}},  # reads a signal that is a parameter itself
    "diagnostics": {"order_parameter": {"every": 7}, "grad_norm": {"every": 7}},
}
ARMS: dict[str, dict[str, Any]] = {
    "lattice": ARM,
    "muon": {**ARM, "optim": {"name": "muon"}, "model": {**MODEL, "recompute": True}},
    "uneven": {
        "task": {"name": "fuzzy_recall_corrected", "seq_len": 32},
        "attn": {"name": "lattice"},
        "losses": {"sync": {"weight": 0.1}, "phase_regularization": {"weight": 0.1}},
    },
    "whole": {
        "task": {"name": "fuzzy_recall_corrected", "seq_len": 32},
        "attn": {"name": "lattice"},
        "losses": {
            "coherence": {"weight": 1.0, "mode": "center"},
            "sync": {"weight": 0.1, "schedule": {"kind": "adaptive", "target": 0.3}},
        },
        "train": {"accumulate": 1},
    },
    "ring": {
        "task": {**TINY["task"], "seq_len": 16},
        "attn": {"name": "toroidal_ring", "depth": 2, "block": 4},
        "diagnostics": {"grad_norm": {"every": 7}},
        "train": {"context_parallel": 2},
    },
}
"""uneven: rows with different numbers of scored targets, and terms over tokens. whole: terms that are no means over the
batch, but depend on one. ring: all scored targets lie in the second half of a sequence."""
STEPS = {"lattice": 24, "muon": 8, "uneven": 8, "whole": 8, "ring": 8}
PARALLEL = ("ddp", "fsdp")


def config(arm: str, parallel: str = "ddp", *, allow_leak: bool = False, **settings: Any) -> Config:
    """A run that takes a second."""
    chosen = ARMS[arm]
    train = {**TRAIN, "parallel": parallel, **chosen.get("train", {}), **settings}
    return load_config({**TINY, "model": MODEL, **chosen, "train": train, "allow_leak": allow_leak})


def tried(given: Config, folder: Path, **options: Any) -> dict[str, Any]:
    """What became of a run: its metrics, or its error and exit code."""
    try:
        return {"metrics": train(given, folder, **options).metrics}
    except LotError as error:
        return {"error": str(error), "code": error.exit_code}


def compare(folder: Path) -> dict[str, Any]:
    """Every arm both ways, and what is refused."""
    found: dict[str, Any] = {}
    for arm, how in itertools.product(ARMS, PARALLEL):
        found[f"{arm}-{how}"] = tried(config(arm, how, steps=STEPS[arm]), folder / f"{arm}-{how}")
    worse = {**TRAIN, "parallel": "fsdp", "early_stop": 2, "eval_every": 4}  # a rate at which nothing gets better
    wild = {**ARM, "optim": {"name": "adamw", "lr": 1.0}, "train": worse}
    found["wild"] = tried(load_config({**TINY, "model": MODEL, **wild}), folder / "wild")
    wave = {**ARM, "optim": {"name": "wave_native", "rank": 4}}
    given = load_config({**TINY, **wave, "train": {**TRAIN, "parallel": "fsdp"}})
    found["wave"] = tried(given, folder / "wave")
    found["batch"] = tried(config("lattice", batch_size=5), folder / "batch")
    found["span"] = tried(config("ring", context_parallel=3), folder / "span")
    for how in PARALLEL:
        found[f"held-{how}"] = tried(config("lattice", how), folder / "lattice-ddp")
        for rank in (0, 1) if how == "fsdp" else (0,):
            with _at_fsync(rank, 8, _full_disk):
                found[f"full-{how}-{rank}"] = tried(config("lattice", how), folder / f"full-{how}-{rank}")
    return found


@contextlib.contextmanager
def _at_fsync(rank: int, step: int, what: Callable[[], None]) -> Iterator[None]:
    """In one process, do `what` in place of the fsync of a file of tensors of the checkpoint of `step`."""
    original = os.fsync

    def changed(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}")
        if f"step_{step:08d}" in name and name.endswith(".safetensors"):
            what()
        original(handle)

    if int(os.environ["RANK"]) == rank:
        os.fsync = changed  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync = original


def _full_disk() -> None:
    raise OSError(28, "No space left on device")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def elsewhere(folder: Path) -> dict[str, Any]:
    """Checkpoints of two processes, sharded and whole, in four: loaded, compared, written again; and resumed.

    And sequences over all four, or over pairs.
    """
    found: dict[str, Any] = {}
    for source in PARALLEL:
        saved = folder_of(folder / f"lattice-{source}/checkpoints", 24)
        expected = checkpoint.load(saved)
        for how in PARALLEL:
            parallel, team = _spread(config("lattice", how))
            optimizer = parallel.optimizer(_create(config("lattice", how)))
            loaded = parallel.load(saved, optimizer)
            state = {**loaded.state, "optimizer": optimizer.state_dict()}
            again = folder / f"again-{source}-{how}"
            team.lead(again.mkdir)
            copy = checkpoint.load(parallel.save(again, 24, state))
            found[f"{source} to {how}"] = same(copy.model, expected.model) and same(copy.state, expected.state)
    for how in PARALLEL:
        target = folder / f"resumed-{how}"
        if int(os.environ["RANK"]) == 0:
            cut(folder / "lattice-fsdp", target, 18)
        torch.distributed.barrier()
        found[f"resumed {how}"] = tried(config("lattice", how), target, resume=True)
    for span in (2, 4):
        ring = config("ring", steps=STEPS["ring"], context_parallel=span)
        found[f"ring {span}"] = tried(ring, folder / f"ring-of-{span}")
    return found


def leaking(folder: Path) -> dict[str, Any]:
    """A ring of two whose parts are not kept apart: sequences as a whole are sound, as an evaluation has them."""
    found: dict[str, Any] = {}
    for name, leak in LEAKS.items():
        original = RingAttention.forward

        def forward(self: Any, x: Any, ctx: Any, leak: Any = leak, original: Any = original) -> Any:
            y, signals = original(self, x, ctx)
            return (y if ctx.group is None else y + leak(x, ctx)), signals

        RingAttention.forward = forward  # type: ignore[method-assign]
        try:
            found[name] = tried(config("ring", steps=2), folder / f"leaking-{name}")
            if name == "border":
                found["allowed"] = tried(config("ring", steps=2, allow_leak=True), folder / "leaking-allowed")
        finally:
            RingAttention.forward = original  # type: ignore[method-assign]
    return found


def _at_the_border(x: torch.Tensor, ctx: Any) -> torch.Tensor:
    """The last position of one process sees the first of the next one; no gradient shows it."""
    first = torch.zeros_like(x[:, 0]) if ctx.start == 0 else x[:, 0].detach().clone()
    torch.distributed.all_reduce(first, group=ctx.group)
    added = torch.zeros_like(x)
    if ctx.start == 0:
        added[:, -1] = first
    return added


def _in_the_gradient(x: torch.Tensor, ctx: Any) -> torch.Tensor:
    """Nothing in the values; in the gradient, every position of the first process sees the second."""
    total = AddUp.apply(x.mean(1, keepdim=True))
    return (total - total.detach()).expand_as(x)


LEAKS: dict[str, Any] = {"border": _at_the_border, "gradient": _in_the_gradient, "none": lambda x, ctx: 0.0 * x}


def killed(folder: Path) -> dict[str, Any]:
    """The sharded run, in which one process dies while it writes its shards, before torchrun starts all anew."""
    restarts = os.environ["TORCHELASTIC_RESTART_COUNT"]
    with _at_fsync(1, 18, _die) if restarts == "0" else contextlib.nullcontext():
        return {"restarts": restarts, **tried(config("lattice", "fsdp"), folder / "killed", resume=True)}


def cut(run: Path, target: Path, step: int) -> None:
    """A copy of a run as it was after the checkpoint of `step`."""
    shutil.copytree(run, target, symlinks=True)
    (target / "metrics.json").unlink()
    for later in saved_steps(target / "checkpoints"):
        if later > step:
            shutil.rmtree(folder_of(target / "checkpoints", later))


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal, to the bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def _spread(given: Config) -> tuple[Parallel, Team]:
    team = join_team("cpu", given.train.batch_size)
    return spread(compose(given).model, team, given.train.parallel, compiled=False, probed=False), team


def _create(given: Config) -> Any:
    return lambda model: given.optim.component.create(given.optim.options, model)


if __name__ == "__main__":
    torch.set_num_threads(1)
    scenario, root = sys.argv[1], Path(sys.argv[2])
    result = {"compare": compare, "elsewhere": elsewhere, "leaking": leaking, "killed": killed}[scenario](root)
    (root / f"{scenario}-{os.environ['RANK']}.json").write_text(json.dumps(result))
