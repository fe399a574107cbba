"""Pretrained models through the command that a user types."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("lot_cli")
pytest.importorskip("lot_tasks")


def lot(*words, cwd):
    command = [sys.executable, "-m", "lot_cli", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(write, configs, values):
    """A model of bytes."""
    config = {**configs["llama"], "vocab_size": 256}
    return write(config, {
        name: value if value.shape[0] != 31 else value.repeat(9, 1)[:256] for name, value in values(config).items()
    })  # fmt: skip


SETTINGS = ("train.steps=4", "train.batch_size=4", "train.eval_examples=8", "train.test=false", "task.seq_len=16")
RUN = ("run", "--model", "hf", "--task", "bytes_lm", "--run-dir", "run", *(f"--set={one}" for one in SETTINGS))


def test_a_graft_is_trained_evaluated_resumed_and_speaks(folder, tmp_path):
    done = lot(*RUN, f"--set=model.path={folder}", "--set=model.layers=[1]", "--set=train.only=[attn]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split() + done.stdout.split())
    assert "Vanilla in layer 1: takes over queries, keys, values and output" in told
    assert "3,072 parameters and 28,384 that do not train" in told  # W of q, k, v and o of one layer; all the rest
    again = lot("run", "--resume", "--run-dir", "run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    evaluated = lot("eval", "run", "--split", "validation", "--examples", "8", "--json", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    logged = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    (validation,) = [row for row in logged if row.get("split") == "validation"]
    assert json.loads(evaluated.stdout)["metrics"]["loss"] == pytest.approx(validation["loss"], rel=1e-6)
    spoken = lot("generate", "run", "--prompt", "Hello", "--tokens", "8", cwd=tmp_path)
    assert spoken.returncode == 0, spoken.stderr


def test_a_run_of_an_earlier_version_tells_that_the_files_of_its_model_have_changed(folder, tmp_path):
    assert lot(*RUN, f"--set=model.path={folder}", "--set=model.layers=[1]", cwd=tmp_path).returncode == 0
    shutil.rmtree(tmp_path / "run/model")  # which no run had
    evaluate = ("eval", "run", "--split", "validation", "--examples", "8")
    assert "no longer" not in lot(*evaluate, cwd=tmp_path).stderr
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**facts, "rms_norm_eps": 0.5}))
    told = " ".join(lot(*evaluate, cwd=tmp_path).stderr.split())
    assert "the files that the model hf is made from are no longer those of the training" in told
    longer = lot("run", "--extend", "run", "--set=train.steps=6", "--run-dir", "more", cwd=tmp_path)
    assert "going on on other numerics or data, so bits may differ: model was" in " ".join(longer.stderr.split())


def test_what_rests_is_what_the_file_says(folder, tmp_path):
    from safetensors.torch import load_file

    options = (f"--set=model.path={folder}", "--set=model.layers=[2]", "--set=train.only=[attn]")
    assert lot(*RUN, *options, cwd=tmp_path).returncode == 0
    assert lot("export", "run", "x.safetensors", cwd=tmp_path).returncode == 0
    trained, given = load_file(tmp_path / "x.safetensors"), load_file(folder / "model.safetensors")
    assert trained["embedding.table.weight"].equal(given["model.embed_tokens.weight"])
    assert trained["blocks.1.attention.heads.out.weight"].equal(given["model.layers.1.self_attn.o_proj.weight"])
    assert not trained["blocks.2.attention.heads.out.weight"].equal(given["model.layers.2.self_attn.o_proj.weight"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "model.path: required, but not given"),
        (("--set=model.path=nowhere/at/all",), "no such folder or file: nowhere/at/all"),
        (("--set=model.path=FOLDER", "--set=train.only=[heads]"), "train.only: 'heads' means no parameter"),
        (("--set=model.path=FOLDER", "--set=model.layers=[9]"), "model.layers: expected layers from 0 to 2, got 9"),
        (("--set=model.path=FOLDER", "--task=char_lm"), "knows 256 tokens, and task char_lm has"),
        (("--set=model.path=FOLDER", "--set=mlp.name=gelu"), "for model hf brings its own"),
        (("--set=model.path=FOLDER", "--set=task.seq_len=65"), "at most the 64 tokens of the pretrained model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(options, told, folder, tmp_path):
    done = lot(*RUN, *(one.replace("FOLDER", str(folder)) for one in options), cwd=tmp_path)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2
    assert told in line
    assert not (tmp_path / "run").exists()


def test_help_and_lists_import_neither_the_plugin_nor_torch(tmp_path):
    code = (
        "import sys\nfrom lot_cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('lot_hf', 'torch', 'safetensors')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


def test_states_below_a_graft_are_computed_once_for_runs_resumes_and_evaluations(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    options = (
        f"--set=model.path={folder}", "--set=model.layers=[2]", "--set=train.only=[attn]", "--set=train.cache_prefix=true",
        "--set=task.windows=fixed",
    )  # fmt: skip
    done = lot(*RUN, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (listed,) = json.loads(lot("cache", "prefix", "--json", cwd=tmp_path).stdout)["entries"]
    assert listed["what"] == "states of Pretrained after layers 0 to 1, width 32, float32"
    evaluate = ("eval", "run", "--split", "validation", "--examples", "8", "--json")
    evaluated = lot(*evaluate, cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    (again,) = json.loads(lot("cache", "prefix", "--json", cwd=tmp_path).stdout)["entries"]
    assert again == listed, "an evaluation of what training has seen adds nothing"
    assert lot("cache", "prefix", "--delete", cwd=tmp_path).returncode == 0
    assert lot("cache", cwd=tmp_path).stdout == ""
    assert json.loads(lot(*evaluate, cwd=tmp_path).stdout)["metrics"] == json.loads(evaluated.stdout)["metrics"]
    assert lot("run", "--extend", "run", "--set=train.steps=6", "--run-dir", "more", cwd=tmp_path).returncode == 0
    for command in (("diagnose", "run", "attention_entropy"), ("ablate", "run"), ("generate", "run", "--tokens", "4")):
        told = lot(*command, cwd=tmp_path)
        assert told.returncode == 0, told.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--set=model.layers=[0]", "--set=train.only=[attn]"), "got a training in which layer 0 trains"),
        (("--set=model.layers=[2]",), "got a training in which layer 0 trains; say by train.only what trains"),
        (("--set=model.layers=[2]", "--set=train.only=[attn]", "--set=model.dropout=0.1"), "they are random"),
    ],
)
def test_what_cannot_be_kept_is_one_line(options, told, folder, tmp_path):
    done = lot(*RUN, f"--set=model.path={folder}", "--set=train.cache_prefix=true", *options, cwd=tmp_path)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2
    assert line.startswith("error: train.cache_prefix: ")
    assert told in line
    assert not (tmp_path / "run").exists()
