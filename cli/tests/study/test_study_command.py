"""`lot study` and `lot compare`: reports again, refusals, and what goes to which stream."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from study_support import RUN, SMALL, Made, write

pytest.importorskip("lot_tasks")


@pytest.fixture
def placed(made: Made, lot: Callable, tmp_path: Path) -> Path:
    """The file of the finished study, in a working folder that has its result."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "small").symlink_to(made.folder)
    return write(tmp_path / "small.yaml", SMALL)


def test_a_finished_study_is_reported_again_without_torch_or_scipy(placed: Path) -> None:
    code = (
        "import sys; from lot_cli.main import main; code = main(['study', 'small.yaml', '--report-only']);"
        "print(code, sorted({'torch', 'scipy', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=placed.parent, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "against vanilla" in done.stdout
    assert (placed.parent / "studies" / "small" / "report.html").exists()


def test_every_run_has_a_link_by_its_name(placed: Path, lot: Callable, made: Made) -> None:
    assert lot("study", str(placed), "--report-only").code == 0
    folder = placed.parent / "studies" / "small"
    links = {link.name: link.resolve().name for link in (folder / "by-name").iterdir()}
    assert links == {f"{run.arm}-seed{run.seed}": run.key for run in made.result.runs}
    assert len(links) == 6
    done = lot("report", str(folder / "by-name" / "smooth-seed1"), "--out", "page.html")
    assert done.code == 0, done.err
    assert "label_smoothing = 0.2" in (placed.parent / "page.html").read_text()


def test_a_key_that_leads_out_of_the_folder_gets_no_link(placed: Path, lot: Callable, made: Made) -> None:
    folder = placed.parent / "studies" / "small"
    data = json.loads((folder / "study.json").read_text())
    before = (folder / "study.json").read_text()
    for run in data["runs"]:
        run["key"] = "../runs"
    (folder / "study.json").write_text(json.dumps(data))
    shutil.rmtree(folder / "by-name", ignore_errors=True)
    try:
        assert lot("study", str(placed), "--report-only").code == 0
        assert list((folder / "by-name").iterdir()) == []
    finally:
        (folder / "study.json").write_text(before)


def test_what_stands_in_the_place_of_the_links_is_left(placed: Path, lot: Callable, made: Made) -> None:
    links = made.folder / "by-name"
    shutil.rmtree(links, ignore_errors=True)
    links.write_text("mine")
    try:
        done = lot("study", str(placed), "--report-only")
        assert (done.code, links.read_text()) == (2, "mine")
    finally:
        links.unlink()
    assert "studies/small/by-name: cannot be written" in done.err


def test_a_link_out_of_a_study_is_refused(placed: Path, lot: Callable, made: Made, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    tables = made.folder / "tables"
    shutil.rmtree(tables, ignore_errors=True)
    tables.symlink_to(outside)
    try:
        done = lot("study", str(placed), "--report-only")
    finally:
        tables.unlink()
    assert (done.code, list(outside.iterdir())) == (2, [])
    assert "is a link to" in done.err


def test_a_report_shows_the_diagnostics_of_its_arms(lot: Callable, tmp_path: Path) -> None:
    content = {**SMALL, "base": {**RUN, "diagnostics": {"grad_norm": {"every": 3}}}, "seeds": 2}
    content = {key: value for key, value in content.items() if key not in ("tune", "tune_seeds", "extend", "claims")}
    done = lot("study", str(write(tmp_path / "drawn.yaml", content)))
    assert done.code == 0, done.err
    page = (tmp_path / "studies/drawn/report.html").read_text()
    assert "grad_norm.total on validation; mean and 95 % t interval" in page
    for arm in ("vanilla", "smooth"):
        assert f"{arm}-seed0: pictures of its diagnostics" in page
    assert page.count("data:image/png;base64,") == 2
    rows = (tmp_path / "studies/drawn/tables/diagnostics.csv").read_text().splitlines()
    assert rows[0] == "scalar,arm,step,mean,low,high"
    assert len(rows) == 1 + 2 * 2 * 3  # two arms, two scalars; at the start, in the middle and at the end


def test_json_is_all_that_stdout_gets(placed: Path, lot: Callable, made: Made) -> None:
    done = lot("study", str(placed), "--report-only", "--json")
    assert json.loads(done.out) == json.loads((made.folder / "study.json").read_text())
    assert "against vanilla" in done.err


def test_a_report_without_its_record_of_looks_has_no_verdict(placed: Path, lot: Callable) -> None:
    (placed.parent / "studies" / "small" / "looks.jsonl").unlink()
    done = lot("study", str(placed), "--report-only")
    assert done.code == 0, done.err
    assert "looks unknown: the record of earlier looks (looks.jsonl) is gone or broken" in done.out
    assert "no verdict on smooth in loss" not in done.out  # of the main metric alone
    assert "no verdict on smooth in token_accuracy, since the record of earlier looks is gone" in done.out


def test_a_caveat_is_added_without_a_run(placed: Path, lot: Callable) -> None:
    done = lot("study", str(write(placed, {**SMALL, "caveats": ["Eight tokens only."]})), "--report-only")
    assert done.code == 0, done.err
    folder = placed.parent / "studies" / "small"
    for text in (done.out, (folder / "report.md").read_text(), (folder / "report.html").read_text()):
        assert "Eight tokens only." in text


def test_a_changed_file_is_not_reported_from_an_old_result(placed: Path, lot: Callable) -> None:
    done = lot("study", str(write(placed, {**SMALL, "seeds": 4})), "--report-only")
    assert done.code == 2
    assert "the study file has changed since its result; run it without --report-only" in done.err


def test_an_unfinished_study_has_no_report(lot: Callable, tmp_path: Path) -> None:
    done = lot("study", str(write(tmp_path / "new.yaml", SMALL)), "--report-only")
    assert done.code == 2
    assert "no finished study there" in done.err


def test_a_study_belongs_to_one_process(lot: Callable, tmp_path: Path) -> None:
    from lot_cli.study.folder import locked

    file = write(tmp_path / "small.yaml", SMALL)
    with locked(tmp_path / "studies" / "small"):
        done = lot("study", str(file))
    assert done.code == 2
    assert "is in use by another process" in done.err


def test_compare_from_the_command_line_and_again_from_its_file(lot: Callable, tmp_path: Path) -> None:
    pytest.importorskip("lot_lattice")
    options = ["--attn", "vanilla,lattice", "--task", "copy_reverse", "--seeds", "2", "--metrics", "loss"]
    for section in ("task", "model", "train"):
        table = SMALL["base"][section]
        options += [w for k, v in table.items() if k != "name" for w in ("--set", f"{section}.{k}={v}")]
    options += ["--set", "model.heads=4", "--set", "model.layers=2"]
    done = lot("compare", *options, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["name"] == "copy_reverse-vanilla-lattice"
    assert document["command"].startswith(
        "lot compare --attn vanilla,lattice --task copy_reverse --seeds 2 --metrics loss"
    )
    assert [c["verdict"] for c in document["comparisons"]] == ["too few pairs"]
    again = lot("study", "studies/copy_reverse-vanilla-lattice/study.yaml", "--report-only", "--json")
    assert json.loads(again.out) == document
    options[options.index("--seeds") + 1] = "3"
    done = lot("compare", *options, "--json")  # more seeds go on from the runs there are
    more = json.loads(done.out)
    assert more["name"] == document["name"]
    assert more["arms"]["lattice"]["scores"]["loss"][:2] == document["arms"]["lattice"]["scores"]["loss"]
    assert "lattice, seed 2" in done.err
    assert "lattice, seed 1" not in done.err
    assert json.loads(lot("compare", *options, "--json", "--set", "optim.lr=0.002").out)["name"].endswith("-2")
    refused = lot("compare", *options, "--set", "optim.lr=fast")
    assert refused.code == 2
    assert "optim.lr: expected" in refused.err
