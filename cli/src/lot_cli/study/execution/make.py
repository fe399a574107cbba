"""Makes the runs of one study or sweep, in its folder and with the same numerics for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lot.devices.device import choose_device
from lot.errors import BadInput
from lot.storage.files import read_json, write_json
from lot_cli.study.design.plan import Arm, Purpose, Run, make_run, numerics
from lot_cli.study.execution.calibrate import Pair, Ratio, calibrate
from lot_cli.study.execution.damage import problem_of, set_aside
from lot_cli.study.execution.runner import Executor, Tell, check_failed, run_all
from lot_cli.study.execution.slurm import calibrate_in_job, connect
from lot_cli.study.execution.worker import Order, Outcome, finished_outcome


class RunMaker:
    """Addresses runs and makes them under `folder`/runs.

    threads: CPU threads of each run. jobs: runs at a time. device: auto, cpu, cuda ...
    slurm: settings of the cluster; None: this machine. name: what the cluster calls the jobs.
    Raises BadInput for a device or settings that cannot be used.
    """

    def __init__(
        self,
        threads: int,
        folder: Path,
        *,
        jobs: int,
        device: str,
        tell: Tell,
        slurm: Mapping[str, Any] | None,
        name: str = "lot-study",
    ) -> None:
        self.kind = _device_type(device, slurm)
        self.threads, self.runs, self.tell = threads, folder / "runs", tell
        self.device = self.kind if device == "auto" else device
        self.numerics = numerics(threads, self.kind)
        # Processes share the GPUs out among them, unless one is named.
        gpus = torch.cuda.device_count() if self.device == "cuda" and slurm is None else 0
        self.slurm, self.logs = slurm if slurm is None else {"name": name, **slurm}, folder / "slurm"
        if self.slurm is not None:
            connect(self.logs, self.slurm)
        self.executor = Executor(jobs=jobs, gpus=gpus, slurm=self.slurm, logs=self.logs)

    def calibrate(self, arms: Sequence[Arm], seed: int, pairs: Sequence[Pair], rounds: int) -> dict[Pair, Ratio]:
        """How long a step of the first arm of each pair takes against one of the second, measured where the runs are made."""
        configs = {arm.name: arm.config(seed, test=False).to_dict() for arm in arms}
        if self.slurm is not None:
            return calibrate_in_job(self.logs, self.slurm, configs, pairs, rounds, self.threads, self.device)

        def told(done: int, of: int) -> None:
            self.tell("timed", {"done": done, "of": of})

        return calibrate(configs, pairs, rounds, self.threads, self.device, told)

    def address(self, arm: Arm, seed: int, changes: Mapping[str, Any], purpose: Purpose) -> Run:
        """The run of an arm with its key; nothing is made. changes: values by dotted path."""
        return make_run(arm, seed, changes, purpose, self.numerics)

    def directory(self, run: Run) -> Path:
        """Where the run is recorded."""
        return self.runs / run.key

    def make(self, runs: Sequence[Run]) -> dict[str, Outcome]:
        """The outcomes by key; runs that were made before are not made again.

        Raises Interrupted after a signal, and RunFailed where a run failed otherwise than by diverging.
        """
        outcomes = self.attempt(runs)
        check_failed({run.key: run.label for run in runs}, outcomes)
        return outcomes

    def attempt(self, runs: Sequence[Run]) -> dict[str, Outcome]:
        """The outcomes by key as `make` gives them, but a run that failed is one of them. Raises Interrupted after a signal."""
        self.runs.mkdir(parents=True, exist_ok=True)
        orders = [self._order(run) for run in runs]
        self._set_damaged_aside(orders)
        if any(finished_outcome(order.run_dir, order.key) is None for order in orders):
            write_json(self._side_by_side_file, max(self.executor.jobs, self.side_by_side))
        return run_all(orders, self.executor, self.tell)

    def _set_damaged_aside(self, orders: Sequence[Order]) -> None:
        for order in {order.run_dir: order for order in orders}.values():
            finished = finished_outcome(order.run_dir, order.key) is not None
            split = "test" if order.config["train"]["test"] else "validation"
            if finished and (problem := problem_of(order.run_dir, split)) is not None:
                aside = set_aside(order.run_dir)
                self.tell("damaged", {"label": order.label, "problem": problem, "aside": str(aside)})

    @property
    def side_by_side(self) -> int:
        """The most runs in this folder that were made at a time, ever."""
        file = self._side_by_side_file
        try:
            most = read_json(file)
        except ValueError as error:
            most = str(error)
        if most is not None and (isinstance(most, bool) or not isinstance(most, int)):
            raise BadInput(f"{file}: damaged, expected a number", fix="write there how many runs were made at a time")
        return most or 1

    @property
    def _side_by_side_file(self) -> Path:
        return self.runs / "side_by_side.json"

    def _order(self, run: Run) -> Order:
        return Order(
            key=run.key,
            label=run.label,
            config=run.config.to_dict(),
            run_dir=self.directory(run),
            may_test=run.purpose == "report",
            threads=self.threads,
            device=self.device,
        )


def _device_type(device: str, slurm: Mapping[str, Any] | None) -> str:
    """cpu, cuda ...: on a cluster as named, since this machine cannot ask the nodes."""
    if slurm is None:
        return choose_device(device).type
    if device == "auto":
        raise BadInput(where="--device", expected="cpu or cuda, whichever the cluster's nodes have", got="auto")
    return device.partition(":")[0]
