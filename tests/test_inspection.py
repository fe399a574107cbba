"""`lot eval` and `lot diagnose`: a finished run is asked anything that it could have been asked, and stays as it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from support import Lot, sets

import lot as core
from lot.contracts import Context
from lot.runs.load import load_run
from lot.storage.snapshots import load_records

RUN = ["run", "--task", "copy_reverse", *sets(), "--set", "train.keep=9", "--set", "model.width=64", "--run-dir", "r"]
WATCH = ["--set", "diagnostics.order_parameter.every=6"]


def files(*leave_out: str) -> dict[str, str]:
    """Every file of the run with its digest."""
    found = [
        path for path in Path("r").rglob("*") if path.is_file() and path.relative_to("r").parts[0] not in leave_out
    ]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def answer(lot: Lot, *words: str) -> dict:
    done = lot("eval", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_checkpoint_gives_again_what_the_run_measured_there_and_nothing_is_changed(lot: Lot) -> None:
    assert lot(*RUN, "--attn", "lattice", *WATCH).returncode == 0
    before = files("evaluations")
    rows = [json.loads(line) for line in Path("r/metrics.jsonl").read_text().splitlines()]
    for step in (8, 24):
        found = answer(lot, "r", "--checkpoint", str(step), "--split", "validation")
        logged = next(row for row in rows if row["step"] == step and row.get("split") == "validation")
        assert found["metrics"] == {key: logged[key] for key in found["metrics"]}
    logged = next(row for row in rows if row["step"] == 24 and row.get("diagnostic") == "order_parameter")
    assert found["mechanism"]["order_parameter.R"] == logged["R"]
    assert 0 <= found["mechanism"]["attention_entropy.entropy"] <= 1
    kept = json.loads(Path("r/evaluations/validation-step_00000024.json").read_text())
    assert kept["metrics"] == found["metrics"]
    assert answer(lot, "r/checkpoints/step_00000008", "--split", "validation")["step"] == 8
    assert answer(lot, "r", "--checkpoint", "last")["step"] == answer(lot, "r/last")["step"] == 24
    assert files("evaluations") == before
    refused = lot("eval", "r", "--checkpoint", "7")
    assert refused.returncode == 2
    assert "expected a step that has one (" in refused.stderr


def test_a_diagnostic_is_added_by_its_name_and_agrees_with_what_is_asked_later(lot: Lot) -> None:
    done = lot(
        *RUN, "--attn", "lattice", "--diagnostic", "loss_by_position", "--set", "diagnostics.loss_by_position.every=8"
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in Path("r/metrics.jsonl").read_text().splitlines()]
    measured = [row for row in rows if row.get("diagnostic") == "loss_by_position"]
    assert [row["step"] for row in measured] == [0, 8, 16, 24]
    assert any(row.get("diagnostic") == "order_parameter" for row in rows)  # the lattice's own is kept
    loaded = load_run("r", device="cpu", checkpoint="last")
    batch = loaded.task.batch("validation", 0, min(64, loaded.config.train.batch_size))
    logits = loaded.model(batch.inputs, Context(padding=batch.padding)).logits.detach().double()
    nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
    at = [t for t in range(loaded.task.seq_len) if (batch.targets[:, t] != -100).any()]
    late = nats.view(batch.targets.shape)[:, at[len(at) // 2] :]
    scored = batch.targets[:, at[len(at) // 2] :] != -100
    assert measured[-1]["late"] == pytest.approx(float(late.sum() / scored.sum()), rel=1e-4)
    refused = lot(*RUN[:-1], "other", "--diagnostic", "loss_by_positon")
    assert refused.returncode == 2
    assert "did you mean 'loss_by_position'?" in refused.stderr
    assert not Path("other").exists()


def test_the_loss_at_each_position_is_that_of_a_slow_reference(lot: Lot) -> None:
    assert lot(*RUN, "--attn", "vanilla").returncode == 0
    found = answer(lot, "r")
    loaded = load_run("r", device="cpu")
    total, count = [0.0] * 8, [0] * 8
    for index in range(8):
        batch = loaded.task.batch("test", index, 4)
        with torch.no_grad():
            logits = loaded.model(batch.inputs, Context(step=torch.tensor(loaded.step))).logits
        for row, targets in zip(logits.double().log_softmax(-1), batch.targets.tolist(), strict=True):
            for position, target in enumerate(targets):
                if target >= 0:
                    total[position] -= float(row[position, target])
                    count[position] += 1
    expected = [t / n if n else None for t, n in zip(total, count, strict=True)]
    for got, wanted in zip(found["loss_by_position"], expected, strict=True):
        assert got == (None if wanted is None else pytest.approx(wanted, rel=1e-5))
    mean = sum(t for t in total) / sum(count)
    assert found["metrics"]["loss"] == pytest.approx(mean, rel=1e-5)


def test_the_training_split_is_measured_from_its_beginning(lot: Lot) -> None:
    assert lot(*RUN, "--attn", "vanilla").returncode == 0
    assert answer(lot, "r", "--split", "train")["examples"] == 2048
    assert answer(lot, "r", "--split", "train", "--examples", "40")["examples"] == 40


def test_other_lengths_and_tasks(lot: Lot) -> None:
    rotary = ["--set", "model.positions=rotary"]
    assert lot(*RUN, "--attn", "vanilla", *rotary).returncode == 0
    longer = answer(lot, "r", "--set", "task.seq_len=32")
    assert len(longer["loss_by_position"]) == 32
    assert longer["task"]["seq_len"] == 32
    other = answer(lot, "r", "--task", "random", "--set", "task.vocab_size=16", "--set", "task.seq_len=6")
    assert other["task"]["name"] == "random"
    assert len(list(Path("r/evaluations").iterdir())) == 2  # one does not take the place of the other
    refused = lot("eval", "r", "--set", "task.vocab_size=20")
    assert refused.returncode == 2
    assert "task.vocab_size: expected 16, for which the model was trained, got 20" in refused.stderr
    refused = lot("eval", "r", "--set", "optim.lr=3")
    assert refused.returncode == 2
    assert "expected an option of the task" in refused.stderr


@pytest.mark.parametrize(("attn", "positions"), [("lattice", "learned"), ("toroidal", "none")])
def test_a_model_that_longer_sequences_would_change_is_not_asked_about_them(
    lot: Lot, attn: str, positions: str
) -> None:
    assert lot(*RUN, "--attn", attn, "--set", f"model.positions={positions}").returncode == 0
    refused = lot("eval", "r", "--set", "task.seq_len=16")
    assert refused.returncode == 2
    assert "task.seq_len: expected at most 8 tokens" in refused.stderr


def test_a_diagnostic_on_a_checkpoint_measures_what_the_run_measured_there(lot: Lot) -> None:
    assert lot(*RUN, "--attn", "lattice", *WATCH).returncode == 0
    before = files("diagnoses")
    done = lot("diagnose", "r", "order_parameter", "--checkpoint", "18")
    assert done.returncode == 0, done.stderr
    folder = Path("r/diagnoses/step_00000018-validation")
    assert (folder / "order_parameter.png").exists()
    recorded = {record.step: record.values for record in load_records(Path("r"), "order_parameter")}[18]
    (again,) = core.diagnose("r", ["order_parameter"], checkpoint=18)
    assert again.record.values.keys() == recorded.keys()
    assert all(torch.equal(value, recorded[key]) for key, value in again.record.values.items())
    assert files("diagnoses") == before


def test_a_run_that_measured_nothing_shows_its_attention_on_a_prompt(lot: Lot) -> None:
    assert lot(*RUN, "--attn", "vanilla").returncode == 0
    done = lot("diagnose", "r", "--prompt", "3 4 5 |")
    assert done.returncode == 0, done.stderr
    (folder,) = Path("r/diagnoses").iterdir()
    assert folder.name.startswith("step_000000")
    assert "-prompt-copy_reverse-" in folder.name
    assert {path.name for path in folder.glob("*.png")} == {"attention_map.png", "attention_entropy.png"}
    look = core.diagnose("r", ["attention_map"], prompt="3 4 5 |")[0]
    assert look.record.values["map"].shape == (2, 4, 4, 4)
    torch.testing.assert_close(look.record.values["map"].sum(-1), torch.ones(2, 4, 4))
    assert json.loads(lot("diagnose", "r", "grad_norm", "--json").stdout)["grad_norm"]["total"] > 0
    refused = lot("diagnose", "r", "--prompt", "3 zebra")
    assert refused.returncode == 2
    assert "'zebra' is no token" in refused.stderr


def test_inference_goes_on_from_a_whole_prompt_and_writes_as_the_task_does(lot: Lot) -> None:
    assert lot(*RUN, "--attn", "vanilla").returncode == 0
    options = [
        "--set",
        "diagnostics.wave_inference.prompt_tokens=1",
        "--set",
        "diagnostics.wave_inference.new_tokens=3",
    ]
    done = lot("diagnose", "r", "wave_inference", "--prompt", "3 4 5 |", *options)
    assert done.returncode == 0, done.stderr
    said = done.stdout.partition("3 new tokens “")[2].partition("”")[0]
    assert len(said.split()) == 3
    options = ["diagnostics.wave_inference.prompt_tokens=1"]
    (look,) = core.diagnose("r", ["wave_inference"], prompt="3 4 5 |", overrides=options)
    assert int(look.record.values["prompt"]) == 4


EMITTERS = ["vanilla", "lattice", "hybrid", "toroidal", "toroidal_ring", "toroidal_fft", "toroidal_adaptive"]


@pytest.mark.parametrize("attn", [*EMITTERS, "interference", "pure_wave"])
def test_every_attention_that_has_weights_has_a_map(lot: Lot, attn: str) -> None:
    assert lot(*RUN, "--attn", attn, "--set", "model.dropout=0", "--set", "train.steps=2").returncode == 0
    (look,) = core.diagnose("r", ["attention_map"])
    assert look.record.values["map"].shape == (2, 4, 8, 8)
    assert look.diagnostic.draw([look.record]) is not None


@pytest.mark.parametrize("attn", ["phase", "toroidal_latent"])
def test_an_attention_without_weights_says_so_in_one_line(lot: Lot, attn: str) -> None:
    assert lot(*RUN, "--attn", attn, "--set", "train.steps=2").returncode == 0
    refused = lot("diagnose", "r", "attention_map")
    assert refused.returncode == 2
    assert f"which no part of the model gives (attention {attn}, embedding token, mlp gelu)" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_diagnostic_sees_no_test_data(lot: Lot) -> None:
    assert lot(*RUN, "--attn", "vanilla", "--set", "train.steps=2").returncode == 0
    with pytest.raises(core.BadInput, match="no test data"):
        core.diagnose("r", split="test")


def test_a_link_that_leads_out_of_a_received_run_is_not_followed(lot: Lot) -> None:
    assert lot(*RUN, "--attn", "vanilla", "--set", "train.steps=2").returncode == 0
    outside = Path("outside")
    outside.mkdir()
    for name in ("evaluations", "diagnoses"):
        Path("r", name).symlink_to(outside.absolute())
    for command in (("eval", "r"), ("diagnose", "r", "attention_map")):
        done = lot(*command)
        assert done.returncode == 2
        assert "is a link to" in done.stderr
    assert list(outside.iterdir()) == []
