"""The garbage collector rests during imports, and works afterwards as before."""

from __future__ import annotations

import gc

import pytest

from lot.training.collector import collector_resting


@pytest.fixture(autouse=True)
def enabled() -> None:
    assert gc.isenabled()


def test_it_rests_and_works_again_even_after_an_error() -> None:
    with collector_resting(), collector_resting():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), collector_resting():
        raise ImportError
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off() -> None:
    gc.disable()
    try:
        with collector_resting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_is_kept_is_not_looked_at_again() -> None:
    before = gc.get_freeze_count()
    try:
        with collector_resting(keep=True):
            kept = [[] for _ in range(1000)]
        assert gc.get_freeze_count() >= before + len(kept)
    finally:
        gc.unfreeze()
