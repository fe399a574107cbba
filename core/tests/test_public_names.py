"""`import lot`: cheap, complete, and its functions are not hidden by the modules of the same name."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lot


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_discovery_and_names_import_no_torch() -> None:
    code = """
import sys, lot
lot.registry().names("attention"), lot.Component, lot.option, lot.hookimpl, lot.LotError, lot.__version__
print(sorted({"torch", "cattrs", "numpy", "rich"} & set(sys.modules)))
"""
    assert python(code) == "[]"


def test_importing_the_package_imports_nothing_of_it() -> None:
    assert python("import sys, lot; print([name for name in sys.modules if name.startswith('lot.')])") == "[]"


@pytest.mark.parametrize("name", sorted(lot.__all__))
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(lot, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'lot' has no attribute 'nothing'"):
        lot.nothing  # noqa: B018


def test_names_are_listed() -> None:
    assert set(lot.__all__) <= set(dir(lot))
