"""The errors that LOT raises on purpose, each with the exit code that the command line returns for it."""

from __future__ import annotations

import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any


def first_line(problem: object) -> str:
    """The first line of a text, or of what an exception says; an exception that says nothing is named by its class."""
    lines = [line for line in str(problem or "").splitlines() if line.strip()]
    return (
        lines[0].strip()
        if lines
        else type(problem).__name__
        if isinstance(problem, BaseException)
        else "unknown problem"
    )


def place_of(error: BaseException, packages: Collection[str]) -> str:
    """`FILE:LINE` of the innermost line of one of these packages that led to an error; empty where none did."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}"
    found, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in packages:
            found = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def not_a_file(path: Path) -> str | None:
    """What `path` is, where it is neither a file nor a folder: reading it may never end. Raises OSError."""
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


class LotError(Exception):
    """Base of all errors that are told to the user in one to three lines, without a traceback."""

    exit_code = 1


class BadInput(LotError):
    """Something that the user gave cannot be used; nothing was started and nothing was touched.

    `where` is the path of the value (`attn.coupling`), `expected` and `got` complete "expected ..., got ...",
    `fix` says what to do. All four are optional: `BadInput("no such file: x.yaml")` is fine too.
    """

    exit_code = 2

    def __init__(self, what: str = "", *, where: str = "", expected: str = "", got: Any = None, fix: str = "") -> None:
        self.what, self.where, self.expected, self.got, self.fix = what, where, expected, got, fix
        super().__init__(what, where, expected, got, fix)

    def under(self, prefix: str) -> BadInput:
        """The same error with `prefix` put before its path (an option's error, told from its component's table)."""
        self.where = f"{prefix}.{self.where}" if self.where else prefix
        return self

    def __str__(self) -> str:
        body = self.what
        if self.expected:
            body += (": " if body else "") + f"expected {self.expected}"
            if self.got is not None:
                body += f", got {self.got}"
        line = f"{self.where}: {body}" if self.where else body
        return f"{line}; {self.fix}" if self.fix else line


class PluginError(BadInput):
    """A plugin that was asked for did not load, or broke a rule of the registry."""


class RunFailed(LotError):
    """A run failed after it had started (divergence, storage); the last good checkpoint is named."""

    exit_code = 3


class Diverged(RunFailed):
    """Training gave up for no other reason than its numbers: it would do so again."""


class Interrupted(LotError):
    """A run was stopped by a signal and saved at the step boundary; `exit_code` is 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
