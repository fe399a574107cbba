"""A run directory: its state, and files that are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lot.errors import BadInput
from lot.runs.directory import RunDir
from lot.runs.log import Log


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run that was started."""
    run = RunDir(tmp_path)
    (tmp_path / "config.yaml").write_text("task: {name: toy}\n")
    return run


def test_a_run_is_complete_by_its_metrics_and_killed_when_nobody_holds_it(run: RunDir) -> None:
    assert RunDir(run.path / "elsewhere").state() == "new"
    run.acquire()
    run.set_status("running", step=3)
    assert RunDir(run.path).state() == "running"
    run.release()
    assert run.state() == "killed"
    run.set_status("complete")  # killed between this and metrics.json
    assert run.state() == "killed"
    run.set_status("failed")
    assert run.state() == "failed"
    run.complete({"metrics": {"loss": 1.0}})
    assert run.state() == "complete"


@pytest.mark.parametrize("text", ["", "{", "[]", "\ufeff", "3", '{"state": 3}'])
def test_a_status_that_cannot_be_read_is_no_kill(run: RunDir, text: str) -> None:
    (run.path / "status.json").write_text(text)
    assert run.status() == {}
    assert run.state() == "unknown"


@pytest.mark.parametrize("state", ["null", '"paused"', '""'])
def test_a_state_that_no_run_has_is_unknown(run: RunDir, state: str) -> None:
    (run.path / "status.json").write_text(f'{{"state": {state}, "step": 3}}')
    assert run.state() == "unknown"
    run.acquire()
    assert run.state() == "running"  # whatever the file says, a process is at work
    run.release()
    (run.path / "status.json").unlink()
    assert run.state() == "killed"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"{}", b'{"metrics": 3}'])
def test_damaged_metrics_are_named_with_the_remedy(run: RunDir, content: bytes) -> None:
    (run.path / "metrics.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"metrics\.json: damaged .*; remove it, and lot run --resume"):
        run.metrics()


@pytest.mark.parametrize("line", [b'{"step": 1', b"3", b"\xff", b""])
def test_a_damaged_row_is_named(run: RunDir, line: bytes) -> None:
    (run.path / "metrics.jsonl").write_bytes(b'{"step": 0}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(BadInput, match=r"metrics\.jsonl, line 2: damaged"):
        run.rows()
    (run.path / "metrics.jsonl").write_bytes(b'{"step": 0}\n' + line)
    assert run.rows() == [{"step": 0}], "a last line that a kill cut off is no damage"


def test_a_configuration_that_cannot_be_used_names_its_file(run: RunDir) -> None:
    for text in ("tsk: {}\n", "a: [", "model: {width: -1}\ntask: {name: toy}\n"):
        (run.path / "config.yaml").write_text(text)
        with pytest.raises(BadInput) as told:
            run.config()
        assert str(told.value).startswith(str(run.path / "config.yaml"))


def test_a_log_that_lost_its_end_goes_on_after_its_last_whole_row(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1}\n{"step": 2}\n{"st')
    log = Log(file, 48)
    log.write({"step": 5})
    log.close()
    assert [json.loads(line)["step"] for line in file.read_bytes().splitlines()] == [1, 2, 5]
    log = Log(file, 12)
    log.close()
    assert file.read_bytes() == b'{"step": 1}\n'
