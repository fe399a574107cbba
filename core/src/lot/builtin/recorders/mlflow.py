"""MLflow: a run there for each run here, on a server, in a database or in a folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from lot.builtin.recorders.config import MLflowConfig, check_packages
from lot.builtin.recorders.picture_file import picture_file
from lot.config.compare import leaves
from lot.contracts import Recorder, Recording

BATCH = 100
"""Parameters that MLflow takes at once."""
ENDS = {"complete": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MLflow(Recorder):
    """A metric `GROUP/NAME` for each number, a parameter for each option of the configuration; pictures as artifacts.

    The number of the remote run stays with the run, and a resumed run goes on in it. No run of MLflow is made active.
    """

    final = True

    def __init__(self, config: MLflowConfig) -> None:
        check_packages(config)
        self.options, self.pictures = config, config.pictures
        self._client: Any = None
        self._run = ""

    def open(self, recording: Recording) -> int:
        """Begin a run, or go on in the one whose number was kept. Raises MLflow's own error where it cannot be had."""
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        for name in ("alembic", "mlflow.store.db.utils"):  # a new database is made in fifty lines of log
            logging.getLogger(name).setLevel(logging.WARNING)
        client = MlflowClient(tracking_uri=self.options.uri)
        if "run_id" in recording.kept:
            client.update_run(recording.kept["run_id"], status="RUNNING")
        else:
            number = _experiment(client, self.options.experiment)
            tags = {"LEAK": "this model saw what it was asked to predict"} if recording.leak else {}
            created = client.create_run(number, run_name=recording.title, tags=tags)
            recording.kept["run_id"] = created.info.run_id
            params = [Param(path, str(value)) for path, value in leaves(recording.config)]
            for first in range(0, len(params), BATCH):
                client.log_batch(created.info.run_id, params=params[first : first + BATCH])
        self._client, self._run = client, recording.kept["run_id"]
        return recording.given

    def write(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """A point of each metric."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [
            Metric(f"{group}/{name}".replace(":", "-"), float(value), now, step) for name, value in values.items()
        ]
        self._client.log_batch(self._run, metrics=metrics)

    def result(self, split: str, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics `result/SPLIT/NAME`."""
        self.write(f"result/{split}", step, metrics)

    def picture(self, name: str, step: int, png: bytes) -> None:
        """An artifact `pictures/NAME.png`."""
        with picture_file(name, png) as path:
            self._client.log_artifact(self._run, path, "pictures")

    def close(self, state: str) -> None:
        """End the run there."""
        if self._client is not None:
            self._client.set_terminated(self._run, ENDS[state])


def _experiment(client: Any, name: str) -> str:
    """The number of an experiment, made where there is none; the runs of a study may all try that at once."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)
