"""A run that kills itself: what `test_resume.py` starts as children. A module of its own, so that a child can import it."""

from __future__ import annotations

import os
import signal
from typing import Any

from support import TINY

ARMS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "lattice": {"attn": {"name": "lattice"}, "losses": {"sync": {"weight": 0.1}}},
    "muon": {"optim": {"name": "muon"}, "train": {**TINY["train"], "accumulate": 2}},
}


def child(arm: str, folder: str, resume: bool, kill: tuple[str, int] | None) -> None:
    """What a child does."""
    import torch

    from lot.training.train import train
    from lot.training.trainer import Trainer

    torch.set_num_threads(1)
    if kill is not None:
        name, count = kill
        owner: Any = {"train_step": Trainer, "write_log": Trainer, "fsync": os, "rename": os, "replace": os}[name]
        original = getattr(owner, name)
        calls = 0

        def deadly(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(owner, name, deadly)
    from lot.config.load import load_config

    train(load_config({**TINY, **ARMS[arm]}), folder, resume=resume)
