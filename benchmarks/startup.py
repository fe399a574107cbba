"""Starting up: `lot --help` and `lot plugins` against `python -c "import click"`, as whole processes.

Both must do without torch, whose import alone takes seconds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lot_cli.bench import Case


def process(*command: str) -> Callable[[], object]:
    """A callable that runs `command` to its end. Bytecode may be cached, as pip has done for click."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return lambda: subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )


def cases() -> Iterator[Case]:
    """The two commands that everybody types first."""
    lot = shutil.which("lot", path=str(Path(sys.executable).parent)) or "lot"
    click = process(sys.executable, "-c", "import click")
    for arguments in (["--help"], ["plugins"]):
        yield Case(
            name=f"lot {' '.join(arguments)}",
            candidate=process(lot, *arguments),
            baseline=click,
            baseline_name="python -c 'import click'",
            cost=3.0,
        )
