"""A file of states: what was put in comes out, whatever was cut off or damaged, and whoever else writes."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from lot.storage import states
from lot.storage.states import StateFile


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


def content(number: int, size: int = 1000) -> bytes:
    return bytes((number * 7 + i) % 251 for i in range(size))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "prefix" / "key"


@pytest.fixture
def filled(folder):
    """The folder of a file with three records."""
    file = StateFile(folder, "three")
    for number in range(3):
        file.put(digest(number), content(number))
    return folder


def opened(folder) -> StateFile:
    return StateFile(folder, "three")


def test_what_was_put_in_comes_out_in_this_and_in_another_process(filled):
    file = opened(filled)
    assert [file.get(digest(number)) for number in range(3)] == [content(number) for number in range(3)]
    assert file.get(digest(3)) is None
    opened(filled).put(digest(3), content(3, 17))
    assert file.get(digest(3)) == content(3, 17)


def test_an_equal_digest_is_kept_once(filled):
    size = os.path.getsize(filled / "states")
    opened(filled).put(digest(1), content(1))
    assert os.path.getsize(filled / "states") == size


@pytest.mark.parametrize("cut", [1, 999, 1000, 1030, 1055])
def test_what_a_killed_writer_left_is_dropped_and_written_again(filled, cut):
    path = filled / "states"
    os.truncate(path, os.path.getsize(path) - cut)
    file = opened(filled)
    assert file.get(digest(2)) is None
    file.put(digest(2), content(2))
    again = opened(filled)
    assert [again.get(digest(number)) for number in range(3)] == [content(number) for number in range(3)]


@pytest.mark.parametrize("place", [4, 20, 45, 60, 1500])
def test_a_damaged_record_is_never_returned_and_can_be_written_again(filled, place):
    path = filled / "states"
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    file = opened(filled)
    for number in range(3):
        assert file.get(digest(number)) in (None, content(number))
    assert None in [opened(filled).get(digest(number)) for number in range(3)]
    for number in range(3):
        file.put(digest(number), content(number))
    again = opened(filled)
    assert [again.get(digest(number)) for number in range(3)] == [content(number) for number in range(3)]


def test_a_file_that_is_deleted_meanwhile_begins_anew(filled):
    file = opened(filled)
    assert file.get(digest(0)) == content(0)
    shutil.rmtree(filled)
    assert file.get(digest(0)) is None
    file.put(digest(1), content(1))
    assert opened(filled).get(digest(1)) == content(1)


def test_many_writers_lose_nothing(folder):
    def write(first: int) -> None:
        file = StateFile(folder, "many")
        for number in range(first, 40, 2):
            file.put(digest(number), content(number, 50 + number))
            file.put(digest(number // 2), content(number // 2, 50 + number // 2))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, (0, 1, 0, 1)))
    file = StateFile(folder, "many")
    assert [file.get(digest(number)) for number in range(40)] == [content(number, 50 + number) for number in range(40)]
    assert os.path.getsize(folder / "states") == sum(56 + 50 + number for number in range(40))


def test_room_is_left_to_others(filled, monkeypatch):
    monkeypatch.setattr(states, "LEFT_FREE", 1 << 62)
    with pytest.raises(OSError, match="of the disk would stay free"):
        opened(filled).put(digest(9), content(9))
    monkeypatch.setattr(states, "LEFT_FREE", 0)
    monkeypatch.setattr(states, "LARGEST", 4000)
    with pytest.raises(OSError, match="that it may have"):
        opened(filled).put(digest(9), content(9))
    assert opened(filled).get(digest(2)) == content(2)
