"""Training, from a configuration to a finished run directory. Read it top to bottom: `train`, then `Trainer.loop`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from lot.config.schema import Config
from lot.devices.processes import Team, is_lost_peer, join_team
from lot.errors import BadInput, Interrupted, RunFailed
from lot.runs.choose import choose_run
from lot.runs.directory import RunDir, new_run_dir
from lot.runs.named_files import task_elsewhere
from lot.storage.folder import saved_steps
from lot.training.compose import Composition, compose
from lot.training.events import Report, silent
from lot.training.extension import Parent, check_extension, parent_of, recorded_parent
from lot.training.given_weights import GivenWeights, give_weights
from lot.training.interruption import StopSignal
from lot.training.notebook import NotebookProgress, in_notebook
from lot.training.trainer import Result, Trainer


def train(
    config: Config | None,
    run_dir: str | Path | None = None,
    *,
    name: str | None = None,
    resume: bool = False,
    device: str = "auto",
    data: str | Path | None = None,
    extend: str | Path | None = None,
    init_from: str | Path | None = None,
    only: Sequence[str] = (),
    report: Report | None = None,
) -> Result:
    """Train what `config` describes and return the result; everything is recorded in a run directory.

    run_dir: the very directory (default: `runs/NAME/version_N`, N counting up); it must be new or empty unless `resume`.
    name: NAME, default `task-attention`. resume: go on from the newest sound checkpoint, bit for bit; without `run_dir` the
    newest version of NAME; `config` may then be None. A complete run is returned as it is. device: `auto`, `cpu`, `cuda`...
    data: with `resume` or `extend`, the file that the task reads, where it is no longer where it was; it must be the same,
    bit for bit. extend: a run from whose newest checkpoint (or the folder of one) this new run goes on; `config` may then
    differ from its configuration in steps, learning rate and schedule, batch, logging and diagnostics. init_from: a run, the
    folder of a checkpoint or a safetensors file whose weights are the initial ones; only: the parts of the model that are
    taken (attn, mlp, embed, positions, head), default: all.
    report: called as report(event, facts) with what happens, in the main process: `start` or `resume` (what is trained, and
    where), `log`, `validation` and `diagnostic` (a row each), `checkpoint`, `warning` (its `text`), `test`, `end` (the final
    `metrics`); `docs/python.md` lists the facts. Default: in a notebook a line that shows how far the run
    is, elsewhere nothing. What it raises ends the run, which can be resumed.
    Under torchrun every process calls this.

    Raises BadInput (nothing touched), RunFailed (diverged, or storage failed; the last checkpoint stands) or
    Interrupted (by SIGINT or SIGTERM: saved first).
    """
    path, config = choose_run(config, run_dir, name, resume)
    team = join_team(device, config.train.batch_size, config.train.context_parallel)
    report = _report(report) if team.main else silent
    notes: list[str] = []
    parent = _parent(path if resume else None, extend, config, notes.append)
    home = Path(parent.path) if parent is not None and not resume else path if resume else None
    composition = compose(config, task_elsewhere(config, home, data), team.world)
    weights = _weights(composition, path if resume else None, init_from, only, notes.append)
    versioned = path is None
    if path is None:
        fresh = name or config.title
        path = Path(team.lead(lambda: str(new_run_dir(Path("runs"), fresh))))
    run = RunDir(path)
    with _held(run, team, versioned):
        finished = run.result()
        if finished is not None:
            metrics, leak = finished["metrics"], composition.leak or bool(finished.get("leak"))
            report("end", {"run": str(path), "metrics": metrics, "already": True, "leak": leak})
            status = run.status()
            return Result(path, status.get("step") or 0, status.get("best_step"), metrics, leak)
        with deterministic(config, team.device), StopSignal() as stop:
            trainer = Trainer(composition, run, team, report, stop, parent, weights)
            try:
                for note in notes:
                    trainer.reporter.warn(trainer.step, note)
                return trainer.run_all(resume)
            except BadInput:
                trainer.reporter.recorders.close("failed")
                raise
            except RunFailed as error:
                trainer.end("failed", error.exit_code, str(error))
                raise
            except Interrupted as error:
                trainer.end("interrupted", error.exit_code, str(error))
                raise
            except OSError as error:
                message = f"storage failed at step {trainer.step}: {error}; {trainer.saving.last_good()}"
                trainer.end("failed", RunFailed.exit_code, message)
                raise RunFailed(message) from error
            except BaseException as error:
                if is_lost_peer(error):
                    message = (
                        f"another process of this run died at step {trainer.step}; {trainer.saving.how_to_resume()}"
                    )
                    trainer.end("failed", RunFailed.exit_code, message)
                    raise RunFailed(message) from error
                trainer.end("failed", 1, f"{type(error).__name__}: {error}")
                raise


def _report(given: Report | None) -> Report:
    """What is told of the run: to the caller, else to the reader of a notebook, else to nobody."""
    if given is not None:
        return given
    return NotebookProgress() if in_notebook() else silent


def _parent(
    resumed: Path | None, extend: str | Path | None, config: Config, warn: Callable[[str], None]
) -> Parent | None:
    """The checkpoint that the run goes on from: the one that is asked for, or that a resumed run had begun with."""
    if resumed is not None:
        parent = recorded_parent(resumed)
        if parent is None or saved_steps(resumed / "checkpoints"):
            return None
        parent.require_unchanged()  # it was killed before its own first checkpoint
        return parent
    if extend is None:
        return None
    parent = parent_of(extend, warn)
    check_extension(parent, config)
    if parent.tested:
        warn(f"{extend} has been tested: a test of what goes on from it, for that result, is no longer on unseen data")
    if (jump := parent.jump(config)) is not None:
        warn(jump)
    return parent


def _weights(
    composition: Composition,
    resumed: Path | None,
    init_from: str | Path | None,
    only: Sequence[str],
    warn: Callable[[str], None],
) -> GivenWeights | None:
    """Give the model its initial weights, where they are to come from elsewhere; again, where no checkpoint has them yet."""
    if resumed is not None:
        recorded = RunDir(resumed).facts().get("init_from")
        if recorded is None or saved_steps(resumed / "checkpoints"):
            return None
        if not isinstance(recorded, dict) or not isinstance(recorded.get("path"), str):
            raise BadInput(f"{resumed / 'run.json'}: damaged (init_from)", fix="restore it from a copy")
        again = give_weights(composition.model, recorded["path"], recorded.get("only") or (), warn)
        if again.sha256 != recorded.get("sha256"):
            raise BadInput(f"{recorded['path']}: no longer what this run took its initial weights from")
        return again
    return None if init_from is None else give_weights(composition.model, init_from, only, warn)


@contextlib.contextmanager
def _held(run: RunDir, team: Team, versioned: bool) -> Iterator[None]:
    """The run directory, held by the main process while the team works.

    versioned: whether it is a version that was made for this run, so that its parent goes too where nothing is left in it.
    """
    team.lead(run.acquire)
    try:
        yield
    finally:
        if team.main:
            run.release()
            run.remove_if_empty()
            if versioned:
                with contextlib.suppress(OSError):  # other versions are in it, or this one
                    run.path.parent.rmdir()


@contextlib.contextmanager
def deterministic(config: Config, device: torch.device) -> Iterator[None]:
    """torch's deterministic algorithms where the configuration asks for them and they are not the rule anyway."""
    before = torch.are_deterministic_algorithms_enabled()
    if config.train.deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
