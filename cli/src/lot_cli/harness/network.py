"""Whether the Hugging Face hub is asked: not where a task's data are on this machine, nor where it cannot be reached.

The clients of the hub read a switch each time they are used; without it they would try for half a minute to reach it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

_PATIENCE = 5.0
"""Seconds in which the hub must answer a connection."""
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def unreachable() -> str | None:
    """Why the hub cannot be asked; None where it can."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    if any(os.environ.get(variable) for variable in _PROXIES):
        return None  # the proxy is asked, which may reach what this machine does not
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        socket.create_connection((host.hostname or "", host.port or 443), timeout=_PATIENCE).close()
    except OSError as error:
        return f"{host.hostname} cannot be reached ({error.strerror or error})"
    return None


@contextlib.contextmanager
def hub(asked: bool) -> Iterator[None]:
    """While it lasts, the clients of the hub ask it, or use what is on this machine alone."""
    import datasets.config
    import huggingface_hub.constants

    switches = (huggingface_hub.constants, datasets.config)
    before = [switch.HF_HUB_OFFLINE for switch in switches]
    for switch in switches:
        switch.HF_HUB_OFFLINE = not asked
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.HF_HUB_OFFLINE = value
