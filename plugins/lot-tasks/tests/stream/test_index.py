"""Indexes: made once, the same whatever happens on the way, and never read when they are torn."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lot import BadInput
from lot_tasks.stream import index, readers, writer
from lot_tasks.stream.config import TextStreamConfig
from lot_tasks.stream.encoders import byte_tokenizer, encoder_of
from lot_tasks.stream.index import Index, open_index
from lot_tasks.stream.sources import open_sources
from lot_tasks.stream.writer import FILES

BYTES = encoder_of("bytes", byte_tokenizer())


def write_documents(path: Path, count: int = 3000) -> list[str]:
    """Documents of many lengths, an empty one among them, in a file of JSON lines."""
    rng = np.random.default_rng(0)
    texts = ["" if i == 7 else f"{i} " + "wörd " * int(rng.integers(1, 40)) for i in range(count)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return texts


def opened(path: Path, most: int | None = None) -> Index:
    (source,) = open_sources(TextStreamConfig(path=str(path)))
    (part,) = source.parts
    return open_index(part, BYTES, most)


def files_of(cache: Path, key: str) -> dict[str, bytes]:
    return {name: (cache / "streams" / key / name).read_bytes() for name in FILES}


def test_an_index_holds_every_document_closed_by_the_end(tmp_path: Path, cache: Path) -> None:
    texts = [text for text in write_documents(tmp_path / "a.jsonl") if text]
    made = opened(tmp_path / "a.jsonl")
    expected = [[*text.encode(), 256] for text in texts]
    assert made.tokens.tolist() == [token for document in expected for token in document]
    assert made.ends.tolist() == np.cumsum([len(document) for document in expected]).tolist()
    assert made.empty == 1
    assert len(np.unique(made.hashes)) == len(texts)
    assert made.tokens.dtype == np.uint16
    assert sorted(path.name for path in (cache / "streams" / made.key).iterdir()) == sorted([*FILES, "index.json"])


def test_a_document_in_pieces_is_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["short", "wörd " * 5000 + "end", " " * 9000 + "late", " " * 9000]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    whole = opened(tmp_path / "a.jsonl")
    monkeypatch.setattr(readers, "LONGEST_PIECE", 4096)
    monkeypatch.setattr(index, "_BATCH", 5000)
    monkeypatch.setattr(index, "FORMAT", 0)  # another key
    cut = opened(tmp_path / "a.jsonl")
    assert cut.key != whole.key
    assert cut.hashes.tolist() == whole.hashes.tolist()
    assert (cut.empty, whole.empty) == (1, 1)
    first, second = (one.tokens[one.ends[0] : one.ends[1]].tolist() for one in (whole, cut))
    assert first == second == [*texts[1].encode(), 256]
    assert cut.tokens[cut.ends[1] :].tolist()[-5:] == [*b"late", 256]


def test_an_index_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_documents(tmp_path / "a.jsonl")
    first = opened(tmp_path / "a.jsonl")
    monkeypatch.setattr(index, "_make", None)
    again = opened(tmp_path / "a.jsonl")
    assert (again.tokens == first.tokens).all()
    (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")  # what counts is the content
    assert opened(tmp_path / "b.jsonl").key == first.key


def test_edited_files_are_another_index(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_documents(path)
    before = opened(path)
    path.write_text(path.read_text().replace("1 w", "2 w", 1))
    assert opened(path).key != before.key


def test_the_first_documents_are_the_beginning(tmp_path: Path) -> None:
    write_documents(tmp_path / "a.jsonl")
    whole, part = opened(tmp_path / "a.jsonl"), opened(tmp_path / "a.jsonl", 100)
    assert len(part.hashes) + part.empty == 100
    assert (part.hashes == whole.hashes[:99]).all()
    assert (part.tokens == whole.tokens[: len(part.tokens)]).all()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from lot_tasks.stream import index, writer
import test_index
index._SAVED, index._BATCH = 20_000, 5_000
saved = writer.Writer.save
def save(self, count=[0]):
    saved(self)
    count[0] += 1
    if count[0] == {after}:
        self.files[0].add(test_index.np.arange(5000, dtype="uint16"))  # what no note tells of
        self.files[0].file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
writer.Writer.save = save
test_index.opened(Path({path!r}))
"""


@pytest.mark.parametrize("after", [1, 4])
def test_a_killed_indexing_goes_on_and_gives_the_same(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], after: int
) -> None:
    path = tmp_path / "a.jsonl"
    write_documents(path)
    whole = opened(path)
    expected = files_of(cache, whole.key)
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "other"))
    code = KILLED.format(tests=str(Path(__file__).parent), after=after, path=str(path))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "other" / "streams" / whole.key).exists()
    capsys.readouterr()
    assert opened(path).key == whole.key
    assert "going on after 0." in capsys.readouterr().err
    assert files_of(tmp_path / "other", whole.key) == expected


@pytest.mark.parametrize("damage", ["tokens", "note", "missing"])
def test_a_beginning_that_is_damaged_is_not_gone_on_with(tmp_path: Path, cache: Path, damage: str) -> None:
    path = tmp_path / "a.jsonl"
    write_documents(path)
    whole = opened(path)
    expected = files_of(cache, whole.key)
    begun = cache / "streams" / f"{whole.key}.part"
    (cache / "streams" / whole.key).rename(begun)
    facts = json.loads((begun / "index.json").read_text())
    (begun / "index.json").unlink()
    note = {**facts, "place": [0, path.stat().st_size]}
    if damage == "tokens":
        (begun / "tokens.bin").write_bytes(b"\1" * facts["files"]["tokens.bin"]["bytes"])
    if damage == "missing":
        (begun / "ends.bin").unlink()
    if damage == "note":
        note = {"place": 3}
    (begun / "progress.json").write_text(json.dumps(note))
    assert opened(path).key == whole.key
    assert files_of(cache, whole.key) == expected


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_index_is_made_again(tmp_path: Path, cache: Path, name: str, damage: str) -> None:
    path = tmp_path / "a.jsonl"
    write_documents(path)
    whole = opened(path)
    expected = files_of(cache, whole.key)
    damaged = cache / "streams" / whole.key / name
    if damage == "gone":
        damaged.unlink()
    else:
        content = expected[name]
        damaged.write_bytes(content[:-8] if damage == "cut" else bytes([content[0] ^ 1]) + content[1:])
    opened(path)
    assert files_of(cache, whole.key) == expected


def test_a_full_disk_is_one_line_and_what_is_done_is_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jsonl"
    write_documents(path)
    monkeypatch.setattr(index, "_SAVED", 20_000)
    monkeypatch.setattr(index, "_BATCH", 5_000)
    add = writer._Appended.add

    def full(self: writer._Appended, data: np.ndarray) -> None:
        if self.bytes > 200_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        add(self, data)

    monkeypatch.setattr(writer._Appended, "add", full)
    with pytest.raises(BadInput, match=r"cannot be kept in .*streams \(No space left .*the next run goes on with it"):
        opened(path)
    monkeypatch.setattr(writer._Appended, "add", add)
    capsys.readouterr()
    made = opened(path)
    assert "going on after" in capsys.readouterr().err
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "other"))
    opened(path)
    assert files_of(cache, made.key) == files_of(tmp_path / "other", made.key)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_documents(tmp_path / "a.jsonl")
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(BadInput, match=r"cannot be kept in .*set LOT_CACHE to a folder that can be written"):
        opened(tmp_path / "a.jsonl")


WAITING = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from lot_tasks.stream import index
import test_index
index._BATCH = 5_000
made = index._make
def slowly(*arguments):
    print("indexed here", flush=True)
    time.sleep(1)
    made(*arguments)
index._make = slowly
print(test_index.opened(Path({path!r})).tokens.sum())
"""


def test_two_processes_make_one_index(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_documents(path)
    code = WAITING.format(tests=str(Path(__file__).parent), path=str(path))
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert sorted("indexed here" in out for out, _ in said) == [False, True]
    assert any("waiting for another process, which indexes" in err for _, err in said)
    assert said[0][0].split()[-1] == said[1][0].split()[-1] == str(int(opened(path).tokens.sum()))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    write_documents(path)
    (source,) = open_sources(TextStreamConfig(path=str(path)))
    path.write_text(path.read_text() + '{"text": "more"}\n')
    with pytest.raises(BadInput, match=r"a\.jsonl changed while it was read; run again"):
        open_index(source.parts[0], BYTES)


def test_many_small_files_share_an_index_and_a_large_one_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lot_tasks.stream import sources

    monkeypatch.setattr(sources, "_LARGE", 1000)
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text(f"text {number} " * (200 if number == 10 else 10))
    (source,) = open_sources(TextStreamConfig(path=str(tmp_path)))
    names = [[file.path.stem for file in part.files] for part in source.parts]
    assert ["10"] in names
    assert max(map(len, names)) > 5
    assert all(part.bytes <= 1000 for part in source.parts if len(part.files) > 1)
    found = "".join(piece.text for part in source.parts for _, piece in part.read((0, 0)))
    assert found == "".join(path.read_text() for path in sorted(tmp_path.iterdir()))
