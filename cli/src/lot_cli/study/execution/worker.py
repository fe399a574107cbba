"""One run in this process, and the process that executes runs one after the other.

Imports torch only when a run begins.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

import attrs

from lot.errors import BadInput, Diverged, Interrupted, LotError
from lot.runs.directory import RunDir
from lot.storage.files import read_json, write_json
from lot_cli.study.execution.damage import DIVERGED

State = Literal["complete", "diverged", "failed", "interrupted"]


@attrs.frozen(kw_only=True)
class Order:
    """A run to be made. Raises BadInput where it would read the test split and may not."""

    key: str  # address of the run
    label: str  # what messages call it
    config: dict[str, Any]  # as `Config.to_dict` gives it
    run_dir: Path
    may_test: bool
    threads: int  # CPU threads of torch
    device: str  # auto, cpu, cuda, cuda:1 ...

    def __attrs_post_init__(self) -> None:
        if self.config["train"]["test"] and not self.may_test:
            raise BadInput(f"{self.label}: a tuning run must not read the test split", where="train.test")


@attrs.frozen(kw_only=True)
class Outcome:
    """How a run ended."""

    key: str  # address of the run
    state: State
    message: str = ""  # why, unless it is complete
    exit_code: int = 0  # as `lot run` would give it


def execute(order: Order) -> Outcome:
    """Make the run, or go on with it where it stopped."""
    import torch

    from lot.config.load import load_config
    from lot.training.train import train

    before = torch.get_num_threads()
    torch.set_num_threads(order.threads)
    try:
        train(load_config(order.config), order.run_dir, resume=True, device=order.device)
    except Interrupted as stop:
        said = str(stop).partition(";")[0]  # how a run goes on by itself is not how a study or a sweep does
        return Outcome(key=order.key, state="interrupted", message=said, exit_code=stop.exit_code)
    except Diverged as error:
        write_json(order.run_dir / DIVERGED, {"message": str(error)})
        return Outcome(key=order.key, state="diverged", message=str(error))
    except LotError as error:
        return Outcome(key=order.key, state="failed", message=str(error), exit_code=error.exit_code)
    except Exception as error:
        with contextlib.suppress(OSError):
            (order.run_dir / "error.txt").write_text(traceback.format_exc())
        message = f"{type(error).__name__}: {error}; the traceback is in {order.run_dir / 'error.txt'}"
        return Outcome(key=order.key, state="failed", message=message, exit_code=1)
    finally:
        torch.set_num_threads(before)
    return Outcome(key=order.key, state="complete")


def finished_outcome(run_dir: Path, key: str) -> Outcome | None:
    """How the run in `run_dir` ended, or None where it is still to be made.

    Raises BadInput for a run that did not begin as those of a study or a sweep do.
    """
    try:
        facts = RunDir(run_dir).facts()
    except BadInput:  # damaged: it is set aside before it is used
        facts = {}
    for begun in ("parent", "init_from"):
        if begun in facts:
            raise BadInput(
                f"{run_dir}: goes on from the weights of another run, and is no run of a study or a sweep",
                fix="move it away",
            )
    if (run_dir / "metrics.json").exists():
        return Outcome(key=key, state="complete")
    if not (run_dir / DIVERGED).exists():
        return None
    try:
        message = read_json(run_dir / DIVERGED)["message"]
    except (OSError, ValueError, TypeError, KeyError):  # it is set aside before it is used
        message = ""
    return Outcome(key=key, state="diverged", message=message)


def serve(connection: Connection, threads: int, gpu: int | None) -> None:
    """Execute orders that arrive on `connection` until None comes or the other side is gone."""
    _watch_parent()
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = _visible(gpu)
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while (order := connection.recv()) is not None:
            connection.send(execute(order))


def _watch_parent() -> None:
    """Stop this process when its parent is gone, so that a killed study leaves no run that holds
    its directory; a run under way saves itself first."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _visible(gpu: int) -> str:
    """The name of the GPU with the index `gpu` among those that this process may see."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return named.split(",")[gpu] if named else str(gpu)
