"""Recorders in a run: what they are given, how they go on after a resume, and that none can harm a run."""

from __future__ import annotations

import csv
import json
import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit_specimens import recorders
from toy import toy_config
from training.specimen_runs import SpecimenRegistry

from lot.config.load import load_config
from lot.config.schema import Config
from lot.errors import BadInput
from lot.runs.choose import choose_run
from lot.runs.directory import RunDir
from lot.training import recording
from lot.training.train import train
from lot.training.trainer import Trainer

STEPS = ("train.steps=9", "train.save_every=4", "train.eval_every=4", "diagnostics.grad_norm.every=3")
Point = tuple[str, int, float]


def with_recorder(cls: type, *overrides: str) -> Config:
    """A run of the toy with a made-up recorder."""
    tree: dict[str, Any] = {
        "task": {"name": "toy"},
        "model": {"width": 16, "heads": 2, "layers": 2},
        "train": {"batch_size": 8, "warmup": 2, "log_every": 1},
        "recorders": {"specimen": {}},
    }
    registry: Any = SpecimenRegistry({"recorder": cls})
    return load_config(tree, overrides=["train.precision=fp32", *STEPS, *overrides], registry=registry)


def stop_at(step: int, config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Train, and fail after `step` steps; the run can then be resumed although the toy is not installed."""
    original = Trainer.train_step

    def failing(self: Trainer) -> None:
        if self.step == step:
            raise RuntimeError("stopped by the test")
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", failing)
        with pytest.raises(RuntimeError, match="stopped by the test"):
            train(config, folder, **options)
    monkeypatch.setattr(RunDir, "config", lambda self: config)


def points_of_log(folder: Path) -> list[Point]:
    """Every number of metrics.jsonl, in order."""
    found = []
    for row in RunDir(folder).rows():
        group = row.get("diagnostic") or row["split"]
        found += [(f"{group}/{key}", row["step"], float(v)) for key, v in row.items() if isinstance(v, (int, float))]
    return [point for point in found if not point[0].endswith("/step")]


def points_of_csv(folder: Path) -> list[Point]:
    """Every number of the tables of a run, but for speeds and the result."""
    found = []
    for path in sorted((folder / "csv").glob("*.csv")):
        if path.stem == "speed" or path.stem.startswith("result"):
            continue
        with path.open(newline="") as table:
            for row in csv.DictReader(table):
                step = int(row.pop("step"))
                found += [(f"{path.stem}/{key}", step, float(value)) for key, value in row.items() if value != ""]
    return found


def events(folder: Path) -> Iterator[Any]:
    """What event files hold, as TensorBoard shows it: where a writer begins anew at a step, later ones are dropped."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    kept: list[Any] = []
    for path in sorted(folder.glob("events.out.tfevents*"), key=lambda path: path.stat().st_mtime_ns):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack("<Q", content[at : at + 8])
            event = Event.FromString(content[at + 12 : at + 12 + length])
            at += 12 + length + 4
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                kept = [other for other in kept if other.step < event.step]
            kept.append(event)
    yield from kept


def scalars(folder: Path) -> list[Point]:
    """The scalars of event files, but for speeds."""
    found = []
    for event in events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value") and not value.tag.startswith("speed/"):
                found.append((value.tag, event.step, value.simple_value))
    return found


def assert_same(found: list[Point], expected: list[Point], rel: float = 0.0) -> None:
    """Equal points, each once, whatever their order."""
    assert [point[:2] for point in sorted(found)] == [point[:2] for point in sorted(expected)]
    for (name, step, ours), (_, _, theirs) in zip(sorted(found), sorted(expected), strict=True):
        assert ours == pytest.approx(theirs, rel=rel, abs=0, nan_ok=True), (name, step)


def lines_of(file: Path) -> list[list[Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def warnings_into(found: list[str]) -> Any:
    return lambda event, facts: found.append(facts["text"]) if event == "warning" else None


def test_tensorboard_and_csv_have_the_numbers_of_the_log(tmp_path: Path) -> None:
    train(toy_config(*STEPS, "recorders.csv={}"), tmp_path / "x")
    expected = points_of_log(tmp_path / "x")
    assert {name for name, _, _ in expected} >= {"train/loss", "train/lr", "validation/loss", "grad_norm/total"}
    assert_same(scalars(tmp_path / "x"), expected, rel=1e-6)  # an event holds 32 bits
    assert_same(points_of_csv(tmp_path / "x"), expected)
    (result,) = csv.DictReader((tmp_path / "x/csv/result_test.csv").read_text().splitlines())
    assert float(result["loss"]) == RunDir(tmp_path / "x").metrics()["loss"]  # type: ignore[index]
    speeds = list(csv.DictReader((tmp_path / "x/csv/speed.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in speeds] == [3, 6, 9]


def test_tensorboard_shows_the_configuration_unless_it_is_not_to(tmp_path: Path) -> None:
    train(toy_config("train.steps=1"), tmp_path / "x")
    (text,) = (v for event in events(tmp_path / "x") for v in event.summary.value if v.tag.startswith("config"))
    assert b"    task: {name: toy, seq_len: 6}" in text.tensor.string_val[0]
    train(toy_config("train.steps=1", "recorders.tensorboard.config=false"), tmp_path / "y")
    assert not [v for event in events(tmp_path / "y") for v in event.summary.value if v.tag.startswith("config")]


def test_a_resumed_run_has_no_step_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy_config(*STEPS, "train.log_every=1", "recorders.csv={}")
    stop_at(7, config, tmp_path / "x", monkeypatch)  # after rows at steps 5, 6 and 7, behind the checkpoint of step 4
    train(None, tmp_path / "x", resume=True)
    expected = points_of_log(tmp_path / "x")
    assert len(expected) == len({point[:2] for point in expected})
    assert_same(points_of_csv(tmp_path / "x"), expected)
    assert_same(scalars(tmp_path / "x"), expected, rel=1e-6)


@pytest.mark.parametrize("step", [2, 7])
def test_a_final_recorder_gets_each_row_once(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step 2 is before the first checkpoint: the run then begins again."""
    config = with_recorder(recorders.Final)
    stop_at(step, config, tmp_path / "x", monkeypatch)
    state = json.loads((tmp_path / "x/recorders/specimen.json").read_text())
    assert state["kept"] == {"file": "service.jsonl"}
    train(None, tmp_path / "x", resume=True)
    lines = lines_of(tmp_path / "x/service.jsonl")
    assert [line for line in lines if line[0] in ("opened", "closed")] == [
        ["opened", "x", 0],
        ["closed", "failed"],
        ["opened", "x", 0],
        ["closed", "complete"],
    ]
    given: list[Point] = []
    for line in lines:
        if line[0] not in ("opened", "closed", "speed") and not line[0].startswith(("result/", "picture/")):
            given += [(f"{line[0]}/{key}", line[1], value) for key, value in line[2].items()]
    assert_same(given, points_of_log(tmp_path / "x"))
    assert [line[1] for line in lines if line[0] == "speed"] == list(range(1, 10))
    assert [line[0] for line in lines].count("result/test") == 1


def test_a_recorder_that_comes_with_a_resume_gets_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = toy_config(*STEPS, "train.log_every=1")
    stop_at(7, plain, tmp_path / "x", monkeypatch)
    train(toy_config(*STEPS, "train.log_every=1", "recorders.csv={}"), tmp_path / "x", resume=True)
    expected = points_of_log(tmp_path / "x")
    assert_same(points_of_csv(tmp_path / "x"), expected)
    speeds = list(csv.DictReader((tmp_path / "x/csv/speed.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in speeds] == list(range(1, 10))


@pytest.mark.parametrize(
    ("cls", "told"),
    [
        (recorders.FailsAtOnce, r"ConnectionError: no answer from the server"),
        (recorders.FailsLate, r"OSError: \[Errno 28\] No space left on device"),
    ],
)
def test_a_recorder_that_fails_is_told_once_and_changes_nothing(cls: type, told: str, tmp_path: Path) -> None:
    warnings: list[str] = []
    result = train(with_recorder(cls), tmp_path / "x", report=warnings_into(warnings))
    (line,) = warnings
    assert re.fullmatch(
        rf"recorder specimen: left out from here on \({told}\); .*metrics\.jsonl has every row", line
    ), line
    plain = train(with_recorder(recorders.Honest), tmp_path / "y")
    assert result.metrics == plain.metrics
    assert (tmp_path / "x/metrics.jsonl").read_bytes() == (tmp_path / "y/metrics.jsonl").read_bytes()


def test_a_recorder_that_hangs_keeps_no_run_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(recording.PATIENCE, "complete", 0.1)
    warnings: list[str] = []
    train(with_recorder(recorders.Hangs), tmp_path / "x", report=warnings_into(warnings))
    (line,) = warnings
    assert line.startswith("recorder specimen: not finished 0.1 seconds after the run; what it was to send may be inc")
    assert RunDir(tmp_path / "x").state() == "complete"


def test_a_recorder_that_is_too_far_behind_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST", 5)
    warnings: list[str] = []
    train(with_recorder(recorders.Hangs), tmp_path / "x", report=warnings_into(warnings))
    (line,) = warnings
    assert line.startswith("recorder specimen: left out from here on, for it is 5 rows behind; ")


def test_a_damaged_record_is_told_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = with_recorder(recorders.Final)
    stop_at(7, config, tmp_path / "x", monkeypatch)
    (tmp_path / "x/recorders/specimen.json").write_text('{"rows": "many"}')
    before = (tmp_path / "x/service.jsonl").read_bytes()
    warnings: list[str] = []
    train(None, tmp_path / "x", resume=True, report=warnings_into(warnings))
    (line,) = (
        text for text in warnings if text.startswith("recorder ")
    )  # without matplotlib another is about pictures
    assert "recorders/specimen.json: damaged; remove it to begin a new record" in line
    assert (tmp_path / "x/service.jsonl").read_bytes() == before


def test_pictures_of_diagnostics_go_to_those_that_want_them(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    config = with_recorder(recorders.Final, "recorders.tensorboard.pictures=true")
    train(config, tmp_path / "x")
    (picture,) = (line for line in lines_of(tmp_path / "x/service.jsonl") if line[0] == "picture/grad_norm")
    assert picture[1] == 9
    assert picture[2]["bytes"] > 1000
    (image,) = (v.image for event in events(tmp_path / "x") for v in event.summary.value if v.HasField("image"))
    assert image.encoded_image_string.startswith(b"\x89PNG")
    assert image.width > image.height > 100


def test_recorders_may_change_where_a_run_is_resumed_and_nothing_else(tmp_path: Path, monkeypatch: Any) -> None:
    plain = toy_config(*STEPS)
    train(plain, tmp_path / "x")
    monkeypatch.setattr(RunDir, "config", lambda self: plain)
    choose_run(toy_config(*STEPS, "recorders.csv={}", "recorders.tensorboard=null"), tmp_path / "x", None, True)
    with pytest.raises(BadInput, match="seed is 1, was 0"):
        choose_run(toy_config(*STEPS, "recorders.csv={}", "seed=1"), tmp_path / "x", None, True)


def test_a_configuration_says_nothing_of_the_usual_recorder_alone() -> None:
    usual = toy_config()
    assert "recorders" not in usual.to_dict()
    assert list(usual.recorders) == ["tensorboard"]
    assert toy_config("recorders.tensorboard=null").to_dict()["recorders"] == {"tensorboard": None}
    both = toy_config("recorders.csv={}").to_dict()["recorders"]
    assert both == {"tensorboard": {"config": True, "pictures": False}, "csv": {}}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("recorders=csv", "recorders: expected a table, got 'csv'"),
        ("recorders.csv=true", "recorders.csv: expected a table of options, or null to remove it, got True"),
        ("recorders.cvs={}", "unknown recorder 'cvs'; did you mean 'csv'?"),
        ("recorders.csv.file=a", "recorders.csv.file: unknown option"),
        ("recorders.mlflow.uri=https://me:secret@host", "recorders.mlflow.uri: expected an address without a password"),
    ],
)
def test_what_no_recorder_is_is_refused(override: str, told: str) -> None:
    with pytest.raises(BadInput) as refused:
        toy_config(override)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_table_that_gets_a_column_late_stays_a_table(tmp_path: Path) -> None:
    from lot.builtin.recorders.csv import Csv
    from lot.contracts import Recording
    from lot.options.declare import NoOptions

    recorder = Csv(NoOptions())
    recorder.open(Recording(tmp_path, "x", {}, False, 0, False, 0, 0, {}))
    recorder.write("lot-x:spectrum", 1, {"a": 1.5, 'odd, "name"': math.nan})
    recorder.write("lot-x:spectrum", 2, {"b": 2.0})
    recorder.write("lot-x:spectrum", 3, {"a": 0.1, "b": 3.0})
    recorder.close("complete")
    rows = list(csv.DictReader((tmp_path / "csv/lot-x-spectrum.csv").read_text().splitlines()))
    assert rows == [
        {"step": "1", "a": "1.5", 'odd, "name"': "nan", "b": ""},
        {"step": "2", "a": "", 'odd, "name"': "", "b": "2.0"},
        {"step": "3", "a": "0.1", 'odd, "name"': "", "b": "3.0"},
    ]
