"""What the repository says of itself is true: its tree, its walks through the code, its workflows, its citation."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support import ROOT

from lot_cli.main import COMMANDS

SOURCES = [
    ROOT / "core/src/lot",
    ROOT / "cli/src/lot_cli",
    *sorted(path.parent for path in ROOT.glob("plugins/*/src/*/__init__.py")),
]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
ARCHITECTURE = ROOT / "docs/architecture.md"
CHANGELOG = ROOT / "CHANGELOG.md"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without the two head rows."""
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL)
    rows = [line.strip().strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


# The tree of CONTRIBUTING.md


def captions() -> dict[str, str]:
    """The first line of the docstring of every folder that holds Python code, by its path."""
    found = {}
    for source in SOURCES:
        for folder in sorted({path.parent for path in source.rglob("*.py")}):
            docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
            found[folder.relative_to(ROOT).as_posix()] = (docstring or "").partition("\n")[0]
    return found


def drawn_tree() -> dict[str, str]:
    """The folders that the tree draws, by path, with their captions."""
    page = CONTRIBUTING.read_text(encoding="utf-8")
    (block,) = re.findall(r"^```text\n(core/src/lot/ .*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    found: dict[str, str] = {}
    stack: list[str] = []
    for line in filter(str.strip, block.splitlines()):
        indent, name, caption = re.fullmatch(r"( *)(\S+)/ +(\S.*)", line).groups()  # type: ignore[union-attr]
        stack = [*stack[: len(indent) // 2], name]
        found["/".join(stack)] = caption
    return found


def test_every_folder_has_a_caption() -> None:
    assert [folder for folder, caption in captions().items() if not caption] == []


def test_the_tree_shows_every_folder_with_its_caption() -> None:
    assert drawn_tree() == captions()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md", "docs/architecture.md"])
def test_every_path_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:core|cli|plugins|tests|docs|experiments|benchmarks|examples|\.github)/[\w./-]+)`", text)
    linked = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    here = (ROOT / page).parent
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [link for link in linked if not (here / link).exists()]
    assert missing == []
    assert named or linked


# The pages about architecture and changes


def test_the_levels_are_those_that_the_linter_holds() -> None:
    (layers,) = [
        contract["layers"]
        for contract in PYPROJECT["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and contract["containers"] == ["lot"]
    ]
    held = [sorted(name.strip(" ()") for name in layer.split(":")) for layer in reversed(layers)]
    rows = table(ARCHITECTURE.read_text(encoding="utf-8"), "Levels of the core")
    assert [sorted(re.findall(r"`(\w+)`", level)) for level, _ in rows] == held


WALKS = (
    "A batch, from the task to the loss",
    "`attn.coupling`, from the command line to the module",
    "`phase`, from the lattice to the picture",
)

TRACE = """
import json, sys
from pathlib import Path
root, wanted = Path(sys.argv[1]), {tuple(pair) for pair in json.loads(sys.argv[2])}
files, calls = {}, []

def note(frame, event, _argument):
    if event == "call":
        code = frame.f_code
        if code.co_filename not in files:
            path = Path(code.co_filename)
            files[code.co_filename] = path.relative_to(root).as_posix() if path.is_relative_to(root) else None
        pair = (files[code.co_filename], code.co_qualname)
        if pair in wanted and pair != (calls[-1] if calls else None):
            calls.append(pair)

from lot_cli.main import main
sys.setprofile(note)
# The examples of the first two steps are drawn before them, for the probe; those of the third are drawn in it.
options = ["attn.coupling=0.5", "train.steps=3", "train.batch_size=512", "train.compile=off"]
options = ["--device", "cpu", *(word for option in options for word in ("--set", option))]
codes = [main(["run", "--attn", "lattice", "--task", "copy_reverse", "--run-dir", "run", *options]), main(["plot", "run"])]
sys.setprofile(None)
print(json.dumps([codes, calls]))
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Every call of a function that a walk names, in order, while `lot run` trains three steps and `lot plot` draws."""
    page = ARCHITECTURE.read_text(encoding="utf-8")
    wanted = [(row[0].strip("`"), row[1].strip("`")) for walk in WALKS for row in table(page, walk)]
    done = subprocess.run(
        [sys.executable, "-c", TRACE, str(ROOT), json.dumps(wanted)],
        cwd=tmp_path_factory.mktemp("walk"),
        env={**os.environ, "LOT_KERNELS": "off", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    codes, found = json.loads(done.stdout.splitlines()[-1])
    assert codes == [0, 0], done.stderr
    return [tuple(pair) for pair in found]


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_is_what_happens(walk: str, calls: list[tuple[str, str]]) -> None:
    rest = iter(calls)
    for file, function, _ in table(ARCHITECTURE.read_text(encoding="utf-8"), walk):
        step = (file.strip("`"), function.strip("`"))
        assert step in calls, f"{step} is not called"
        assert any(call == step for call in rest), f"{step} is not called after the step before it"


def test_the_new_names_of_moved_modules_import() -> None:
    rows = table(CHANGELOG.read_text(encoding="utf-8"), "[Unreleased]")
    moved = [[re.findall(r"`(lot[\w.]*)`", cell) for cell in row[:2]] for row in rows]
    assert len(moved) > 10
    for old, new in moved:
        assert old, new
        for name in new:
            module, _, attribute = name.rpartition(".")
            assert module == "" or hasattr(importlib.import_module(module), attribute) or importlib.import_module(name)


# Files for other programs


def test_the_citation_is_of_this_version() -> None:
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    core = tomllib.loads((ROOT / "core/pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", core["version"])
    assert citation["license"] == core["license"]
    assert {"message", "title", "authors"} <= citation.keys()


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/workflows/*.yml")), ids=lambda path: path.stem)
def test_a_workflow_runs_sessions_that_nox_has(path: Path) -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    sessions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list}
    workflow = YAML(typ="safe").load(path)
    called = []
    for job in workflow["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        for step in job["steps"]:
            for name in re.findall(r"nox -s (\S+(?: matrix\.session \}\})?)", step.get("run", "")):
                called += matrix["session"] if "matrix.session" in name else [name]
    assert called
    assert set(called) <= sessions


def test_the_tests_run_on_every_python_that_the_packages_accept() -> None:
    workflow = YAML(typ="safe").load(ROOT / ".github/workflows/ci.yml")
    versions = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    for source in (ROOT / "core", ROOT / "cli", *sorted(ROOT.glob("plugins/*"))):
        project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert project["requires-python"] == f">={versions[0]}"


def test_the_sessions_of_nox_are_explained() -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    sessions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list]
    rows = table(CONTRIBUTING.read_text(encoding="utf-8"), "Running a part of the checks")
    assert sorted(sessions) == sorted(name.strip("`") for name, _ in rows)


def test_every_command_is_in_the_readme_of_the_command_line() -> None:
    text = (ROOT / "cli/README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if not re.search(rf"\blot (compare, lot )?{name}\b", text)] == []
