"""`text_stream` with documents apart, through the commands: a packed row trains as its documents do one by one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
from support import Lot, refused
from test_torchrun import torchrun

import lot as core
from lot import IGNORED, Batch, Context
from lot.figure import token_names, unpack
from lot.nn import context
from lot.runs.load import load_run
from lot.storage import checkpoint
from lot.storage.folder import folder_of
from lot.storage.snapshots import load_records

RUN = ["run", "--task", "text_stream", "--set", "task.path=a.jsonl", "--set", "task.documents=apart"]
SIZES = {
    "task.seq_len": 32,
    "model.width": 16,
    "model.heads": 2,
    "model.layers": 2,
    "model.dropout": 0.0,
    "train.steps": 4,
    "train.batch_size": 4,
    "train.accumulate": 2,
    "train.save_every": 2,
    "train.eval_every": 2,
    "train.precision": "fp32",
}
WORDS = [*RUN, *(word for key, value in SIZES.items() for word in ("--set", f"{key}={value}"))]
END = 256


@pytest.fixture(autouse=True)
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents from one byte to more than a window."""
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    lengths = rng.choice([1, 2, 5, 9, 20, 60], 1500)
    texts = ["".join(rng.choice(list("abcdefg"), n)) for n in lengths]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def ran(lot: Lot, directory: str, *more: str) -> str:
    done = lot(*WORDS, *more, "--run-dir", directory)
    assert done.returncode == 0, done.stderr
    return done.stderr


def texts_of(row: torch.Tensor) -> list[slice]:
    """The documents of a row of tokens: each begins at a token that ends one, or at the beginning of the row."""
    starts = [0, *(t for t in (row == END).nonzero()[:, 0].tolist() if t)]
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(row)], strict=True)]


@pytest.mark.parametrize("attention", ["lattice", "toroidal_fft"])
def test_the_loss_is_that_of_separate_passes(lot: Lot, attention: str) -> None:
    said = " ".join(ran(lot, "r", "--attn", attention).split())
    assert "documents apart: " in said
    assert " more tokens as padding" in said
    loaded = load_run("r")
    losses = []
    for index in range(-(-loaded.task.length("test") // 4)):
        batch = loaded.task.batch("test", index, 4)
        for ids, targets in zip(batch.inputs, batch.targets, strict=True):
            for part in texts_of(ids):
                with torch.no_grad():
                    logits = loaded.model(ids[None, part], Context(step=torch.tensor(loaded.step))).logits[0]
                losses.append(
                    torch.nn.functional.cross_entropy(logits, targets[part], ignore_index=IGNORED, reduction="none")[
                        targets[part] != IGNORED
                    ]
                )
    expected = json.loads(Path("r/metrics.json").read_text())["metrics"]["loss"]
    assert float(torch.cat(losses).double().mean()) == pytest.approx(expected, rel=1e-5)


def test_what_a_run_records_by_position_is_of_documents(lot: Lot) -> None:
    asked = ["coupling", "delimiter_wave", "interference_map", "attention_map", "toroidal_distance"]
    words = [word for name in asked for word in ("--diagnostic", name)]
    ran(lot, "r", "--attn", "lattice", *words, "--set", f"diagnostics.delimiter_wave.token={ord('a')}")
    loaded = load_run("r", checkpoint="last")
    loaded.model.set_want(frozenset({"phase", "coupling_force"}))
    at: dict[int, list[dict[str, torch.Tensor]]] = {}
    for ids in loaded.task.batch("validation", 0, 4).inputs:
        for part in texts_of(ids):
            with torch.no_grad():
                signals = loaded.model(ids[None, part], Context(step=torch.tensor(loaded.step))).signals
            for position in range(part.stop - part.start):
                at.setdefault(position, []).append({name: of[0][0, :, position] for name, of in signals.items()})
    R = load_records(Path("r"), "order_parameter")[-1].values["R_position"][0]
    force = load_records(Path("r"), "coupling")[-1].values["force_0"]
    for position in range(32):
        here = at.get(position)
        if here is None:
            assert R[position].isnan()
            assert force[:, position].isnan().all()
            continue
        orders = [torch.polar(torch.ones(2), one["phase"]).mean().abs() for one in here]
        torch.testing.assert_close(R[position], torch.stack(orders).mean(), rtol=1e-4, atol=1e-5)
        expected = torch.stack([one["coupling_force"] for one in here]).mean(0)
        torch.testing.assert_close(force[:, position], expected, rtol=1e-4, atol=1e-5)
    plotted = lot("plot", "r")
    assert plotted.returncode == 0, plotted.stderr
    assert "Warning" not in plotted.stderr
    assert {path.stem for path in Path("r/plots").iterdir()} >= {*asked, "order_parameter"}


def test_the_groups_that_a_run_tells_are_those_it_computes(lot: Lot) -> None:
    said = " ".join(ran(lot, "r", "--attn", "toroidal", "--set", "attn.form=published").split())
    rows = load_run("r").task.batch("train", 0, 4).inputs
    lengths = {part.stop - part.start for row in rows for part in texts_of(row)}
    assert f"computed in {len(lengths)} groups of one length, without padding (the first batch)" in said


def test_an_edit_of_a_document_changes_no_logit_of_another_in_its_row(lot: Lot) -> None:
    ran(lot, "r", "--attn", "lattice")
    loaded = load_run("r")
    step = torch.tensor(loaded.step)
    batch = next(b for i in range(50) if len(texts_of((b := loaded.task.batch("train", i, 1)).inputs[0])) > 2)
    parts = texts_of(batch.inputs[0])
    for edited in range(len(parts)):
        other = batch.inputs.clone()
        span = slice(parts[edited].start + (edited > 0), parts[edited].stop)  # the token that ends a document stays
        other[0, span] = (other[0, span] + 1) % END
        with torch.no_grad():
            before = loaded.model(batch.inputs, context(batch, step)).logits[0]
            after = loaded.model(other, context(batch, step)).logits[0]
            joined = [loaded.model(ids, Context(step=step)).logits[0] for ids in (batch.inputs, other)]
        for number, part in enumerate(parts):
            same = torch.equal(before[part], after[part])
            assert same == (number != edited or span.start == span.stop)
        if edited == 0:
            assert not torch.equal(joined[0][parts[-1]], joined[1][parts[-1]]), "joined documents do see each other"


def losses_in_documents(batch: Batch, logits: torch.Tensor) -> list[tuple[int, int, float]]:
    """(document, position in it, nats) of every scored target of a batch."""
    found, number = [], 0
    for ids, targets, scores in zip(batch.inputs, batch.targets, logits.double().log_softmax(-1), strict=True):
        for part in texts_of(ids):
            for position, t in enumerate(range(part.start, part.stop)):
                if targets[t] != IGNORED:
                    found.append((number, position, -float(scores[t, targets[t]])))
            number += 1
    return found


def test_a_loss_by_position_counts_from_the_start_of_a_document(lot: Lot) -> None:
    ran(lot, "r", "--attn", "vanilla", "--diagnostic", "loss_by_position")
    asked = lot("eval", "r", "--checkpoint", "last", "--json")
    assert asked.returncode == 0, asked.stderr
    got = json.loads(asked.stdout)["loss_by_position"]
    loaded = load_run("r", checkpoint="last")
    step = torch.tensor(loaded.step)

    def losses(split: str, index: int) -> list[tuple[int, int, float]]:
        batch = loaded.task.batch(split, index, 4)
        with torch.no_grad():
            return losses_in_documents(batch, loaded.model(batch.inputs, context(batch, step)).logits)

    every = [one for index in range(-(-loaded.task.length("test") // 4)) for one in losses("test", index)]
    for position, mean in enumerate(got):
        at = [nats for _, where, nats in every if where == position]
        assert mean == (pytest.approx(sum(at) / len(at), rel=1e-5) if at else None)
    values = load_records(Path("r"), "loss_by_position")[-1].values
    shown = losses("validation", 0)
    places = sorted({position for _, position, _ in shown})
    middle = places[len(places) // 2]
    late = [nats for _, position, nats in shown if position >= middle]
    assert float(values["late"]) == pytest.approx(sum(late) / len(late), rel=1e-5)
    assert int(values["ends"][-1]) == max(places) + 1 < 33


def test_a_resumed_run_is_bit_equal(lot: Lot) -> None:
    ran(lot, "r", "--attn", "lattice")
    weights = Path("r/checkpoints/step_00000004/model.safetensors")
    expected, log = weights.read_bytes(), Path("r/metrics.jsonl").read_text()
    shutil.rmtree(weights.parent)
    Path("r/metrics.json").unlink()
    done = lot("run", "--resume", "--run-dir", "r")
    assert done.returncode == 0, done.stderr
    assert weights.read_bytes() == expected
    assert len(Path("r/metrics.jsonl").read_text().splitlines()) == len(log.splitlines())


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_processes_equal_one(lot: Lot, tmp_path: Path) -> None:
    done = torchrun(tmp_path, *WORDS, "--attn", "lattice", "--run-dir", "two")
    assert done.returncode == 0, done.stderr
    ran(lot, "one", "--attn", "lattice")
    one, two = (checkpoint.load(folder_of(tmp_path / name / "checkpoints", 4)).model for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4)


def losses_of(tmp_path: Path, directory: str, **changes: Any) -> list[float]:
    tree: dict[str, Any] = {
        "task": {"name": "text_stream", "path": str(tmp_path / "a.jsonl"), "documents": "apart"},
        "attn": {"name": "vanilla"},
    }
    overrides = [f"{key}={value}" for key, value in {**SIZES, **changes}.items()]
    core.train(core.load_config(tree, overrides=overrides), run_dir=tmp_path / directory)
    rows = map(json.loads, (tmp_path / directory / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch looks at it where a graph is cut
def test_a_compiled_and_a_recomputed_run_train_as_an_eager_one(tmp_path: Path) -> None:
    eager = losses_of(tmp_path, "eager")
    assert losses_of(tmp_path, "recomputed", **{"model.recompute": "true"}) == pytest.approx(eager, rel=1e-6)
    assert losses_of(tmp_path, "compiled", **{"train.compile": "on"}) == pytest.approx(eager, rel=1e-4)


def test_inference_goes_on_from_a_document_of_the_validation_split(lot: Lot) -> None:
    ran(
        lot,
        "r",
        "--attn",
        "interference",
        "--diagnostic",
        "wave_inference",
        "--set",
        "diagnostics.wave_inference.prompt_tokens=8",
    )
    values = load_records(Path("r"), "wave_inference")[-1].values
    task = load_run("r").task
    rows = task.batch("validation", 0, 4).inputs
    expected = next(row[part][:8] for row in rows for part in texts_of(row) if part.stop - part.start >= 8)
    assert unpack(values["names"])[:8] == token_names(task, expected.tolist())


def test_what_cannot_tell_documents_apart_is_refused_in_a_line(lot: Lot) -> None:
    spread = lot(*WORDS, "--attn", "toroidal_ring", "--set", "train.context_parallel=2", "--run-dir", "r")
    refused(
        spread, "documents that share a row: cannot be told apart where sequences are spread", "lot show text_stream"
    )
    shape = lot(*WORDS, "--attn", "toroidal", "--set", "diagnostics={fusion_rank: {every: 2}}", "--run-dir", "r")
    refused(shape, "diagnostic fusion_rank needs the signal 'platter_mixing'", "documents")
    assert not Path("r").exists()


@pytest.mark.parametrize(
    "words", [["--diagnostic", "fusion_rank"], ["--set", "diagnostics.fusion_rank.every=50"], ["--config", "c.yaml"]]
)
def test_a_diagnostic_that_is_asked_for_by_name_is_refused_in_a_line(lot: Lot, words: list[str]) -> None:
    Path("c.yaml").write_text("diagnostics: {fusion_rank: {}}\n")
    asked = lot(*WORDS, "--attn", "toroidal", *words, "--run-dir", "r")
    refused(asked, "diagnostic fusion_rank needs the signal 'platter_mixing'", "leave diagnostic fusion_rank out")
    assert not Path("r").exists()


@pytest.mark.parametrize("command", ["sweep", "study"])
def test_a_diagnostic_that_a_file_names_is_refused_before_a_run_is_made(lot: Lot, command: str) -> None:
    base = (
        "name: named\nbase:\n  task: {name: text_stream, path: a.jsonl, documents: apart, seq_len: 32}\n"
        "  model: {width: 16, heads: 2, layers: 1}\n  train: {steps: 2, batch_size: 4, eval_examples: 8, compile: 'off'}\n"
    )
    of_attention = "attn: {name: toroidal}, diagnostics: {fusion_rank: {}}"
    rest = {
        "sweep": "  attn: {name: toroidal}\n  diagnostics: {fusion_rank: {}}\ngrid: {optim.lr: [0.001, 0.01]}\n",
        "study": f"arms:\n  vanilla: {{}}\n  toroidal: {{{of_attention}}}\ndiffers: {{parameters: some}}\nseeds: 2\n",
    }
    Path("named.yaml").write_text(base + rest[command])
    done = lot(command, "named.yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "diagnostic fusion_rank needs the signal 'platter_mixing'" in done.stderr.splitlines()[-1]
    assert not list(Path().rglob("checkpoints"))


def test_a_diagnostic_that_nobody_named_is_left_out_and_told(lot: Lot) -> None:
    said = " ".join(ran(lot, "r", "--attn", "toroidal").split())
    assert "diagnostic fusion_rank is left out: documents are apart" in said
    looked = lot("diagnose", "r")
    assert looked.returncode == 0, looked.stderr
    assert "attention_entropy" in looked.stdout + looked.stderr
    assert "fusion_rank" not in looked.stdout + looked.stderr
    named = lot("diagnose", "r", "fusion_rank")
    refused(named, "diagnostic fusion_rank needs the signal 'platter_mixing'", "leave diagnostic fusion_rank out")
    assert not [path for path in Path("r/diagnoses").rglob("*") if "fusion_rank" in path.name]
    later = lot("run", "--extend", "r", "--diagnostic", "fusion_rank", "--set", "train.steps=6", "--run-dir", "t")
    refused(later, "diagnostic fusion_rank needs the signal 'platter_mixing'", "leave diagnostic fusion_rank out")
    assert lot("eval", "r").returncode == 0
    resumed = lot("run", "--extend", "r", "--set", "train.steps=6", "--run-dir", "s")
    assert resumed.returncode == 0, resumed.stderr


def test_groups_of_documents_are_one_pass_of_a_study(lot: Lot) -> None:
    """A mechanism that needs documents of one length is called for more groups, and is as fair as one that does not."""
    sizes = "{path: a.jsonl, documents: apart, seq_len: 32, name: text_stream}"
    Path("pair.yaml").write_text(
        f"name: pair\nbase:\n  task: {sizes}\n  model: {{width: 16, heads: 2, layers: 1}}\n"
        "  train: {steps: 2, batch_size: 4, warmup: 1, eval_examples: 8, compile: 'off'}\n"
        "arms:\n  vanilla: {}\n  toroidal: {attn: {name: toroidal, form: published}}\n"
        "differs: {parameters: a torus adds some}\nseeds: 2\nequal_time: false\n"
    )
    done = lot("study", "pair.yaml")
    assert done.returncode == 0, done.stderr
    passports = json.loads(Path("studies/pair/study.json").read_text())["arms"]
    assert {name: arm["passport"]["behavior"]["passes"] for name, arm in passports.items()} == {
        "vanilla": 1,
        "toroidal": 1,
    }
