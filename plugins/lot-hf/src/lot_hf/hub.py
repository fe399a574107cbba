"""Models on the Hugging Face hub: from its cache on this machine, else over the network. Imports huggingface_hub when used."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from lot import BadInput

_PATIENCE = 5.0
"""Seconds in which the hub must answer a connection."""


def fetch(name: str, revision: str | None, patterns: list[str], needs: str) -> Path:
    """The folder of a model, with the files that match `patterns`; what is in the cache already is not asked for again.

    needs: a pattern of which a file must be there. Raises BadInput where the package, the network or the model is missing.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise BadInput(
            f"no folder or file {name} here, and a name on the hub needs the package huggingface_hub",
            where="path",
            fix="name a folder, or pip install 'lot-hf[hub]'",
        ) from None
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=True))
        if _complete(folder, needs):
            return folder
    except LocalEntryNotFoundError:
        pass
    _require_network(name)
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except HfHubHTTPError as error:
        code = getattr(getattr(error, "response", None), "status_code", None)
        raise BadInput(
            f"the hub has no model {name}{f' at {revision}' if revision else ''} that it gives to you (HTTP {code})",
            where="path",
            fix="look for its name on the hub; a gated model needs the token of an account (hf auth login)",
        ) from None
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{name} cannot be fetched ({str(error).partition(chr(10))[0]})", where="path", fix="try again"
        ) from None
    if not _complete(folder, needs):
        raise BadInput(
            where=f"path: {name} on the hub",
            expected=f"a file {needs}",
            got="none",
            fix="LOT reads no pickled weights; choose a model with safetensors",
        )
    return folder


def _complete(folder: Path, needs: str) -> bool:
    """Whether a snapshot has what is needed; of weights in several files, all."""
    if not any(folder.glob(needs)):
        return False
    if not needs.endswith(".safetensors"):
        return True
    import json

    for index in folder.glob("*.safetensors.index.json"):
        try:
            files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return False
        return all((folder / file).is_file() for file in files)
    return True


def _require_network(name: str) -> None:
    """Say at once that there is no network, which the hub's own client would find out in half a minute."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise BadInput(f"{name} is not in the cache, and HF_HUB_OFFLINE is set", where="path", fix="name a folder")
    if any(os.environ.get(variable) for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return  # the proxy is asked, which may reach what this machine does not
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        socket.create_connection((host.hostname or "", host.port or 443), timeout=_PATIENCE).close()
    except OSError as error:
        raise BadInput(
            f"no folder or file {name} here, and {host.hostname} cannot be reached ({error.strerror or error})",
            where="path",
            fix="name a folder, or fetch the model where there is a network",
        ) from None
