"""The tokens at the ends of a text: named beside a tokenizer file, or added by it, and kept with the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import lot
from lot_tasks.text.tokenizers import TokenizerFile

library = pytest.importorskip("tokenizers")
BEGIN, END = "<begin>", "<end>"


def tokenizer_in(folder: Path, named: object = None, *, adds: str | None = None) -> Path:
    """A tokenizer of bytes with two special tokens. named: the tokenizer_config.json beside it. adds: what it adds to a text."""
    folder.mkdir()
    made = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(
        vocab_size=260, special_tokens=[BEGIN, END], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["a few words"], trainer)
    if adds is not None:
        pairs = [(token, made.token_to_id(token)) for token in (BEGIN, END)]
        made.post_processor = library.processors.TemplateProcessing(single=adds, special_tokens=pairs)
    path = folder / "tokenizer.json"
    made.save(str(path))
    if named is not None:
        (folder / "tokenizer_config.json").write_text(named if isinstance(named, str) else json.dumps(named))
    return path


@pytest.mark.parametrize(
    ("named", "adds", "expected"),
    [
        (None, None, (None, None, False)),
        ({"bos_token": BEGIN, "eos_token": END}, None, (0, 1, False)),
        ({"bos_token": {"content": BEGIN}, "eos_token": {"content": END}}, None, (0, 1, False)),
        ({"bos_token": END, "eos_token": END}, None, (1, 1, False)),
        ({"bos_token": None, "eos_token": END}, None, (None, 1, False)),
        ({"bos_token": "<gone>", "eos_token": END}, None, (None, 1, False)),
        (None, f"{BEGIN} $A", (0, None, True)),
        ({"bos_token": BEGIN, "eos_token": END}, f"{BEGIN} $A", (0, 1, True)),
        ({"bos_token": BEGIN, "eos_token": END, "add_bos_token": False}, f"{BEGIN} $A", (0, 1, False)),
        ({"bos_token": BEGIN, "add_bos_token": True}, None, (0, None, True)),
        ({"bos_token": None, "eos_token": END}, f"$A {END}", (None, 1, False)),  # it ends texts, and begins none
        ("{", None, (None, None, False)),
        ([BEGIN], None, (None, None, False)),
    ],
)
def test_they_are_those_of_the_files(
    tmp_path: Path, named: object, adds: str | None, expected: tuple[int | None, int | None, bool]
) -> None:
    read = TokenizerFile.read(str(tokenizer_in(tmp_path / "made", named, adds=adds)))
    assert (read.bos, read.eos, read.adds_bos) == expected
    assert BEGIN not in read.decode(read.encode("a few"))  # a prompt gets none of them by itself


def text_in(folder: Path, name: str) -> str:
    """A text, or for a stream a file of documents."""
    lines = [f"a few words and more of them, and so on, {n} times." for n in range(300)]
    path = folder / ("text.jsonl" if name == "text_stream" else "text.txt")
    path.write_text("\n".join(json.dumps({"text": line}) if name == "text_stream" else line for line in lines))
    return str(path)


@pytest.mark.parametrize("name", ["text_lm", "text_stream"])
def test_a_run_keeps_them_without_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    file = tokenizer_in(tmp_path / "made", {"bos_token": BEGIN, "eos_token": END}, adds=f"{BEGIN} $A")
    own: dict[str, Any] = {"end": END} if name == "text_stream" else {}
    options = {"path": text_in(tmp_path, name), "tokenizer": str(file), "seq_len": 8, **own}
    config = lot.load_config({"task": {"name": name, **options}, "attn": {"name": "vanilla"}})
    made = lot.build_task(config)
    assert (made.bos, made.eos, made.adds_bos) == (0, 1, True)
    assets = made.assets()
    shutil.rmtree(file.parent)
    again = type(made).from_assets(config.task.options, 0, assets)
    assert (again.bos, again.eos, again.adds_bos) == (0, 1, True)


def test_what_earlier_runs_kept_names_none(tmp_path: Path) -> None:
    from lot_tasks.text.kept import pack_tokenizer, unpack_tokenizer

    read = TokenizerFile.read(str(tokenizer_in(tmp_path / "made", {"bos_token": BEGIN, "eos_token": END})))
    facts, files = pack_tokenizer(read)
    del facts["named"]
    again = unpack_tokenizer(facts, files)
    assert (again.bos, again.eos, again.adds_bos) == (None, None, False)


def test_a_stream_of_bytes_ends_its_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    config = lot.load_config(
        {
            "task": {
                "name": "text_stream",
                "path": text_in(tmp_path, "text_stream"),
                "tokenizer": "byte",
                "seq_len": 8,
            },
            "attn": {"name": "vanilla"},
        }
    )
    made = lot.build_task(config)
    assert (made.bos, made.eos, made.adds_bos) == (None, 256, False)
