"""The runs of a study or a sweep as jobs of a Slurm cluster, through submitit (the extra `lot-cli[slurm]`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lot.errors import BadInput, RunFailed
from lot_cli.study.execution.calibrate import Pair, Ratio, calibrate
from lot_cli.study.execution.worker import Order, Outcome, execute

CLUSTER = "slurm"
"""submitit's name of the executor; tests take its `local` one."""
POLL_SECONDS = 1.0
SHARED = (
    "name",
    "timeout_min",
    "mem_gb",
    "nodes",
    "cpus_per_task",
    "gpus_per_node",
    "tasks_per_node",
    "stderr_to_stdout",
)
"""Settings that submitit knows for every cluster; the others are Slurm's own,
as sbatch names them."""


def submit(
    queue: list[Order], folder: Path, jobs: int, settings: Mapping[str, Any], stop: list[int]
) -> Iterator[Outcome]:
    """Outcomes as they come, of one job array of which at most `jobs` run at a time.

    folder: for scripts and logs, on a disk that the nodes share. settings: of submitit,
    such as partition or timeout_min. A job that the cluster ends (time, memory, a lost node)
    is a failed run, which goes on from its checkpoint when the same command is given again.
    When `stop` is filled, all jobs are canceled. Raises BadInput without submitit, Slurm,
    or for unknown settings.
    """
    usual = {"name": "lot-study", "cpus_per_task": queue[0].threads, "array_parallelism": jobs}
    executor = connect(folder, {**usual, **settings})
    pending = list(zip(executor.map_array(_in_job, queue), queue, strict=True))
    while pending:
        if stop:
            for job, _ in pending:
                job.cancel()
            return
        finished = [(job, order) for job, order in pending if job.done()]
        pending = [(job, order) for job, order in pending if (job, order) not in finished]
        for job, order in finished:
            yield _outcome(job, order.key)
        if pending and not finished:
            time.sleep(POLL_SECONDS)


def calibrate_in_job(
    folder: Path,
    settings: Mapping[str, Any],
    configs: Mapping[str, Mapping[str, Any]],
    pairs: Sequence[Pair],
    rounds: int,
    threads: int,
    device: str,
) -> dict[Pair, Ratio]:
    """`calibrate` as one job of the cluster. Raises what it raises, and RunFailed where the job ends otherwise."""
    executor = connect(folder, {"name": "lot-study", "cpus_per_task": threads, **settings})
    job = executor.submit(_calibrate, configs, pairs, rounds, threads, device)
    error = job.exception()
    if error is not None:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunFailed(f"steps were not timed: job {job.job_id}: {reason}; its log is {job.paths.stderr}")
    found: dict[Pair, Ratio] | RunFailed | str = job.result()
    if isinstance(found, str):
        raise BadInput(found)
    if isinstance(found, RunFailed):
        raise found
    return found


def _calibrate(
    configs: Mapping[str, Mapping[str, Any]], pairs: Sequence[Pair], rounds: int, threads: int, device: str
) -> dict[Pair, Ratio] | RunFailed | str:
    """The ratios, or what was refused or failed: submitit would give the traceback of an error in place of what it says.

    A BadInput does not travel between processes, but its message does.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported
    try:
        return calibrate(configs, pairs, rounds, threads, device)
    except BadInput as error:
        return str(error)
    except RunFailed as error:
        return error


def connect(folder: Path, parameters: Mapping[str, Any]) -> Any:
    """submitit's executor, with its settings checked; nothing is submitted or written.

    Raises BadInput.
    """
    try:
        import submitit
    except ImportError:
        raise BadInput("a Slurm cluster is reached through submitit", fix="pip install 'lot-cli[slurm]'") from None
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=CLUSTER)
    except RuntimeError as error:
        raise BadInput(f"no Slurm here ({error})", fix="run it on a node that has sbatch") from None
    try:
        executor.update_parameters(
            **{name if name in SHARED else f"slurm_{name}": value for name, value in parameters.items()}
        )
    except (NameError, AssertionError) as error:
        raise BadInput(str(error).splitlines()[0], where="--slurm", fix="as in partition=gpu") from None
    return executor


def _in_job(order: Order) -> Outcome:
    os.environ["OMP_NUM_THREADS"] = str(order.threads)  # read when torch is imported
    return execute(order)


def _outcome(job: Any, key: str) -> Outcome:
    error = job.exception()
    if error is None:
        outcome: Outcome = job.result()
        return outcome
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return Outcome(
        key=key, state="failed", message=f"job {job.job_id}: {reason}; its log is {job.paths.stderr}", exit_code=3
    )
