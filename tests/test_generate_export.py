"""`lot generate` and `lot export`, from the outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import Lot, sets

from lot.runs.load import load_run

RUN = ["run", "--task", "copy_reverse", *sets(), "--set", "train.steps=8", "--run-dir", "r"]


@pytest.fixture
def run(lot: Lot) -> Lot:
    """The command line in a folder with a run of lattice attention in `r`."""
    done = lot(*RUN, "--attn", "lattice")
    assert done.returncode == 0, done.stderr
    return lot


def test_generate_answers_a_test_example(run: Lot) -> None:
    done = run("generate", "r", "--example", "2", "--json")
    document = json.loads(done.stdout)
    batch = load_run("r").task.batch("test", 2, 1)
    scored = batch.targets[0][batch.targets[0] != -100].tolist()
    assert document["answer"]["ids"] == scored
    assert document["prompt"]["ids"] == batch.inputs[0, : 8 - len(scored) + 1].tolist()
    (sample,) = document["samples"]
    assert len(sample["ids"]) == len(scored)
    assert run("generate", "r", "--example", "2", "--json").stdout == done.stdout
    said = run("generate", "r", "--example", "2")
    assert said.stdout == f"{document['prompt']['text']} {sample['text']}\n"
    assert f"of {len(scored)} right" in said.stderr


def test_generate_continues_a_prompt(run: Lot) -> None:
    arguments = ["generate", "r", "--prompt", "1 2 3", "--tokens", "20", "--samples", "3", "--json"]
    document = json.loads(run(*arguments).stdout)
    assert document["answer"] is None
    assert document["prompt"] == {"text": "1 2 3", "ids": [1, 2, 3]}
    assert [len(sample["ids"]) for sample in document["samples"]] == [20] * 3
    assert len({sample["text"] for sample in document["samples"]}) == 3
    other = json.loads(run(*arguments, "--seed", "1").stdout)
    assert other["samples"] != document["samples"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent"], ["absent", "no run there"]),
        (["r", "--prompt", ""], ["prompt", "1 to 8 tokens"]),
        (["r", "--prompt", "what"], ["'what'", "no token"]),
        (["r", "--example", "32"], ["--example", "0 to 31", "32"]),
        (["r", "--temperature", "-1"], ["--temperature"]),
        (["r", "--top-p", "0"], ["--top-p"]),
    ],
)
def test_generate_refuses(run: Lot, arguments: list[str], words: list[str]) -> None:
    done = run("generate", *arguments)
    assert done.returncode == 2
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr


def test_an_exported_program_gives_the_logits_in_another_process(run: Lot, tmp_path: Path) -> None:
    done = run("export", "r", "model.pt2")
    assert done.returncode == 0, done.stderr
    assert "any batch, up to 8 tokens" in done.stdout
    assert "import lot_lattice.attention.lattice before" in done.stdout
    ids = torch.randint(16, (5, 7))
    expected = load_run("r").model(ids).logits
    code = (
        "import lot_lattice.attention.lattice, torch; program = torch.export.load('model.pt2');"
        f"print(program.module()(torch.tensor({ids.tolist()})).tolist())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    torch.testing.assert_close(torch.tensor(json.loads(found.stdout)), expected, atol=1e-5, rtol=1e-4)


def test_exported_weights_are_the_models_and_carry_their_configuration(run: Lot) -> None:
    from safetensors import safe_open

    assert run("export", "r", "model.safetensors").returncode == 0
    own = load_run("r").model.state_dict()
    with safe_open("model.safetensors", "pt") as file:
        assert set(file.keys()) == set(own)
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in own.items())
        assert file.metadata()["config"] == Path("r/config.yaml").read_text()


def test_export_refuses_and_leaves_nothing_behind(run: Lot, tmp_path: Path) -> None:
    (tmp_path / "there.pt2").write_text("mine")
    before = sorted(tmp_path.iterdir())
    for arguments, words in (
        (["r", "there.pt2"], ["there.pt2 exists", "--force"]),
        (["r", "model.onnx"], [".pt2 or .safetensors", "model.onnx"]),
        (["r", "absent/model.pt2"], ["absent", "cannot be written"]),
        (["absent", "model.pt2"], ["no run there"]),
    ):
        done = run("export", *arguments)
        assert done.returncode == 2
        assert all(word in done.stderr for word in words), done.stderr
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.pt2").read_text() == "mine"
