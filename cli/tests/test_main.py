"""The command itself: laziness, exit codes, messages, crash files."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import torch

from lot.errors import BadInput, Interrupted, RunFailed
from lot_cli.main import COMMANDS, cli
from lot_cli.terminal.group import LazyGroup


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.fixture
def boom(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes `lot boom` raise an exception."""

    def prepare(error: BaseException) -> None:
        @click.command()
        def command() -> None:
            raise error

        module = types.ModuleType("boom_command")
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "boom_command", module)
        monkeypatch.setitem(COMMANDS, "boom", ("boom_command:command", "Fail."))

    return prepare


# Laziness


def test_help_imports_neither_a_command_nor_the_core() -> None:
    done = python(
        "import sys; from lot_cli.main import main; main(['--help']);"
        "print([m for m in sys.modules if m in ('lot', 'torch', 'rich', 'attr', 'json') or m.startswith('lot_cli.')])"
    )
    assert (
        done.stdout.splitlines()[-1]
        == "['lot_cli.terminal', 'lot_cli.terminal.echo', 'lot_cli.terminal.group', 'lot_cli.main']"
    )


@pytest.mark.parametrize(
    "command", [["plugins"], ["plugins", "--json"], ["show", "vanilla"], ["run", "--help"], ["runs", "."]]
)
def test_looking_around_imports_no_torch(command: list[str]) -> None:
    done = python(
        f"import sys; from lot_cli.main import main; code = main({command!r});"
        "print(code, sorted({'torch', 'numpy', 'matplotlib', 'rich', 'cattrs'} & set(sys.modules)))"
    )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("command", [["show"], ["show", "train"], ["show", "study"], ["schema"], ["schema", "sweep"]])
def test_looking_up_a_file_imports_no_torch(command: list[str]) -> None:
    done = python(
        f"import sys; from lot_cli.main import main; code = main({command!r});"
        "print(code, sorted({'torch', 'numpy', 'matplotlib', 'rich'} & set(sys.modules)))"
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_completion_imports_no_torch() -> None:
    done = python(
        "import sys; from lot_cli.main import main; main([]); print(sorted({'torch', 'cattrs'} & set(sys.modules)))",
        _LOT_COMPLETE="bash_complete",
        COMP_WORDS="lot show tra",
        COMP_CWORD="2",
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_table_holds_commands() -> None:
    ctx = click.Context(cli)
    for name in COMMANDS:
        assert isinstance(cli.get_command(ctx, name), click.Command)
        assert COMMANDS[name][1].endswith(".")


def test_help_lists_every_command_with_its_line(lot: Callable) -> None:
    done = lot("--help")
    assert done.code == 0
    for name, (_, line) in COMMANDS.items():
        assert f"  {name.ljust(max(map(len, COMMANDS)))}  {line}" in done.out
    assert lot().out == done.out


def test_version(lot: Callable) -> None:
    assert lot("--version").out.startswith("lot-core ")


# Errors


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BadInput("no such thing"), 2, "error: no such thing\n"),
        (BadInput(where="a.b", expected="an int", got=3.7), 2, "error: a.b: expected an int, got 3.7\n"),
        (
            RunFailed("diverged at step 7\nlast good checkpoint: x"),
            3,
            "error: diverged at step 7\n       last good checkpoint: x\n",
        ),
        (Interrupted("saved at step 3", 15), 143, "saved at step 3\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.Abort(), 130, "interrupted\n"),
        (click.FileError("x.yaml", "gone"), 2, "error: Could not open file 'x.yaml': gone\n"),
    ],
)
def test_an_expected_error_is_its_message_and_its_code(
    lot: Callable, boom: Callable, error: BaseException, code: int, said: str
) -> None:
    boom(error)
    done = lot("boom")
    assert (done.code, done.out, done.err) == (code, "", said)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), SystemExit(3)])
def test_a_bug_leaves_a_crash_file_and_one_message(lot: Callable, boom: Callable, error: BaseException) -> None:
    boom(error)
    done = lot("boom")
    (crash,) = Path().iterdir()
    assert done.code == 1
    assert done.err == (
        f"error: {type(error).__name__}: {error}\n       a bug in LOT or in a plugin; the traceback is in {crash}\n"
    )
    text = crash.read_text()
    assert crash.name.startswith(".lot-crash-")
    assert "command: lot boom" in text
    assert "Traceback (most recent call last)" in text
    assert text.rstrip().endswith(f"{type(error).__name__}: {error}")


def test_where_nothing_can_be_written_the_crash_file_is_temporary(
    lot: Callable, boom: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boom(ZeroDivisionError("x"))
    elsewhere, here = tmp_path / "temporary", tmp_path / "gone"
    elsewhere.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()  # a current directory that no longer exists cannot be written, not even by root
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    done = lot("boom")
    (crash,) = elsewhere.iterdir()
    assert str(crash) in done.err


@pytest.mark.parametrize(
    "error",
    [MemoryError("no room"), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("x: can't allocate memory: y")],
)
def test_want_of_memory_is_no_bug(lot: Callable, boom: Callable, error: BaseException) -> None:
    boom(error)
    done = lot("boom")
    assert (done.code, done.out, list(Path().iterdir())) == (3, "", [])
    assert done.err.startswith("error: out of memory: ")
    assert "train.batch_size" in done.err


def test_debug_shows_the_traceback_of_any_error(lot: Callable, boom: Callable) -> None:
    for error, code in ((BadInput("no such thing"), 2), (ZeroDivisionError("x"), 1)):
        boom(error)
        done = lot("--debug", "boom")
        assert done.code == code
        assert "Traceback (most recent call last)" in done.err
        assert f"error: {'' if code == 2 else 'ZeroDivisionError: '}{error}" in done.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shw"], "error: no command 'shw'; did you mean 'show'?\n       see lot --help\n"),
        (["zzz"], f"error: no command 'zzz'; there are {', '.join(COMMANDS)}\n       see lot --help\n"),
        (["eval"], "error: Missing argument 'RUN'.\n       see lot eval --help\n"),
        (["plugins", "nwe", "x"], "error: no command 'nwe'; did you mean 'new'?\n       see lot plugins --help\n"),
    ],
)
def test_usage_errors_exit_with_2(lot: Callable, arguments: list[str], said: str) -> None:
    done = lot(*arguments)
    assert (done.code, done.out, done.err) == (2, "", said)


def test_an_unknown_option_exits_with_2(lot: Callable) -> None:
    done = lot("show", "vanilla", "--jsn")
    assert done.code == 2
    assert "--jsn" in done.err
    assert "--json" in done.err


def test_a_reader_that_leaves_is_no_error() -> None:
    code = (
        "import sys, os\n"
        "from lot_cli.main import main\n"
        "reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1)\n"
        "sys.stdout = open(1, 'w')\n"
        "code = main(['--help'])\n"
        "sys.stderr.write(str(code))\n"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "141")


def test_an_error_that_nobody_reads_is_no_bug() -> None:
    code = (
        "import sys, os\n"
        "from lot_cli.main import main\n"
        "reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 2)\n"
        "sys.stderr = open(2, 'w')\n"
        "print(main(['eval', 'nosuch']))\n"
    )
    assert python(code).stdout == "141\n"


# Completion


def complete(words: str) -> list[str]:
    """What bash would be offered after `words`."""
    given = words.split(" ")
    done = python(
        "import sys; from lot_cli.main import main; sys.exit(main([]))",
        _LOT_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(given) - 1),
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_commands_options_and_components_are_completed() -> None:
    assert complete("lot ") == list(COMMANDS)
    assert complete("lot plugins n") == ["new"]
    assert complete("lot show --ex") == ["--example"]
    assert complete("lot show van") == ["vanilla"]
    assert complete("lot show traj") == ["trajectory_stability"]
    assert "train" in complete("lot show tra")
    assert complete("lot plugins check trai") == []
    assert complete("lot schema st") == ["study"]
    assert complete("lot run --optim ad") == ["adamw"]
    assert complete("lot run --optim van") == []


def test_completing_commands_imports_none_of_them() -> None:
    group = LazyGroup("x", table={"nowhere": ("no_such_module:command", "Nothing.")})
    (item,) = group.shell_complete(click.Context(group), "now")
    assert (item.value, item.help) == ("nowhere", "Nothing.")


# Where output goes


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.parametrize(("redirection", "code"), [(">&-", 0), (">/dev/full", 3)])
def test_output_that_cannot_be_written_is_no_bug(redirection: str, code: int, tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m lot_cli plugins {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "a bug" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "no crash file"


def test_a_narrow_encoding_shows_escapes(tmp_path: Path) -> None:
    program = "import sys, click; from lot_cli.main import _never_fail_to_encode; _never_fail_to_encode(); click.echo('\u2713 ok')"
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, cwd=tmp_path)
    assert done.stdout.strip() == b"\\u2713 ok", done.stderr


def test_no_columns_are_some_columns() -> None:
    program = "from lot_cli.terminal.console import LEAST_WIDTH, console; print(console().width == LEAST_WIDTH)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "COLUMNS": "0"}
    )
    assert done.stdout.strip() == "True", done.stderr
