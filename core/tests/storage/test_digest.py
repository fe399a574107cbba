"""The digest of a large file is computed once, and again as soon as the file may have changed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lot
from lot.storage import digest

LONG_AGO = 1_600_000_000


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of two million bytes; the cache is empty, and what this process knows forgotten."""
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digest, "_known", {})
    monkeypatch.setattr(digest, "_FRESH", 0)
    file = tmp_path / "large.bin"
    file.write_bytes(os.urandom(2_000_000))
    return file


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_it_is_that_of_the_content_whatever_is_known(large: Path) -> None:
    assert lot.file_digest(large) == sha256(large)
    (note,) = (large.parent / "cache/digests").iterdir()
    for content in ("{", "[]", '{"stamp": [], "sha256": "0"}'):
        note.write_text(content)
        digest._known.clear()
        assert lot.file_digest(large) == sha256(large)


def test_another_process_reads_it_from_the_cache(large: Path) -> None:
    lot.file_digest(large)
    code = (
        "import pathlib, sys\nfrom lot.storage import digest\n"
        "digest.hashlib.file_digest = None\n"  # it would have to be called for the content
        "print(digest.file_digest(pathlib.Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", code, large], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == sha256(large)


def test_a_change_that_keeps_size_and_time_is_seen(large: Path) -> None:
    os.utime(large, (LONG_AGO, LONG_AGO))
    before = lot.file_digest(large)
    content = bytearray(large.read_bytes())
    content[7] ^= 1
    large.write_bytes(content)
    os.utime(large, (LONG_AGO, LONG_AGO))
    assert lot.file_digest(large) == sha256(large) != before


def test_another_file_in_its_place_is_seen(large: Path) -> None:
    lot.file_digest(large)
    other = large.with_name("other.bin")
    other.write_bytes(os.urandom(2_000_000))
    other.replace(large)
    assert lot.file_digest(large) == sha256(large)


def test_what_has_just_changed_is_not_remembered(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "_FRESH", 10**18)
    lot.file_digest(large)
    assert not (large.parent / "cache").exists()
