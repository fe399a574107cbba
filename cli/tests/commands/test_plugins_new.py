"""`lot plugins new` of a package: what it writes works as it is, and what it refuses leaves nothing behind.

That what it writes passes the kit and its own tests is shown in `test_plugins_new_into.py`, for packages with more in them.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from lot_cli.commands.plugins_new import TEMPLATES
from lot_cli.main import main
from lot_cli.scaffold import package as scaffold

PACKAGES = {kind: f"my-{kind}" for kind in TEMPLATES}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of each kind, as `lot plugins new` writes them."""
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind, name in PACKAGES.items():
            assert main(["plugins", "new", name, "--kind", kind]) == 0
    return folder


@pytest.fixture(scope="module")
def environment(written: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which all of them are installed, as pip would from their pyproject.toml."""
    target = tmp_path_factory.mktemp("target")
    for name in PACKAGES.values():
        project = tomllib.loads((written / name / "pyproject.toml").read_text())["project"]
        info = target / f"{name.replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        header = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (info / "METADATA").write_text(header)
        entries = "".join(f"{key} = {module}\n" for key, module in project["entry-points"]["lot"].items())
        (info / "entry_points.txt").write_text(f"[lot]\n{entries}")
    return environment_with(target, *(written / name / "src" for name in PACKAGES.values()))


def environment_with(*folders: Path) -> dict[str, str]:
    """The environment of a process that finds packages in these folders too."""
    path = os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "100", "OMP_NUM_THREADS": "1"}


def run(command: list[str], environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """A Python process."""
    return subprocess.run(
        [sys.executable, *command], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )


def test_every_kind_is_a_complete_package(written: Path) -> None:
    for name in PACKAGES.values():
        module = name.replace("-", "_")
        files = {str(path.relative_to(written / name)) for path in (written / name).rglob("*") if path.is_file()}
        assert files == {
            ".gitignore",
            "LICENSE",
            "README.md",
            "noxfile.py",
            "pyproject.toml",
            f"src/{module}/__init__.py",
            f"src/{module}/py.typed",
            f"src/{module}/config.py",
            f"src/{module}/plugin.py",
            f"src/{module}/{module}.py",
            f"src/{module}/{module}_reference.py",
            f"tests/test_{module}.py",
        }
        text = "".join((written / name / file).read_text() for file in files)
        assert "$" not in text
        assert "PACKAGE" not in text
        assert "COMPONENT" not in text


def test_what_is_written_is_in_the_style_that_it_asks_for(written: Path) -> None:
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."], cwd=written, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


def test_the_folder_is_open_to_those_to_whom_new_folders_are(written: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert (written / "my-attention").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_is_written_registers(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(["-m", "lot_cli", "plugins"], environment, tmp_path)
    assert done.returncode == 0
    for name in PACKAGES.values():
        assert f"{name} 0.1.0\n" in done.stdout
    assert "did not load" not in done.stdout


def test_pip_installs_what_is_written(written: Path, tmp_path: Path) -> None:
    # One of them: all have the same pyproject.toml.
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    pip = ["-m", "pip", "install", "-q", "--no-deps", *isolation, "--target", "site", str(written / "my-task")]
    assert run(pip, environment_with(), tmp_path).returncode == 0
    done = run(["-m", "lot_cli", "plugins"], environment_with(tmp_path / "site"), tmp_path)
    assert "my-task 0.1.0\n" in done.stdout
    assert "did not load" not in done.stdout


def test_all_of_them_train_together(environment: dict[str, str], tmp_path: Path) -> None:
    flags = {"attn": "attention", "embed": "embedding", "optim": "optimizer", "loss": "loss", "task": "task"}
    flags["record"] = "recorder"
    chosen = [part for flag, kind in flags.items() for part in (f"--{flag}", f"my_{kind}")]
    small = ["model.width=32", "model.layers=1", "train.steps=6", "train.batch_size=8", "train.warmup=1"]
    small += ["task.held_out=16", "train.test=false", "diagnostics.my_diagnostic.every=3"]
    sets = [part for each in small for part in ("--set", each)]
    done = run(["-m", "lot_cli", "run", *chosen, *sets, "--run-dir", "x", "--device", "cpu"], environment, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in (tmp_path / "x" / "snapshots" / "my_diagnostic").iterdir()) == [
        "step_00000000.safetensors",
        "step_00000003.safetensors",
        "step_00000006.safetensors",
    ]
    assert "| my_diagnostic/entropy |" in (tmp_path / "x" / "my_recorder.md").read_text()


def test_what_to_do_next_is_said(lot: Callable) -> None:
    done = lot("plugins", "new", "Soft.Waves", "--kind", "loss")
    assert done.out.splitlines() == [
        "wrote Soft.Waves, a loss called soft_waves; now:",
        '  pip install -e "./Soft.Waves[test]"',
        "  lot plugins check soft_waves",
        "  pytest Soft.Waves",
        "  lot run --loss soft_waves --task copy_reverse",
    ]
    assert "class SoftWaves(Loss)" in Path("Soft.Waves/src/soft_waves/soft_waves.py").read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a b", "NAME: expected letters, digits, dots and dashes, a letter first, such as my-waves, got 'a b'"),
        ("../waves", "a letter first"),
        ("7waves", "a letter first"),
        ("waves-", "a letter first"),
        ("wäves", "a letter first"),
        ("class", "NAME: expected a name that Python does not use: not class, got 'class'"),
        ("Json", "not json"),
        ("vanilla", "an attention 'vanilla' exists already, in lot-core"),
        ("lattice", "an attention 'lattice' exists already, in lot-lattice"),
        ("numpy", "a module numpy is installed already"),
    ],
)
def test_a_name_that_cannot_work_is_refused(lot: Callable, name: str, said: str) -> None:
    done = lot("plugins", "new", name)
    assert done.code == 2
    assert said in done.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("what", ["folder", "file", "dangling link"])
def test_what_exists_is_left_alone(lot: Callable, what: str) -> None:
    target = Path("my-waves")
    if what == "folder":
        target.mkdir()
    elif what == "file":
        target.write_text("mine")
    else:
        target.symlink_to("nowhere")
    done = lot("plugins", "new", "my-waves")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: my-waves exists already;")
    assert list(Path().iterdir()) == [target]
    assert what != "file" or target.read_text() == "mine"


def test_a_failure_half_way_leaves_nothing(lot: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scaffold.render
    calls = []

    def interrupted(*arguments: object) -> object:
        for path, text in whole(*arguments):  # type: ignore[arg-type]
            calls.append(path)
            if len(calls) == 3:
                raise OSError(28, "No space left on device")
            yield path, text

    monkeypatch.setattr(scaffold, "render", interrupted)
    done = lot("plugins", "new", "my-waves")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: my-waves cannot be written (No space left on device)\n"
    assert list(Path().iterdir()) == []
