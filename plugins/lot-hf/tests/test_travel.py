"""A run on a pretrained model holds all its weights: once it has a checkpoint, it needs the files it began with no more."""

from __future__ import annotations

import html
import json
import shutil
from subprocess import CompletedProcess

import pytest

pytest.importorskip("lot_cli")
pytest.importorskip("lot_tasks")

SETTINGS = ("train.steps=4", "train.batch_size=4", "train.eval_examples=8", "train.test=false", "task.seq_len=16")
RUN = ("run", "--model", "hf", "--task", "bytes_lm", *(f"--set={one}" for one in SETTINGS))
GRAFT = ("--set=model.path=model", "--set=model.layers=[1]")
SWEEP = tuple(word for word in RUN[1:] if "train.test" not in word)
EVALUATE = ("--split", "validation", "--examples", "8", "--json")


@pytest.fixture
def lot(monkeypatch, capsys):
    """The command line in a folder `cwd`, in this process."""
    from lot_cli.main import main

    def call(*words, cwd):
        monkeypatch.chdir(cwd)
        capsys.readouterr()
        code = main([str(word) for word in words])
        return CompletedProcess(words, code, *capsys.readouterr())

    return call


@pytest.fixture
def folder(write, configs, values):
    """A model of bytes, in the folder `model`."""
    config = {**configs["llama"], "vocab_size": 256}
    return write(config, {
        name: value if value.shape[0] != 31 else value.repeat(9, 1)[:256] for name, value in values(config).items()
    })  # fmt: skip


@pytest.fixture
def measured(lot):
    """The metrics of a run, as `lot eval` has them in a folder."""

    def metrics(run, cwd) -> dict:
        done = lot("eval", run, *EVALUATE, cwd=cwd)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr
        return json.loads(done.stdout)["metrics"]

    return metrics


def test_a_moved_run_is_evaluated_exported_and_resumed_without_its_model(lot, measured, folder, tmp_path):
    options = (*GRAFT, "--attn", "lattice", "--set=train.only=[new]", "--set=train.save_every=2")
    done = lot(*RUN, *options, "--run-dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before = measured("run", tmp_path)
    damaged = json.loads(lot("ablate", "run", "--json", cwd=tmp_path).stdout)
    shutil.rmtree(folder)
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (tmp_path / "run").rename(elsewhere / "moved")
    assert measured("moved", elsewhere) == before
    again = json.loads(lot("ablate", "moved", "--json", cwd=elsewhere).stdout)
    assert again["damages"] == damaged["damages"]
    for words in (
        ("generate", "moved", "--prompt", "Hello", "--tokens", "4"),
        ("export", "moved", "x.safetensors"),
        ("export", "moved", "folder", "--format", "hf"),
        ("diagnose", "moved", "order_parameter"),
        ("eval", "moved", "--set=task.seq_len=24", *EVALUATE),
    ):
        done = lot(*words, cwd=elsewhere)
        assert done.returncode == 0, done.stderr
    # An unfinished run goes on, and what does not train stays what it was.
    (elsewhere / "moved/metrics.json").unlink()
    shutil.rmtree(elsewhere / "moved/checkpoints/step_00000004")
    done = lot("run", "--resume", "--run-dir", "moved", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert "bits may differ" not in done.stderr
    assert "148 parameters and 31,456 that do not train" in " ".join((done.stderr + done.stdout).split())
    assert measured("moved", elsewhere) == before
    longer = lot("run", "--extend", "moved", "--set=train.steps=6", "--run-dir", "more", cwd=elsewhere)
    assert longer.returncode == 0, longer.stderr
    assert "bits may differ" not in longer.stderr
    assert measured("more", elsewhere)["loss"] == pytest.approx(before["loss"], rel=0.1)


def test_a_run_that_has_no_checkpoint_finds_its_model_where_it_was(lot, measured, folder, tmp_path):
    done = lot(*RUN, *GRAFT, "--run-dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loss = measured("run", tmp_path)
    (tmp_path / "run/metrics.json").unlink()
    for step in (tmp_path / "run/checkpoints").iterdir():
        shutil.rmtree(step)
    for link in ("best", "last"):
        (tmp_path / "run" / link).unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(tmp_path / "run", elsewhere / "run")
    done = lot("run", "--resume", "--run-dir", "run", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert measured("run", elsewhere) == loss
    shutil.rmtree(folder)
    refused = lot("run", "--resume", "--run-dir", "run", cwd=tmp_path)
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert f"model.path: what the model hf is made from is not here: {folder}" in line


def test_what_a_run_computes_does_not_change_with_the_files_it_began_with(lot, measured, folder, tmp_path):
    assert lot(*RUN, *GRAFT, "--run-dir", "run", cwd=tmp_path).returncode == 0
    before = measured("run", tmp_path)
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**facts, "rms_norm_eps": 0.5}))
    assert measured("run", tmp_path) == before


def test_what_was_kept_of_a_model_is_refused_when_it_is_damaged(lot, folder, tmp_path):
    assert lot(*RUN, *GRAFT, "--run-dir", "run", cwd=tmp_path).returncode == 0
    kept = tmp_path / "run/model/options.json"
    kept.write_text(kept.read_text().replace("1e-05", "1e-04"))
    for words in (("eval", "run"), ("run", "--resume", "--run-dir", "run"), ("plot", "run")):
        done = lot(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "run/model/options.json: damaged (its checksum is not that of the manifest)" in done.stderr


def test_its_report_names_what_it_read_and_the_layers_of_the_graft(lot, folder, tmp_path):
    assert lot(*RUN, *GRAFT, "--set=train.only=[attn]", "--run-dir", "run", cwd=tmp_path).returncode == 0
    recorded = json.loads((tmp_path / "run/run.json").read_text())["files"]["model.path"]
    kept = json.loads((tmp_path / "run/model/options.json").read_text())
    assert recorded == {"path": str(folder), "digest": kept["origin"]}
    shutil.rmtree(folder)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "run", tmp_path / "elsewhere/run")
    assert lot("report", "run", cwd=tmp_path / "elsewhere").returncode == 0
    page = html.unescape((tmp_path / "elsewhere/run/report.html").read_text())
    assert "vanilla in layer 1 on bytes_lm, 3 layers, 4 heads, width 32, 3,072 parameters that train and 28,384" in page
    assert f"From this folder, and what the run read: {folder}" in page
    assert f"--set 'model.path=\"{folder}\"'" in page
    assert "Components, and options that are not as they are by default." in page
    shutil.rmtree(tmp_path / "elsewhere/run/model")  # as a run of an earlier version
    assert lot("report", "run", cwd=tmp_path / "elsewhere").returncode == 0
    assert "vanilla on bytes_lm, 3,072 parameters" in html.unescape(
        (tmp_path / "elsewhere/run/report.html").read_text()
    )


def test_a_graft_into_no_layer_is_refused(lot, folder, tmp_path):
    done = lot(*RUN, "--set=model.path=model", "--set=model.layers=[]", "--run-dir", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert "model.layers: expected a layer, or null for all" in done.stderr


def test_a_sweep_over_models_is_refused_before_a_run_where_one_has_other_tokens(lot, folder, write, configs, tmp_path):
    write(configs["llama"], name="other")
    words = (*SWEEP, "--set=model.path=model,other", "--name", "s")
    done = lot("sweep", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert "with path=other: " in done.stderr
    assert "model hf has 31 tokens, and task bytes_lm 256" in done.stderr
    assert not (tmp_path / "sweeps").exists()


def test_a_sweep_is_reported_without_the_model_that_it_began_with(lot, folder, tmp_path):
    done = lot("sweep", *SWEEP, *GRAFT, "--set=optim.lr=1e-3,1e-2", "--name", "s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before = (tmp_path / "sweeps/s/sweep.csv").read_bytes()
    shutil.rmtree(folder)
    done = lot("sweep", "sweeps/s/sweep.yaml", "--report-only", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sweeps/s/sweep.csv").read_bytes() == before
