"""A bug in one line: where in a plugin it is, and its traceback in a file."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import tempfile
import time
import traceback
from pathlib import Path


def place_in_plugin(error: BaseException) -> str:
    """`, at FILE:LINE` of the code of a plugin that led to an error; empty where none did."""
    from lot.errors import place_of
    from lot.plugins.registry import registry

    packages = {plugin.module.partition(":")[0].partition(".")[0] for plugin in registry().plugins()} - {"lot", ""}
    place = place_of(error, packages)
    return f", at {place}" if place else ""


def write_crash_file(error: BaseException, args: list[str]) -> str:
    """Write the traceback of `error` to a file of its own and return its path.

    It goes to the current directory, else to the temporary one; where neither can be written,
    to stderr.
    """
    import lot

    torch = sys.modules.get("torch")
    facts = [
        f"command: {shlex.join(['lot', *args])}",
        f"time: {time.strftime('%Y-%m-%dT%H:%M:%S%z')}",
        f"versions: lot-core {lot.__version__}, torch {getattr(torch, '__version__', 'not imported')}, "
        f"Python {platform.python_version()}, {platform.platform()}",
        "",
    ]
    text = "\n".join(facts) + "\n" + "".join(traceback.format_exception(error))
    name = f".lot-crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (Path(), Path(tempfile.gettempdir())):
        try:
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            continue
        return str(folder / name)
    sys.stderr.write(text)
    return "the lines above (no file could be written)"
