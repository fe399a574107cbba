"""`lot cache`: everything that is kept is listed with its size, and only what is named is deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with kernels, a finished index, one that is begun and a damaged one."""
    made = tmp_path / "cache"
    for name, content in (
        ("kernels/a.so", "x" * 1500),
        ("streams/0f/tokens.bin", "x" * 2_000_000),
        ("streams/0f/index.json", json.dumps({"title": "data", "documents": 1200, "tokens": 34567})),
        ("streams/1e.part/tokens.bin", "x"),
        ("streams/2d/index.json", "{"),
        ("streams/0f.lock", ""),
        ("prefix/3e/states", "x" * 3000),
        ("prefix/3e/index.json", json.dumps({"title": "states of Decoder"})),
    ):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(content)
    monkeypatch.setenv("LOT_CACHE", str(made))
    return made


def test_what_is_kept_is_listed(lot: Callable, folder: Path) -> None:
    done = lot("cache")
    assert done.code == 0
    assert [line.split()[:3] for line in done.out.splitlines()] == [
        ["kernels/a.so", "1.5", "kB"],
        ["prefix/3e", "3.0", "kB"],
        ["streams/0f", "2.0", "MB"],
        ["streams/1e.part", "1", "B"],
        ["streams/2d", "1", "B"],
    ]
    assert "data: 1,200 documents, 34,567 tokens" in done.out
    assert "states of Decoder" in done.out
    assert "begun; the next run goes on with it" in done.out
    assert "damaged; it is made again when it is needed" in done.out
    assert done.err == f"{folder}: 2.0 MB\n"
    entries = json.loads(lot("cache", "streams", "--json").out)["entries"]
    assert [entry["name"] for entry in entries] == ["streams/0f", "streams/1e.part", "streams/2d"]


def test_what_is_named_is_deleted_and_nothing_else(lot: Callable, folder: Path) -> None:
    assert lot("cache", "streams/0f", "--delete").err == "deleted streams/0f (2.0 MB)\n"
    assert sorted(path.name for path in (folder / "streams").iterdir()) == ["0f.lock", "1e.part", "2d"]
    assert lot("cache", "streams", "kernels/a.so", "prefix", "--delete").code == 0
    assert lot("cache").out == ""


def test_a_link_in_the_cache_is_deleted_and_not_what_it_leads_to(lot: Callable, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text").write_text("x" * 5000)
    (folder / "streams" / "link").symlink_to(tmp_path / "mine")
    assert lot("cache", "streams/link", "--delete").code == 0
    assert (tmp_path / "mine" / "text").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--delete"], "--delete needs the names of what is to go"),
        (["streams/9", "--delete"], "holds no streams/9; lot cache lists what it holds"),
        (["../cache", "--delete"], "holds no ../cache"),
    ],
)
def test_what_is_not_there_is_told(lot: Callable, arguments: list[str], said: str) -> None:
    done = lot("cache", *arguments)
    assert done.code == 2
    assert said in " ".join(done.err.split())


def test_an_empty_cache_is_no_error(lot: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "nowhere"))
    done = lot("cache")
    assert (done.code, done.out, done.err) == (0, "", f"{tmp_path / 'nowhere'}: 0 B\n")
