"""Executes runs: one after the other in this process, in several processes side by side,
or on a cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import attrs

from lot.errors import Interrupted, RunFailed
from lot_cli.study.execution.slurm import submit
from lot_cli.study.execution.worker import Order, Outcome, execute, finished_outcome, serve

Tell = Callable[[str, dict[str, Any]], None]
"""Told what happens: (event, facts), event being calibrate, timed, fairness, tuned, damaged, plan or run."""


@attrs.frozen(kw_only=True)
class Executor:
    """Where the runs are executed: on this machine, or on a Slurm cluster."""

    jobs: int  # runs at a time
    gpus: int = 0  # GPUs of this machine that the runs share
    slurm: Mapping[str, Any] | None = None  # settings of the cluster; None: this machine
    logs: Path = Path()  # folder for the logs of the cluster's jobs

    def make(self, queue: list[Order], stop: list[int]) -> Iterator[Outcome]:
        """Outcomes as they come, until `stop` holds a signal."""
        if self.slurm is not None:
            return submit(queue, self.logs, self.jobs, self.slurm, stop)
        if self.jobs == 1:
            return _serial(queue, stop)
        return _parallel(queue, min(self.jobs, len(queue)), self.gpus, stop)


def run_all(orders: Iterable[Order], executor: Executor, tell: Tell) -> dict[str, Outcome]:
    """The outcome of every order, by key; a run that was made before is not made again, unless it failed.

    Numbers depend neither on the executor nor on the order: every run has its own directory, seed,
    and number of threads.
    Raises Interrupted after the runs under way have saved themselves.
    """
    wanted = list({order.key: order for order in orders}.values())
    found = {order.key: done for order in wanted if (done := finished_outcome(order.run_dir, order.key)) is not None}
    queue = [order for order in wanted if order.key not in found]
    tell("plan", {"runs": len(wanted), "done": len(found)})
    if queue:
        labels = {order.key: order.label for order in queue}
        with _noting_signals() as stop:
            for outcome in executor.make(queue, stop):
                found[outcome.key] = outcome
                facts = {"key": outcome.key, "label": labels[outcome.key]}
                tell("run", {**facts, "state": outcome.state, "message": outcome.message})
        stopped = next((outcome for outcome in found.values() if outcome.state == "interrupted"), None)
        if stopped is not None or stop:
            number = stop[0] if stop else stopped.exit_code - 128  # type: ignore[union-attr]
            count = sum(outcome.state in ("complete", "diverged") for outcome in found.values())
            raise Interrupted(
                f"stopped with {count} of {len(wanted)} runs done; the same command goes on from there", number
            )
    return found


def check_failed(labels: Mapping[str, str], found: Mapping[str, Outcome]) -> None:
    """Raises RunFailed where a run failed for a reason other than divergence. labels: what messages call each run, by key."""
    failed = [(label, found[key]) for key, label in labels.items() if found[key].state == "failed"]
    if failed:
        label, outcome = failed[0]
        raise RunFailed(
            f"{len(failed)} of {len(labels)} runs failed, so there is no result; {label}: {outcome.message}\n"
            f"the same command tries {'it' if len(failed) == 1 else 'them'} again"
        )


def _serial(queue: list[Order], stop: list[int]) -> Iterator[Outcome]:
    for order in queue:
        if stop:
            return
        outcome = execute(order)
        yield outcome
        if outcome.state == "interrupted":
            return


def _parallel(queue: list[Order], jobs: int, gpus: int, stop: list[int]) -> Iterator[Outcome]:
    """Outcomes as they come. A process that dies costs the run that it was at, and is replaced."""
    waiting, stopping = deque(queue), False
    workers = [_Worker(queue[0].threads, slot % gpus if gpus else None) for slot in range(jobs)]
    try:
        for worker in workers:
            worker.give(waiting.popleft())
        while busy := [worker for worker in workers if worker.order is not None]:
            ready = wait([worker.connection for worker in busy], timeout=0.5)
            if stop and not stopping:
                stopping = True
                waiting.clear()
                for worker in busy:
                    worker.stop()
            for worker in busy:
                if worker.connection in ready:
                    outcome = worker.take()
                    died = stopping and outcome.state == "failed"  # stopped before its training could note the signal
                    yield attrs.evolve(outcome, state="interrupted", message="stopped") if died else outcome
                    if waiting:
                        worker.give(waiting.popleft())
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    """A process that executes one order at a time."""

    def __init__(self, threads: int, gpu: int | None) -> None:
        self.arguments = (threads, gpu)
        self.order: Order | None = None
        self.process: SpawnProcess | None = None
        self.connection: Connection

    def give(self, order: Order) -> None:
        """Begin an order, in a new process where there is none."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.connection, theirs = context.Pipe()
            self.process = context.Process(target=serve, args=(theirs, *self.arguments), daemon=True)
            self.process.start()
            theirs.close()
        self.order = order
        self.connection.send(order)

    def take(self) -> Outcome:
        """The outcome of the order; `failed` where the process is gone."""
        assert self.order is not None
        assert self.process is not None
        key, self.order = self.order.key, None
        try:
            outcome: Outcome = self.connection.recv()
            return outcome
        except (EOFError, ConnectionResetError):
            self.connection.close()
            self.process.join()
            code, self.process = self.process.exitcode, None
            return Outcome(key=key, state="failed", message=f"its process died (exit code {code})", exit_code=3)

    def stop(self) -> None:
        """Let the run under way save itself and say so."""
        if self.process is not None:
            self.process.terminate()

    def close(self) -> None:
        """End the process; a run under way saves itself first."""
        if self.process is None:
            return
        if self.order is not None:
            self.stop()
        with contextlib.suppress(OSError):
            self.connection.send(None)
        self.connection.close()
        self.process.join()


@contextlib.contextmanager
def _noting_signals() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM are noted in while the context lasts;
    a second SIGINT interrupts at once.

    Training in this process notes the signals itself, for as long as it lasts.
    """
    noted: list[int] = []
    before = {}

    def note(number: int, _frame: object) -> None:
        if noted and number == signal.SIGINT:
            raise KeyboardInterrupt
        noted.append(number)

    with contextlib.suppress(ValueError):  # not the main thread: no signals arrive here
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
