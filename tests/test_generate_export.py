"""`lot generate` and `lot export`, from the outside."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support import Lot, sets

from lot import registry
from lot.runs.load import load_run

RUN = ["run", "--task", "copy_reverse", *sets(), "--set", "train.steps=8"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of lattice attention, made once."""
    from lot_cli.main import main

    folder = tmp_path_factory.mktemp("trained") / "r"
    assert main([*RUN, "--attn", "lattice", "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def run(lot: Lot, trained: Path, tmp_path: Path) -> Lot:
    """The command line in a folder with a copy of it in `r`."""
    shutil.copytree(trained, tmp_path / "r", symlinks=True)
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


WITHOUT_LOT = """
import importlib.abc, json, sys, torch
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith("lot"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
"""


def in_another_process(code: str, folder: Path) -> Any:
    """What `code` prints as JSON."""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_exported_program_gives_the_logits_where_lot_is_not(run: Lot, tmp_path: Path) -> None:
    done = run("export", "r", "model.pt2")
    assert done.returncode == 0, done.stderr
    assert "any batch, up to 8 tokens" in done.stdout
    assert "at 1 x 8, 3 x 5, 1 x 1, 5 x 7" in done.stdout
    assert "import" not in done.stdout
    ids = torch.randint(16, (4, 6))
    code = (
        f"{WITHOUT_LOT}program = torch.export.load('model.pt2').module();"
        f"print(json.dumps(program(torch.tensor({ids.tolist()})).tolist()))"
    )
    found = torch.tensor(in_another_process(code, tmp_path))
    torch.testing.assert_close(found, load_run("r").model(ids).logits, atol=1e-5, rtol=1e-4)


def test_a_native_program_calls_the_operators_of_the_plugin(run: Lot, tmp_path: Path) -> None:
    done = run("export", "r", "model.pt2", "--operators", "native")
    assert done.returncode == 0, done.stderr
    assert "import lot_lattice.attention.lattice before" in done.stdout
    ids = torch.randint(16, (5, 7))
    load = f"torch.export.load('model.pt2').module()(torch.tensor({ids.tolist()})).tolist()"
    code = f"import json, torch, lot_lattice.attention.lattice; print(json.dumps({load}))"
    found = torch.tensor(in_another_process(code, tmp_path))
    torch.testing.assert_close(found, load_run("r").model(ids).logits, atol=1e-5, rtol=1e-4)
    refused = f"{WITHOUT_LOT}try: {load}\nexcept Exception as error: print(json.dumps(str(error)))"
    assert "deserializing" in in_another_process(refused, tmp_path)


def test_signals_come_beside_the_logits(run: Lot) -> None:
    done = run("export", "r", "model.pt2", "--signals", "phase", "--signals", "hidden")
    assert done.returncode == 0, done.stderr
    assert "logits and hidden, phase equal" in done.stdout
    ids = torch.randint(16, (2, 5))
    found = torch.export.load("model.pt2").module()(ids)
    model = load_run("r").model
    model.set_want(frozenset({"phase", "hidden"}))
    output = model(ids)
    assert set(found) == {"logits", "hidden", "phase.0", "phase.1"}
    for name, expected in (
        ("logits", output.logits), ("hidden", output.signals["hidden"]), ("phase.1", output.signals["phase"][1])
    ):  # fmt: skip
        torch.testing.assert_close(found[name], expected, atol=1e-5, rtol=1e-4)


def test_the_signal_of_weights_takes_every_size_too(lot: Lot) -> None:
    assert lot(*RUN, "--run-dir", "r", "--attn", "toroidal", "--set", "attn.depth=2").returncode == 0
    done = lot("export", "r", "model.pt2", "--signals", "attention")
    assert done.returncode == 0, done.stderr
    assert "any batch, up to 8 tokens; logits and attention equal" in done.stdout


LOOPING = """
import torch
from lot import Attention, Component, NoOptions, hookimpl

class Looping(Attention):
    def __init__(self, config, dims):
        super().__init__()
        self.out = torch.nn.Linear(dims.width, dims.width)

    def forward(self, x, ctx):
        state, found = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            state = 0.5 * state + x[:, t]
            found.append(state)
        return self.out(torch.stack(found, dim=1)), {}

@hookimpl
def lot_attentions():
    return [Component(name="looping", summary="A loop in Python.", factory="lot_looping:Looping")]
"""


def test_a_length_that_the_mechanism_fixes_is_told_before_anything_is_written(
    lot: Lot, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path_factory.mktemp("site")
    (site / "lot_looping.py").write_text(LOOPING)
    info = site / "lot_looping-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lot-looping\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lot]\nlooping = lot_looping\n")
    monkeypatch.syspath_prepend(str(site))
    registry.cache_clear()
    try:
        assert lot(*RUN, "--run-dir", "r", "--attn", "looping").returncode == 0
        done = lot("export", "r", "model.pt2")
        assert done.returncode == 2
        assert "attention looping: the program would take any batch, 8 tokens and no others" in done.stderr
        assert not Path("model.pt2").exists()
        done = lot("export", "r", "model.pt2", "--fixed-sizes")
        assert done.returncode == 0, done.stderr
        assert (
            "any batch, 8 tokens; logits equal to the model's to 0.0001 (relative) at 1 x 8, 3 x 8, 5 x 8"
            in done.stdout
        )
    finally:
        monkeypatch.undo()
        registry.cache_clear()


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="needs onnxruntime")
def test_onnx_runtime_gives_the_logits_and_the_phases(run: Lot) -> None:
    import onnxruntime

    done = run("export", "r", "model.onnx", "--signals", "phase")
    assert done.returncode == 0, done.stderr
    assert "any batch, up to 8 tokens; in ONNX Runtime logits and phase equal" in done.stdout
    assert "torchvision" not in done.stderr
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    assert [(given.name, given.shape) for given in session.get_inputs()] == [("ids", ["batch", "length"])]
    ids = torch.randint(16, (6, 3))
    found = session.run(["logits", "phase.1"], {"ids": ids.numpy()})
    model = load_run("r").model
    model.set_want(frozenset({"phase"}))
    output = model(ids)
    torch.testing.assert_close(torch.from_numpy(found[0]), output.logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.from_numpy(found[1]), output.signals["phase"][1], atol=1e-5, rtol=1e-4)


def test_without_its_packages_onnx_is_refused_with_what_to_install(run: Lot, monkeypatch: pytest.MonkeyPatch) -> None:
    from lot_cli.export import formats

    monkeypatch.setattr(formats, "ONNX_PACKAGES", ("onnx_that_nobody_has",))
    done = run("export", "r", "model.onnx")
    assert done.returncode == 2
    assert "onnx_that_nobody_has" in done.stderr
    assert "pip install 'lot-cli[onnx]'" in done.stderr
    assert not Path("model.onnx").exists()


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
        (["r", "model.bin"], [".pt2, .onnx, .safetensors", "model.bin"]),
        (["r", "model.pt2", "--signals", "phases"], ["--signals", "hidden, natural_frequency", "phases"]),
        (
            ["r", "model.pt2", "--format", "safetensors", "--signals", "phase"],
            ["--signals", "safetensors holds weights"],
        ),
        (["r", "model.onnx", "--operators", "native"], ["--operators", "onnx"]),
        (["r", "absent/model.pt2"], ["absent", "cannot be written"]),
        (["absent", "model.pt2"], ["no run there"]),
    ):
        done = run("export", *arguments)
        assert done.returncode == 2
        assert all(word in done.stderr for word in words), done.stderr
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.pt2").read_text() == "mine"


def test_a_folder_for_transformers_holds_what_builds_the_model_again(run: Lot) -> None:
    from safetensors.torch import load_file

    import lot

    done = run("export", "r", "out", "--format", "hf")
    assert done.returncode == 0, done.stderr
    assert "no tokenizer" in done.stdout
    facts = json.loads(Path("out/config.json").read_text())
    assert facts["model_type"] == "lot"
    loaded = load_run("r", device="cpu")
    tensors = load_file("out/model.safetensors")
    assert tensors.keys() == {f"model.{name}" for name in loaded.model.state_dict()}
    model = lot.build_model(lot.load_config(facts["lot"]), loaded.task).eval()
    model.load_state_dict({name.removeprefix("model."): value for name, value in tensors.items()})
    ids = torch.randint(facts["vocab_size"], (2, 8))
    assert torch.equal(model(ids).logits, loaded.model(ids).logits)
    again = run("export", "r", "out", "--format", "hf", "--force")
    assert again.returncode == 2
    assert "out exists; choose a folder that is not there yet" in again.stderr
    assert not list(Path(".").glob("out?*"))


def test_a_folder_for_transformers_has_no_signals(run: Lot) -> None:
    done = run("export", "r", "out", "--format", "hf", "--signals", "phase")
    assert done.returncode == 2
    assert "--signals: for programs (.pt2, .onnx); hf holds weights" in done.stderr
    assert not Path("out").exists()
