"""Ways to damage a file, and what a command may answer then."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _flipped(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return b"\x00"
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def _zeroed(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    stop = min(len(content), start + 64)
    return content[:start] + bytes(stop - start) + content[stop:]


def _other_values(content: bytes, rng: random.Random) -> bytes:
    """One value of a JSON document, or of a line of a log, is of another kind now; of another file, see `_zeroed`."""
    lines = content.split(b"\n")
    number = rng.randrange(max(1, len(lines) - 1)) if content.startswith(b'{"step"') else None
    try:
        document = json.loads(content if number is None else lines[number])
    except ValueError:
        return _zeroed(content, rng)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            places.append((node, key))
            if isinstance(value, dict | list):
                walk(value)

    if isinstance(document, dict | list):
        walk(document)
    if not places:
        return b"null"
    node, key = rng.choice(places)
    node[key] = rng.choice(["text", -1, 10**400, 1e308, [], {}, None, True, "\x1b[2J", "<script>", [[[]]]])
    changed = json.dumps(document).encode()
    return changed if number is None else b"\n".join([*lines[:number], changed, *lines[number + 1 :]])


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "emptied": lambda content, rng: b"",
    "cut": lambda content, rng: content[: rng.randrange(len(content) + 1)],
    "flipped": _flipped,
    "zeroed": _zeroed,
    "doubled": lambda content, rng: content + content,
    "garbage": lambda content, rng: rng.randbytes(300),
    "nested": lambda content, rng: b"[" * 100_000,
    "other values": _other_values,
}


def damage(path: Path, kind: str, rng: random.Random) -> None:
    """Damage the file `path` in this way; `removed` and `a pipe` are ways too."""
    if kind in ("removed", "a pipe"):
        path.unlink()
        if kind == "a pipe":
            os.mkfifo(path)
        return
    path.write_bytes(DAMAGES[kind](path.read_bytes(), rng))


KINDS = [*DAMAGES, "removed", *(["a pipe"] if hasattr(os, "mkfifo") else [])]


def answered(done: subprocess.CompletedProcess[str], what: str) -> None:
    """Asserts that a command did its work, or said in a line or two why not; warnings come before."""
    said = done.stdout + done.stderr
    assert done.returncode in (0, 2, 3), f"{what}: exit code {done.returncode}\n{said}"
    assert "Traceback" not in said, f"{what}\n{said}"
    assert "\x1b[2J" not in said, f"{what}: a control character was obeyed"
    if done.returncode:
        errors = done.stderr[done.stderr.rfind("error: ") :].splitlines()
        assert 1 <= len(errors) <= 3, f"{what}\n{said}"
        assert max(map(len, errors)) < 1500, f"{what}\n{said}"
