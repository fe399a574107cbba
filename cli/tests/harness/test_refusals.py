"""What `lot harness` says where lm_eval is not installed, whether it is here or not."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from typing import Any

import pytest

from lot.errors import BadInput
from lot_cli.harness import packages
from lot_cli.harness.network import unreachable


def installed_as(monkeypatch: pytest.MonkeyPatch, version: str | None, requires: list[str] | None = None) -> None:
    """Let lm_eval be of this version; None: let it be missing."""

    class Found:
        def __init__(self, name: str) -> None:
            if version is None:
                raise importlib.metadata.PackageNotFoundError(name)
            self.version, self.requires = version, requires

    monkeypatch.setattr(packages, "distribution", Found)


def test_a_missing_lm_eval_is_one_line_with_the_extra_that_brings_it(lot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed_as(monkeypatch, None)
    done = lot("harness", "anywhere", "lambada_openai")
    assert done.code == 2
    assert done.err.strip() == (
        "error: lot harness needs EleutherAI's lm_eval, which is not installed here; pip install 'lot-cli[harness]'"
    )


def test_help_imports_none_of_it() -> None:
    program = (
        "import sys\n"
        "from lot_cli.main import main\n"
        "assert main(['--help']) == 0 and main(['harness', '--help']) == 0\n"
        "print(sorted({'lm_eval', 'datasets', 'torch', 'numpy'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert "Ask a run, or the runs of a study, the tasks of lm_eval." in done.stdout
    assert done.stderr.strip() == "[]"


def test_an_older_lm_eval_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installed_as(monkeypatch, "0.4.9.1")
    with pytest.raises(BadInput, match=r"expected 0\.4\.13 or later, got 0\.4\.9\.1"):
        packages.require_lm_eval()
    for version in ("0.4.13", "0.4.14.dev0", "0.5", "1.0.0"):
        installed_as(monkeypatch, version)
        assert packages.require_lm_eval() == version


@pytest.mark.parametrize(
    ("name", "task", "told"),
    [
        ("absent_one", "longbench_qa", "pip install 'lm_eval[longbench]'"),  # the extra is named as the task is
        ("absent_two", "quiz", "pip install 'lm_eval[solo]'"),  # the only extra with it
        (
            "absent_three.part",
            "quiz",
            "needs the package absent_three, which is not installed here; pip install 'absent-three'",
        ),
    ],
)
def test_a_package_that_a_task_lacks_is_named(monkeypatch: pytest.MonkeyPatch, name: str, task: str, told: str) -> None:
    requires = [
        'absent_one; extra == "longbench"',
        'absent_one>=2; extra == "other"',
        'absent-two; extra == "solo"',
        "absent_three",
    ]
    installed_as(monkeypatch, "0.4.13", requires)
    wrapped = ImportError("please install things")
    wrapped.__context__ = ModuleNotFoundError(f"No module named {name!r}", name=name)
    assert told in str(packages.missing_for(task, wrapped))


def test_a_module_that_is_gone_from_an_installed_package_is_told_as_such() -> None:
    error = ModuleNotFoundError("No module named 'json.gone'", name="json.gone")
    told = str(packages.missing_for("quiz", error))
    assert told.startswith("quiz: code of lm_eval does not import here (No module named 'json.gone')")


def test_the_hub_is_not_asked_where_it_is_switched_off_or_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://127.0.0.1:1")
    assert "127.0.0.1 cannot be reached" in str(unreachable())
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert unreachable() is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert unreachable() == "HF_HUB_OFFLINE is set"
