"""Datasets of the hub: named, kept at one commit, read by shards, and told in one line where they cannot be had."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lot import BadInput, Task
from lot_tasks.stream import hub, sources
from lot_tasks.stream.config import TextStreamConfig
from lot_tasks.stream.hub import CORPORA, dataset_named, read_shard, resolve
from lot_tasks.stream.sources import content_of, open_sources

Make = Callable[..., Task]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that serves three shards of 200 documents as the dataset own/one; what was asked of it."""
    datasets = pytest.importorskip("datasets")
    api = pytest.importorskip("huggingface_hub")
    files = []
    for shard in range(3):
        path = tmp_path / f"shard{shard}.jsonl"
        lines = [json.dumps({"text": f"shard {shard} document {i} " * (1 + i % 5), "id": i}) for i in range(200)]
        path.write_text("\n".join(lines))
        files.append(str(path))
    asked = []

    def info(_self: Any, repo: str, *, revision: str | None, timeout: float) -> Any:
        asked.append(f"{repo}@{revision}")
        return SimpleNamespace(sha=COMMIT)

    load = datasets.load_dataset

    def load_dataset(repo: str, config: str | None, *, split: str, revision: str, streaming: bool) -> Any:
        asked.append(f"{repo}:{config} {split} at {revision}")
        return load("json", data_files=files, split=split, streaming=streaming, cache_dir=str(tmp_path / "datasets"))

    monkeypatch.setattr(api.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_names_are_read() -> None:
    full = dataset_named("own/one:two@main")
    assert (full.repo, full.config, full.revision, full.title) == ("own/one", "two", "main", "own/one:two@main")
    assert dataset_named("own/one").title == "own/one"
    for wrong in ("one", "a/b/c", "own/one:", "https://x/y z", ""):
        with pytest.raises(BadInput, match="expected OWNER/NAME"):
            dataset_named(wrong)


def test_a_dataset_is_read_shard_by_shard_at_the_commit_that_was_found_first(
    build: Make, served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task: Any = build("text_stream", hub="own/one", seq_len=16)
    assert served[0] == "own/one@None"
    assert set(served[1:]) == {f"own/one:None train at {COMMIT}"}
    assert sum(len(tokens) for tokens in task.opened.training) > 5000
    batch = task.batch("train", 3, 8)
    config = TextStreamConfig(hub="own/one")
    before = content_of(config)
    served.clear()
    monkeypatch.setattr(hub, "find_spec", lambda _name: None)  # what is indexed needs neither package nor network
    again = build("text_stream", hub="own/one", seq_len=16)
    assert torch.equal(again.batch("train", 3, 8).inputs, batch.inputs)
    assert content_of(config) == before
    assert served == []


def test_a_shard_is_read_from_any_row(served: list[str]) -> None:
    resolved = resolve(dataset_named("own/one"))
    assert resolved.shards == {"train": 3}
    whole = list(read_shard(resolved, "train", 1, field="text"))
    assert len(whole) == 200
    assert whole[0].text.startswith("shard 1 document 0")
    assert list(read_shard(resolved, "train", 1, field="text", start=whole[149].place)) == whole[150:]


def test_the_commit_is_in_the_content(served: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = TextStreamConfig(hub="own/one", max_documents=10)
    before = content_of(config)
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(f"{__name__}.COMMIT", "f" * 40)
    assert content_of(config) != before


def test_a_column_that_is_not_there_is_told(build: Make, served: list[str]) -> None:
    with pytest.raises(BadInput, match=r"own/one has no column 'body', but 'text', 'id'"):
        build("text_stream", hub="own/one", field="body")
    with pytest.raises(BadInput, match=r"own/one: column 'id' holds int, not text"):
        build("text_stream", hub="own/one", field="id")


def test_rows_of_wikitext_become_articles() -> None:
    rows = ["", " = One = \n", "", " text of one \n", " = = Part = = \n", " more \n", " = Two = \n", " text of two \n"]
    found = list(hub._articles(iter([(text, number + 1) for number, text in enumerate(rows)])))
    assert [piece.text for piece in found if piece.text.strip()] == [
        " = One = \n text of one \n = = Part = = \n more ",
        " = Two = \n text of two ",
    ]
    assert [piece.place for piece in found] == [1, 6, 8]


def test_wikitext_keeps_its_own_splits(served: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = CORPORA["wikitext103"]
    monkeypatch.setattr(hub, "resolve", None)
    monkeypatch.setattr(
        sources,
        "resolve",
        lambda dataset: hub.Resolved(dataset=dataset, commit=COMMIT, shards={"train": 2, "validation": 1, "test": 1}),
    )
    (source,) = open_sources(TextStreamConfig(corpus="wikitext103"))
    assert [part.split for part in source.parts] == ["train", "train", "validation", "test"]
    assert "WikiText" in asked.license or "Wikipedia" in asked.license


def test_a_missing_package_is_told_with_what_to_install(build: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda _name: None)
    for options in ({"corpus": "fineweb_edu"}, {"hub": "own/one"}, {"mixture": {"corpus:openwebtext": 1}}):
        with pytest.raises(BadInput, match=r"needs the package datasets; pip install 'lot-tasks\[hub\]'"):
            build("text_stream", **options)


def test_a_hub_that_does_not_answer_is_one_line(build: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    api = pytest.importorskip("huggingface_hub")

    def refuse(*_given: Any, **_options: Any) -> Any:
        raise ConnectionError("Name or service not known\nand much more")

    monkeypatch.setattr(api.HfApi, "dataset_info", refuse)
    with pytest.raises(BadInput) as caught:
        build("text_stream", corpus="openwebtext")
    assert str(caught.value) == (
        "corpus: Skylion007/openwebtext:plain_text cannot be read from the Hugging Face hub (ConnectionError: Name or service "
        "not known); look at its name, configuration and revision, and at the network; what was read so far is kept"
    )
