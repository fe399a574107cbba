"""`lot plugins` and `lot plugins build`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

BROKEN = "did not load: ModuleNotFoundError: No module named 'nowhere_at_all'"


def test_the_list_for_people(lot: Callable, site: Path) -> None:
    done = lot("plugins")
    assert done.code == 0
    calm, core, storm = done.out.split("\n\n")
    assert calm.splitlines() == [
        "lot-calm 1.2",
        "  attention   calm               Calm attention.",
        "  loss        calm               Calm loss.",
        "  diagnostic  stir               How stirred.",
    ]
    assert core.splitlines()[0] == "lot-core 0.1.0"
    assert " ".join(storm.split()) == f"lot-storm 0.3 {BROKEN}, at {site / 'plug_storm.py'}:1"
    assert max(map(len, done.out.splitlines())) <= 100


def test_the_list_as_data(lot: Callable, site: Path) -> None:
    done = lot("plugins", "--json")
    calm, core, storm = json.loads(done.out)["plugins"]
    assert calm == {
        "distribution": "lot-calm",
        "version": "1.2",
        "entry_point": "calm",
        "module": "plug_calm.plugin",
        "components": [
            {"kind": "attention", "name": "calm", "use": "calm", "summary": "Calm attention."},
            {"kind": "loss", "name": "calm", "use": "calm", "summary": "Calm loss."},
            {"kind": "diagnostic", "name": "stir", "use": "stir", "summary": "How stirred."},
        ],
        "failure": None,
        "imports_torch": False,
    }
    assert {item["name"] for item in core["components"]} >= {"vanilla", "token", "adamw", "cross_entropy"}
    assert (storm["components"], storm["failure"]) == ([], f"{BROKEN}, at {site / 'plug_storm.py'}:1")


def test_a_broken_plugin_is_an_error_only_for_who_asks(lot: Callable, site: Path) -> None:
    assert lot("show", "vanilla").code == 0
    done = lot("show", "lot-storm:thunder")
    assert done.code == 2
    assert (
        done.err
        == f"error: unknown component 'lot-storm:thunder': lot-storm 0.3: {BROKEN}, at {site / 'plug_storm.py'}:1\n"
    )


KERNEL = """
from lot import Kernel

class Fast(Kernel):
    def __init__(self, config): pass
    def build(self): return "built for this machine"
    def status(self): return "not built"
    def form(self, device): return "none"
"""
REGISTER = """
@hookimpl
def lot_kernels():
    return [Component(name="fast", summary="Fast code.", factory="plug_calm.fast:Fast", reference="A book")]
"""


@pytest.fixture
def kernel(site: Path) -> None:
    (site / "plug_calm" / "fast.py").write_text(KERNEL)
    with (site / "plug_calm" / "plugin.py").open("a") as file:
        file.write(REGISTER)


@pytest.mark.parametrize("name", ["fast", "lot-calm:fast", "lot-calm", "calm"])
def test_kernels_are_built_by_name_plugin_or_distribution(lot: Callable, kernel: None, name: str) -> None:
    done = lot("plugins", "build", name)
    assert (done.code, done.out) == (0, "fast: built for this machine\n")


def test_there_is_nothing_to_build(lot: Callable, site: Path) -> None:
    done = lot("plugins", "build", "lot-calm")
    assert (done.code, done.err) == (2, "error: lot-calm has no kernels; there is nothing to build\n")
    assert "unknown kernel 'nothing'" in lot("plugins", "build", "nothing").err
