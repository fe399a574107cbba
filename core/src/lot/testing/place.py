"""Where in a component's own code something is: file and line, for a message."""

from __future__ import annotations

import inspect
import os
from types import TracebackType
from typing import Any

from lot.plugins.component import Component


def place_of(component: Component, error: BaseException | None) -> str:
    """`FILE:LINE, in FUNCTION` of the innermost frame in the component's own code that `error` came through, or ""."""
    while error is not None:
        found = _innermost(component, error.__traceback__)
        if found:
            return found
        error = error.__cause__
    return ""


def definition(component: Component) -> str:
    """`FILE:LINE` of the component's factory, or "" where it has none that can be read."""
    try:
        factory: Any = inspect.unwrap(component.load())
        return f"{_short(inspect.getsourcefile(factory) or '')}:{inspect.getsourcelines(factory)[1]}"
    except Exception:  # the component says by itself, in the check `builds`, why it does not load
        return ""


def _innermost(component: Component, traceback: TracebackType | None) -> str:
    found = ""
    while traceback is not None:
        frame = traceback.tb_frame
        if _is_own(component, frame.f_globals.get("__name__", "")):
            found = f"{_short(frame.f_code.co_filename)}:{traceback.tb_lineno}, in {frame.f_code.co_name}"
        traceback = traceback.tb_next
    return found


def _is_own(component: Component, module: str) -> bool:
    """Whether a module belongs to the distribution of the component; of the core, its components alone do."""
    package = component.factory.partition(":")[0]
    top = package.rpartition(".")[0] if package.startswith("lot.") else package.partition(".")[0]
    return module == top or module.startswith(f"{top}.")


def _short(path: str) -> str:
    """The path from the working directory, where it lies below it."""
    inside = os.path.relpath(path) if path else ""
    return path if inside.startswith(os.pardir) else inside
