"""What `lot export --format hf` writes loads with the Auto classes of transformers, and computes what the run computes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

import lot

transformers = pytest.importorskip("transformers")
pytest.importorskip("lot_cli")
pytest.importorskip("lot_tasks")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")

SETTINGS = ("train.steps=2", "train.batch_size=2", "train.eval_examples=4", "train.test=false", "task.seq_len=24")
MODELS = {
    "vanilla": (),
    "lattice": ("--attn=lattice",),
    "phase": ("--attn=phase",),
    "toroidal": ("--attn=toroidal",),
    "toroidal_latent": ("--attn=toroidal_latent",),
    "interference": ("--attn=interference",),
    "wave_packet": ("--embed=wave_packet",),
    "llama": ("--model=llama", "--attn=lattice"),
    "graft": ("--model=hf", "--set=model.path=FOLDER", "--set=model.layers=[1]", "--attn=lattice"),
}


def run(*words, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "lot_cli", *words], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(params=MODELS)
def exported(request, tmp_path, write, configs, values):
    """A run of two steps, and the folder that it was exported to; what a graft was made from is gone."""
    options = list(MODELS[request.param])
    for flag, kind in (("--attn", "attention"), ("--embed", "embedding")):
        for option in options:
            if option.startswith(flag) and option.partition("=")[2] not in lot.registry().names(kind):
                pytest.skip(f"{option} is not installed")
    config = {**configs["llama"], "vocab_size": 256}
    folder = write(config, {
        name: value if value.shape[0] != 31 else value.repeat(9, 1)[:256] for name, value in values(config).items()
    })  # fmt: skip
    options = [option.replace("FOLDER", str(folder)) for option in options]
    sets = [f"--set={one}" for one in SETTINGS]
    if "--model=hf" not in options:
        sets += ["--set=model.width=32", "--set=model.heads=4"]
    run("run", "--task=bytes_lm", "--run-dir=run", *sets, *options, cwd=tmp_path)
    run("export", "run", "out", "--format=hf", cwd=tmp_path)
    loaded = lot.load_run(tmp_path / "run", device="cpu")
    folder.rename(tmp_path / "elsewhere")
    return loaded.model, tmp_path / "out"


@torch.no_grad()
def test_logits_and_text_are_those_of_the_run(exported, ids):
    import lot_hf.auto  # noqa: F401, registers

    ours, folder = exported
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    given = ids(2, 10, vocabulary=256)
    assert torch.equal(model(given).logits, ours(given).logits)
    left = torch.ones_like(given)
    left[0, :4] = 0
    padding = left == 0
    positions = (left.cumsum(1) - 1).clamp(min=0)
    expected = ours(given, lot.Context(padding=padding, positions=positions)).logits[~padding]
    torch.testing.assert_close(model(given, attention_mask=left).logits[~padding], expected)
    prompt = given[:, :5]
    drawn = lot.generate(ours, prompt, 12, generator=torch.Generator(), temperature=0.0)
    text = torch.stack([one.ids for one in drawn], dim=1)
    settings = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(prompt)}
    for use_cache in (True, False):
        assert torch.equal(model.generate(prompt, use_cache=use_cache, **settings)[:, 5:], text)


@torch.no_grad()
def test_it_survives_being_saved_by_transformers(exported, tmp_path, ids):
    import lot_hf.auto  # noqa: F401

    ours, folder = exported
    transformers.AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "again")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again").eval()
    given = ids(1, 8, vocabulary=256)
    assert torch.equal(model(given).logits, ours(given).logits)
    assert "FOLDER" not in json.dumps(model.config.lot)


def test_the_tokenizer_of_the_model_goes_in_and_comes_out(tmp_path, write, configs, values):
    import lot_hf.auto  # noqa: F401

    words = ["<unk>", "the", "pendulum", "swings", "and", "waits"]
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(words)}, "unk_token": "<unk>"},
    }
    folder = write(configs["llama"], values(configs["llama"]))  # its table has rows to spare
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "text.txt").write_text("the pendulum swings and waits and swings " * 400)
    task = ("task.path=text.txt", "task.tokenizer=model/tokenizer.json")
    sets = [f"--set={one}" for one in (*SETTINGS, *task, "model.path=model", "train.only=[embed]")]
    run("run", "--task=text_lm", "--model=hf", "--run-dir=run", *sets, cwd=tmp_path)
    run("export", "run", "out", "--format=hf", cwd=tmp_path)
    found = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert found("the pendulum waits").input_ids == [1, 2, 5]
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model(torch.tensor([[1, 2, 5]])).logits.shape == (1, 3, 31)
