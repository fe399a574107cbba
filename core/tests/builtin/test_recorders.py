"""Recorders of services, each with the real library and without a network; a library that is not installed is skipped."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy import toy_config
from training.test_recording import STEPS, points_of_log, stop_at, warnings_into

from lot.errors import BadInput
from lot.plugins.registry import registry
from lot.runs.directory import RunDir
from lot.testing import check_recorder
from lot.training import recording
from lot.training.train import train

EVERY = ("train.log_every=1", "recorders.tensorboard=null")
SERVICES = ("wandb", "mlflow", "trackio")


@pytest.fixture(scope="module", autouse=True)
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the libraries put their files; no service is asked, and none is told. They read this once in a process."""
    folder = tmp_path_factory.mktemp("services")
    settings = {
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "WANDB_DIR": str(folder),
        "DO_NOT_TRACK": "true",
        "TRACKIO_DIR": str(folder / "trackio"),
        "HF_HUB_OFFLINE": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield folder


@pytest.mark.parametrize("name", SERVICES)
def test_it_passes_the_kit(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    assert check_recorder(registry().get("recorder", name), live=True) == {}


@pytest.mark.parametrize("name", SERVICES)
def test_a_package_that_is_missing_is_one_line_with_the_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == name else found(module))
    with pytest.raises(BadInput) as refused:
        train(toy_config(f"recorders.{name}={{}}"), "never")
    assert str(refused.value) == (
        f"recorders.{name}: the package {name} is not installed; pip install 'lot-core[{name}]'"
    )
    assert not Path("never").exists()


def test_pictures_without_matplotlib_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == "matplotlib" else found(module))
    with pytest.raises(BadInput, match=r"recorders\.tensorboard\.pictures: .* pip install matplotlib"):
        train(toy_config("recorders.tensorboard.pictures=true"), "never")


def test_no_library_is_imported_unless_it_is_chosen(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from toy import toy_config
from lot.training.train import train
train(toy_config("train.steps=1", "recorders.tensorboard=null"), {str(tmp_path / "x")!r})
print(sorted({{"tensorboardX", "wandb", "mlflow", "trackio"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def stopped_and_resumed(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *sets: str) -> dict[str, Any]:
    """A run that was stopped behind a checkpoint and resumed; what the recorder has kept."""
    config = toy_config(*STEPS, *EVERY, f"recorders.{name}={{}}", *sets)
    for state in ("complete", "failed"):
        monkeypatch.setitem(recording.PATIENCE, state, 120.0)  # a new database takes a while
    warnings: list[str] = []
    stop_at(7, config, folder, monkeypatch, report=warnings_into(warnings))
    kept = json.loads((folder / f"recorders/{name}.json").read_text())["kept"]
    train(None, folder, resume=True, report=warnings_into(warnings))
    assert warnings == []
    state: dict[str, Any] = json.loads((folder / f"recorders/{name}.json").read_text())
    assert state["kept"] == kept
    assert state["rows"] == len(RunDir(folder).rows())
    return kept


def test_mlflow_has_every_number_once_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)
    number = stopped_and_resumed("mlflow", tmp_path / "x", monkeypatch)["run_id"]
    client = MlflowClient()
    experiment = client.get_experiment_by_name("lot")
    (found,) = client.search_runs([experiment.experiment_id], f"attributes.run_id = '{number}'")
    assert found.info.run_id == number
    assert (found.info.run_name, found.info.status) == ("x", "FINISHED")
    assert found.data.params["model.width"] == "16"
    assert found.data.metrics["result/test/loss"] == RunDir(tmp_path / "x").metrics()["loss"]  # type: ignore[index]
    expected = points_of_log(tmp_path / "x")
    names = {name for name, _, _ in expected}
    assert names < set(found.data.metrics)
    points = [(name, point.step, point.value) for name in names for point in client.get_metric_history(number, name)]
    assert sorted(points) == sorted(expected)


def test_two_runs_may_begin_an_experiment_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    from lot.builtin.recorders.mlflow import _experiment

    client, find = MlflowClient(), MlflowClient.get_experiment_by_name
    found = iter([None])  # the other run makes it in between
    number = client.create_experiment("shared")
    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda self, name: next(found, find(self, name)))
    assert _experiment(client, "shared") == number


def test_mlflow_takes_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("matplotlib")
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)
    kept = stopped_and_resumed("mlflow", tmp_path / "x", monkeypatch, "recorders.mlflow.pictures=true")
    assert [entry.path for entry in MlflowClient().list_artifacts(kept["run_id"], "pictures")] == [
        "pictures/grad_norm.png"
    ]


def test_trackio_has_every_number_once_under_one_name(
    services: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackio")
    name = stopped_and_resumed("trackio", tmp_path / "x", monkeypatch)["name"]
    found = []
    with sqlite3.connect(services / "trackio/lot.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics").fetchall()
    database.close()
    rows = [row for row in rows if row[0].startswith("x-")]
    assert {row[0] for row in rows} == {name}
    for _, step, metrics in rows:
        found += [(key, step, value) for key, value in json.loads(metrics).items()]
    expected = points_of_log(tmp_path / "x")
    ours = [point for point in found if not point[0].startswith(("speed/", "result/"))]
    assert sorted(ours) == sorted(expected)
    assert [step for key, step, _ in found if key == "result/test/loss"] == [9]


def test_wandb_keeps_every_number_once_for_one_run(
    services: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    number = stopped_and_resumed("wandb", tmp_path / "x", monkeypatch)["id"]
    files = sorted((services / "wandb").glob(f"offline-run-*/run-{number}.wandb"))
    assert len(files) == 2, "one for each process of the run"
    records = [record for file in files for record in _wandb_records(file)]
    found = []
    for record in records:
        if record.WhichOneof("record_type") == "history":
            row = {(item.key or "/".join(item.nested_key)): json.loads(item.value_json) for item in record.history.item}
            found += [(key, row["step"], value) for key, value in row.items() if "/" in key]
    assert sorted(p for p in found if not p[0].startswith("speed/")) == sorted(points_of_log(tmp_path / "x"))
    summary = {
        (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
        for record in records
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    assert summary["test/loss"] == RunDir(tmp_path / "x").metrics()["loss"]  # type: ignore[index]
    assert not (tmp_path / "x/wandb").exists()


def _wandb_records(file: Path) -> list[Any]:
    """What wandb would send: the format of LevelDB's log, in blocks of 32 KiB behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, found, parts = file.read_bytes(), 7, [], b""
    while at + 7 <= len(content):
        if (left := -at % 32768) < 7 and left:
            at += left
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(parts))
            parts = b""
    return found


def test_a_server_that_is_not_there_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setitem(recording.PATIENCE, "complete", 60.0)
    warnings: list[str] = []
    config = toy_config(*STEPS, *EVERY, "recorders.mlflow.uri=http://127.0.0.1:9")
    train(config, tmp_path / "x", report=warnings_into(warnings))
    (line,) = warnings
    assert line.startswith("recorder mlflow: left out from here on (")
    assert RunDir(tmp_path / "x").state() == "complete"


def test_nobody_is_asked_for_a_key_of_wandb(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from toy import toy_config
from lot.training.train import train
tell = lambda event, facts: print(facts["text"]) if event == "warning" else None
train(toy_config("train.steps=1", "recorders.wandb={{}}"), {str(tmp_path / "x")!r}, report=tell)
"""
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_API_KEY"}
    environment |= {
        "WANDB_MODE": "online",
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "HOME": str(tmp_path),
        "NETRC": str(tmp_path / "netrc"),
        "WANDB_CONFIG_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines() == [
        "recorder wandb: left out from here on (wandb has no key; wandb login, or WANDB_MODE=offline); "
        f"{tmp_path / 'x/metrics.jsonl'} has every row"
    ]
