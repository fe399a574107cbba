"""Documents of files: text, JSON Lines and Parquet, whole and damaged, from any place at which one ends."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lot import BadInput
from lot_tasks.stream import readers
from lot_tasks.stream.files import find_files
from lot_tasks.stream.readers import Piece, read_file

TEXTS = ["Grüße\nan alle", "δέλτα {x}", "plain", "a  b\r\nc", "🙂" * 5]


def documents(path: Path, *, field: str = "text", separator: str = "\n\n", start: int = 0) -> list[str]:
    """The texts of a file, pieces put together."""
    (file,) = find_files(str(path))
    found = [""]
    for piece in read_file(file, field=field, separator=separator, start=start):
        found[-1] += piece.text
        if piece.ends:
            found.append("")
    assert found.pop() == ""
    return found


def pieces(path: Path, start: int = 0) -> list[Piece]:
    (file,) = find_files(str(path))
    return list(read_file(file, field="text", separator="\n\n", start=start))


def write_text(path: Path) -> Path:
    path.write_bytes("\n\n".join(TEXTS).encode() + b"\n")
    return path


def write_jsonl(path: Path) -> Path:
    path.write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS)))
    return path


def write_gzip(path: Path) -> Path:
    path.write_bytes(gzip.compress("".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()))
    return path


def write_parquet(path: Path) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": TEXTS, "id": range(len(TEXTS))}), path, row_group_size=2)
    return path


KINDS = [("a.txt", write_text), ("a.jsonl", write_jsonl), ("a.jsonl.gz", write_gzip), ("a.parquet", write_parquet)]


@pytest.mark.parametrize(("name", "write"), KINDS)
def test_every_format_gives_the_documents_from_any_place(
    tmp_path: Path, name: str, write: Callable[[Path], Path]
) -> None:
    path = write(tmp_path / name)
    assert documents(path) == TEXTS
    for number, piece in enumerate(pieces(path)):
        assert documents(path, start=piece.place) == TEXTS[number + 1 :]


@pytest.mark.parametrize("size", [7, 64, 1000])
def test_blocks_never_cut_a_separator_or_a_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(readers, "_BLOCK", size)
    path = tmp_path / "a.txt"
    texts = [f"€{i}δ🙂" * (1 + i % 9) for i in range(200)]
    path.write_text("\n\n".join(texts), encoding="utf-8")
    assert documents(path) == texts


@pytest.mark.parametrize("filler", ["x", "🙂", "wörter und "])
def test_one_gigantic_line_comes_in_bounded_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filler: str
) -> None:
    monkeypatch.setattr(readers, "LONGEST_PIECE", 1 << 12)
    monkeypatch.setattr(readers, "_BLOCK", 1 << 12)
    text = (filler * (100_000 // len(filler))).strip()
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    found = pieces(path)
    assert "".join(piece.text for piece in found) == text
    assert [piece.ends for piece in found] == [False] * (len(found) - 1) + [True]
    assert max(len(piece.text.encode()) for piece in found) <= (1 << 12) + 2
    if " " in filler:
        assert all(piece.text.startswith(" ") for piece in found[1:])  # between words
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}))
    assert "".join(piece.text for piece in pieces(tmp_path / "a.jsonl")) == text


def test_separators_are_as_told_and_empty_lines_around_a_document_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\ufeffone\ntwo\n\n\n\nthree\n<|x|>\nfour\n")
    assert documents(path) == ["one\ntwo", "", "three\n<|x|>\nfour"]
    assert documents(path, separator="\n") == ["one", "two", "", "", "", "three", "<|x|>", "four"]
    assert documents(path, separator="<|x|>") == ["one\ntwo\n\n\n\nthree", "four"]
    assert documents(path, separator="") == ["one\ntwo\n\n\n\nthree\n<|x|>\nfour"]


def test_halves_of_surrogate_pairs_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a\\ud83d\\ude42b"}\n{"text": "a\\ud83db"}\n{"text": null}\n\n')
    assert documents(path) == ["a🙂b", "a\N{REPLACEMENT CHARACTER}b", ""]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"text": "cut of', r"line 3 is not JSON .* the file may be cut off"),
        ('{"body": "x", "id": 1}\n', r"line 3 has no field 'text', but 'body', 'id'; name the field .* task\.field"),
        ("{}\n", r"line 3 has no field 'text', but none at all"),
        ('{"text": 3}\n', r"line 3 has no text in field 'text', but int"),
        ('["text"]\n', r"line 3 is JSON, but no object with a field 'text'"),
        ('{"text": ' + "[" * 100_000 + "\n", r"line 3 is not JSON"),
    ],
)
def test_a_line_that_is_no_document_is_told_by_its_number(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\n' + line)
    with pytest.raises(BadInput, match=rf"a\.jsonl: {what}"):
        documents(path)


def test_a_line_of_json_that_is_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "LONGEST_LINE", 1 << 20)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n{"text": "' + "x" * (1 << 20) + '"}\n')
    with pytest.raises(BadInput, match=r"line 2 is longer than 1 MiB"):
        documents(path)


def test_bytes_that_are_no_utf_8_are_told_by_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\n\nfine too\n\nbad \xff byte\n\n")
    with pytest.raises(BadInput, match=r"a\.txt: byte 20 is not UTF-8 text"):
        documents(path)
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(b'{"text": "fine"}\n{"text": "bad \xff"}\n')
    with pytest.raises(BadInput, match=r"a\.jsonl: line 2 is not JSON"):
        documents(lines)


@pytest.mark.parametrize(("name", "write"), KINDS[2:])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_shard_is_told(tmp_path: Path, name: str, write: Callable[[Path], Path], share: float) -> None:
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BadInput, match=rf"{name} is cut off or damaged|{name}: line \d+ is not JSON"):
        documents(path)


def test_a_table_without_the_column_or_with_numbers_in_it_is_told(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=r"a\.parquet has no column 'body', but 'text', 'id'"):
        documents(path, field="body")
    with pytest.raises(BadInput, match=r"a\.parquet: column 'id' holds int64, not text"):
        documents(path, field="id")


def test_a_folder_is_read_in_order_without_what_is_no_document(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("b.txt", "a.jsonl", "deep/c.txt", "readme.md", ".hidden.txt", ".git/d.txt"):
        (folder / name).write_text('{"text": "x"}' if name.endswith("l") else "x")
    (folder / "link.txt").symlink_to(folder / "b.txt")
    (folder / "loop").symlink_to(folder)
    names = [str(file.path.relative_to(folder)) for file in find_files(str(folder))]
    assert names == ["a.jsonl", "b.txt", "deep/c.txt"]
    assert [file.path.name for file in find_files(str(folder / "**" / "*.txt"))] == ["b.txt", "c.txt"]
    assert [file.path.name for file in find_files(str(folder / ".h*.txt"))] == [".hidden.txt"]


def test_what_names_no_documents_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    (tmp_path / "broken.txt").symlink_to(tmp_path / "gone.txt")
    (tmp_path / "json.txt").write_text('{"text": "x"}\n')
    (tmp_path / "no.parquet").write_text("text")
    (tmp_path / "no.txt.gz").write_text("text")
    for name, what in (
        ("empty", "no file of documents in it"),
        ("*.csv", "no file has such a name"),
        ("gone.txt", r"gone\.txt cannot be read \(No such file"),
        ("broken.txt", r"broken\.txt cannot be read \(No such file"),
        ("a.zst", r"a\.zst: a file of an unknown kind: expected \.txt, \.jsonl"),
        ("json.txt", r"json\.txt is JSON Lines: expected plain text, as its name says; name it after its format"),
        ("no.txt.gz", r"no\.txt\.gz is no gzip file, as its name says"),
        ("a\0b", r"is no path|cannot be read"),
    ):
        with pytest.raises(BadInput, match=what):
            find_files(str(tmp_path / name))
    with pytest.raises(BadInput, match=r"is no Parquet file, as its name says|need the package pyarrow"):
        find_files(str(tmp_path / "no.parquet"))
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.txt")
        with pytest.raises(BadInput, match=r"pipe\.txt, which is a pipe or a device"):
            find_files(str(tmp_path / "pipe.txt"))
