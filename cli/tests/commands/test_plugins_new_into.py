"""`lot plugins new --into`: another component in a package; the package works, and the rest of it stays as it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lot_cli.commands.plugins_new import TEMPLATES
from lot_cli.main import main
from lot_cli.scaffold import package as scaffold
from lot_cli.scaffold.source import with_registration

KINDS = list(TEMPLATES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of each kind, into each of which a component of every kind was written; as pip would install them."""
    folder = tmp_path_factory.mktemp("extended")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for first in KINDS:
            assert main(["plugins", "new", f"our-{first}", "--kind", first]) == 0
            for kind in KINDS:
                assert main(["plugins", "new", f"{first}-{kind}", "--kind", kind, "--into", f"our-{first}"]) == 0
            info = folder / f"our_{first}-0.1.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: our-{first}\nVersion: 0.1\n")
            (info / "entry_points.txt").write_text(f"[lot]\nour = our_{first}.plugin\n")
    return folder


def run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A Python process in which the packages are installed."""
    paths = [str(site), *(str(site / f"our-{kind}" / "src") for kind in KINDS)]
    path = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *command], env=environment, cwd=site, capture_output=True, text=True, check=False
    )


def test_every_pair_of_kinds_registers(site: Path) -> None:
    done = run(site, "lot_cli", "plugins")
    assert done.returncode == 0
    assert "did not load" not in done.stdout
    listed = {tuple(line.split()[:2]) for line in done.stdout.splitlines() if line.startswith("  ")}
    assert {(kind, f"{first}_{kind}") for first in KINDS for kind in KINDS} <= listed
    assert {(kind, f"our_{kind}") for kind in KINDS} <= listed


@pytest.mark.slow
def test_every_pair_of_kinds_passes_its_own_tests(site: Path) -> None:
    done = run(site, "pytest", "-q", "-p", "no:cacheprovider", "-k", "not kit", *(f"our-{kind}" for kind in KINDS))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_every_pair_of_kinds_passes_ruff(site: Path, command: list[str]) -> None:
    done = run(site, "ruff", *command, "--no-cache", *(f"our-{kind}" for kind in KINDS))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("part", ["src/our_{0}/{1}.py", "src/our_{0}/{1}_reference.py", "tests/test_{1}.py"])
def test_what_is_added_is_what_a_new_package_has(site: Path, part: str) -> None:
    for first in KINDS:
        for kind in KINDS:
            new = (site / f"our-{kind}" / part.format(kind, f"our_{kind}")).read_text()
            added = (site / f"our-{first}" / part.format(first, f"{first}_{kind}")).read_text()
            assert unnamed(added, f"{first}_{kind}", f"our_{first}") == unnamed(new, f"our_{kind}"), (first, kind)


def unnamed(text: str, *names: str) -> str:
    """A text without the names of its component and package."""
    for name in names:
        text = re.sub(rf"\b{name}(?=\b|_)|\b{name.title().replace('_', '')}", "NAME", text)
    return text


@pytest.mark.slow
def test_components_of_every_kind_pass_the_kit(site: Path) -> None:
    # In one process and of one package: those of the others are the same, as the test above shows.
    done = run(site, "lot_cli", "plugins", "check", "our-loss")
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in KINDS:
        assert f"\nloss_{kind}  " in done.stdout
    assert ", 0 failed" in done.stdout


# A package written by hand

PYPROJECT = '[project]\nname = "hand-made"\n[project.entry-points.lot]\nhand = "hand.plugin"\n'
PLUGIN = '''"""Mine."""
import lot
from lot import Component as C, hookimpl


@hookimpl
def lot_losses():
    """All of them: é."""
    return [C(name="a", summary="é", factory="hand.a:A")]  # one so far


@hookimpl()
def lot_tasks():
    return [
        C(name="t", summary="x, y", factory="hand.t:T"),  # first, and
        # last
    ]


@hookimpl
def lot_embeddings():
    return [C(name="e", summary="x",
              factory="hand.e:E")]
'''


@pytest.fixture
def hand(lot: Callable) -> Path:
    """A package in the folder `hand-made`, from which the command is run."""
    source = Path("hand-made/src/hand")
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("")
    (source / "plugin.py").write_text(PLUGIN)
    Path("hand-made/pyproject.toml").write_text(PYPROJECT)
    return Path("hand-made")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_happened_and_what_to_do_next_is_said(lot: Callable, hand: Path) -> None:
    before = files(hand)
    done = lot("plugins", "new", "My-Second", "--kind", "loss", "--into", "hand-made")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "wrote a loss called my_second into hand-made:",
        "  hand-made/src/hand/my_second.py",
        "  hand-made/src/hand/my_second_reference.py",
        "  hand-made/tests/test_my_second.py",
        "  hand-made/src/hand/plugin.py",
        "  hand-made/src/hand/config.py",
        "now:",
        '  pip install -e "./hand-made[test]"',
        "  lot plugins check my_second",
        "  pytest hand-made",
        "  lot run --loss my_second --task copy_reverse",
    ]
    after = files(hand)
    assert {name for name in before if after[name] != before[name]} == {"src/hand/plugin.py"}
    assert "class MySecondConfig" in (hand / "src/hand/config.py").read_text()


ADDED = """        C(
            name="new",
            summary="Keeps the logits from drifting: the squared logarithm of the softmax's denominator.",
            factory="hand.new:New",
            config="hand.config:NewConfig",
            reference="Chowdhery et al., PaLM, 2022 (z-loss)",
            weight=1e-4,
        ),
"""


def test_a_list_on_one_line_becomes_a_line_per_component(lot: Callable, hand: Path) -> None:
    assert lot("plugins", "new", "new", "--kind", "loss", "--into", "hand-made").code == 0
    old = '    return [C(name="a", summary="é", factory="hand.a:A")]  # one so far\n'
    new = f'    return [\n        C(name="a", summary="é", factory="hand.a:A"),\n{ADDED}    ]  # one so far\n'
    assert (hand / "src/hand/plugin.py").read_text() == PLUGIN.replace(old, new)


def inserted(before: str, after: str) -> str:
    """What stands in `after` and not in `before`, which is otherwise the same."""
    start = next(i for i in range(len(after)) if i == len(before) or after[i] != before[i])
    kept = len(before) - start
    assert after.endswith(before[start:])
    return after[start : len(after) - kept]


@pytest.mark.parametrize("kind", ["task", "embedding", "attention"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_text_is_inserted_and_none_is_changed(lot: Callable, hand: Path, kind: str, newline: str) -> None:
    plugin = hand / "src/hand/plugin.py"
    before = PLUGIN.replace("\n", newline)
    plugin.write_bytes(before.encode())
    assert lot("plugins", "new", "new", "--kind", kind, "--into", "hand-made").code == 0
    after = plugin.read_bytes().decode()
    added = inserted(before, after)
    assert 'name="new"' in added
    assert after.count(newline) == after.count("\n")
    names = [item.name for item in _hooks(after)[f"lot_{kind}s"]()]
    assert names[-1] == "new"
    assert len(names) == (1 if kind == "attention" else 2)


def _hooks(source: str) -> dict[str, Callable]:
    namespace: dict[str, Callable] = {}
    exec(source, namespace)
    return namespace


@pytest.mark.parametrize("elements", ["", " ", "\n    ", "\n        # none yet\n    "])
def test_an_empty_list_takes_a_component(elements: str) -> None:
    source = f"from lot import Component, hookimpl\n@hookimpl\ndef lot_tasks():\n    return [{elements}]\n"
    entry = 'Component(name="new", summary="S", factory="a:B")'
    (item,) = _hooks(with_registration(source, "lot_tasks", "new", entry, Path("x")))["lot_tasks"]()
    assert item.name == "new"


def test_options_join_those_that_are_there(lot: Callable, hand: Path) -> None:
    config = "import attrs\nfrom lot import option\n\n\n@attrs.frozen(kw_only=True)\nclass A:\n    a: int = option(1, help='a')\n"
    (hand / "src/hand/config.py").write_text(config)
    assert lot("plugins", "new", "new", "--kind", "loss", "--into", "hand-made").code == 0
    text = (hand / "src/hand/config.py").read_text()
    assert text.startswith(f"{config}\n\n@attrs.frozen(kw_only=True)\nclass NewConfig:")


# What is refused


def change(path: str, old: str, new: str) -> Callable[[Path], None]:
    """Replaces a text in a file of the package; an empty `old` makes the file."""

    def apply(folder: Path) -> None:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.read_text().replace(old, new) if old else new)

    return apply


PLUGIN_FILE, CONFIG_FILE = "src/hand/plugin.py", "src/hand/config.py"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change("src/hand/new.py", "", "mine"), "hand-made/src/hand/new.py exists already; choose another name"),
        (change("src/hand/new/x", "", "mine"), "hand-made/src/hand/new exists already; choose another name"),
        (change("tests/test_new.py", "", "mine"), "hand-made/tests/test_new.py exists already; choose another name"),
        (change(PLUGIN_FILE, '"a"', '"new"'), "hand-made/src/hand/plugin.py: lot_losses registers 'new' already;"),
        (change(CONFIG_FILE, "", "import attrs\nfrom lot import option\nNewConfig = 1\n"), "has a NewConfig already;"),
        (change(CONFIG_FILE, "", "x = 1\n"), "it lacks `import attrs` or `from lot import option`;"),
        (change(PLUGIN_FILE, "return [C(name=", "x = 1\n    return [C(name="), "lot_losses does something else than"),
        (change(PLUGIN_FILE, "return [C(name=", "return [] + [C(name="), "lot_losses does something else than"),
        (change(PLUGIN_FILE, "@hookimpl\ndef lot_losses", "def lot_losses"), "lot_losses lacks @hookimpl;"),
        (change(PLUGIN_FILE, "def lot_losses", "async def lot_losses"), "lot_losses is not one function at the top"),
        (
            change(PLUGIN_FILE, "@hookimpl\ndef lot_losses", "from x import lot_losses\n\n\n@hookimpl\ndef other"),
            "lot_losses is not one function at the top level",
        ),
        (change(PLUGIN_FILE, "import lot\nfrom lot import", "from mine import"), "it does not import Component and"),
        (change(PLUGIN_FILE, "def lot_tasks", "def lot tasks"), "plugin.py cannot be extended: it is not Python ("),
        (change("pyproject.toml", "hand.plugin", "hand"), "has no file for hand, which its pyproject.toml names;"),
        (change("pyproject.toml", "hand.plugin", "hand.plug"), "has no file for hand.plug, which its pyproject.toml"),
        (change("pyproject.toml", "points.lot", "points.x"), "names no modules in [project.entry-points.lot];"),
        (
            change("pyproject.toml", "hand =", 'b = "b.plugin"\nhand ='),
            "names 2 modules in [project.entry-points.lot];",
        ),
        (change("pyproject.toml", "[project]", "[project"), "pyproject.toml cannot be read ("),
    ],
)
def test_a_package_that_cannot_be_extended_is_left_alone(
    lot: Callable, hand: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(hand)
    before = files(hand)
    done = lot("plugins", "new", "new", "--kind", "loss", "--into", "hand-made")
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert files(hand) == before


@pytest.mark.parametrize(
    ("name", "into", "said"),
    [
        ("vanilla", "hand-made", "an attention 'vanilla' exists already, in lot-core"),
        ("plugin", "hand-made", "src/hand/plugin.py exists already"),
        ("class", "hand-made", "a name that Python does not use"),
        ("a b", "hand-made", "NAME: expected letters"),
        ("new", "nowhere", "nowhere is no package: it has no pyproject.toml"),
        ("new", "hand-made/src", "hand-made/src is no package: it has no pyproject.toml"),
    ],
)
def test_names_that_cannot_work_are_refused(lot: Callable, hand: Path, name: str, into: str, said: str) -> None:
    before = files(hand)
    done = lot("plugins", "new", name, "--into", into)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert files(hand) == before


def test_a_failure_half_way_leaves_the_package_as_it_was(
    lot: Callable, hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = scaffold._create

    def full(path: Path, text: str) -> None:
        if path.name == "test_new.py":
            path.parent.mkdir()
            raise OSError(28, "No space left on device")
        create(path, text)

    before = files(hand)
    monkeypatch.setattr(scaffold, "_create", full)
    done = lot("plugins", "new", "new", "--kind", "loss", "--into", "hand-made")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: hand-made cannot be written (No space left on device)\n"
    assert files(hand) == before
    assert not (hand / "tests").exists()
