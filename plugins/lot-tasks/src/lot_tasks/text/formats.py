"""What a file is, told from its first bytes, so that no model learns the syntax of JSON or the bytes of an archive as text."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from lot import BadInput

HEAD = 1 << 16
"""Bytes at the beginning of a file that are looked at."""
_UNPACK = "unpack it first"
_COLUMN = "write its column of texts to a text file first"
_STREAM = "read it with lot run --task text_stream --set task.path={}"
_UTF8 = "store it as UTF-8 first"
_OWN_TEXT = "write its text to a text file first"

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "a Parquet file", _STREAM),
    (b"ARROW1", "an Arrow file", _COLUMN),
    (b"\x1f\x8b", "a gzip file", _UNPACK),
    (b"BZh91AY&SY", "a bzip2 file", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz file", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", _UNPACK),
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"%PDF-", "a PDF file", _OWN_TEXT),
    (b"\xff\xfe", "text in UTF-16", _UTF8),
    (b"\xfe\xff", "text in UTF-16", _UTF8),
)
"""First bytes of a file, what it is, and what to do with it."""

_JSON = re.compile(r'\s*\[?\s*\{\s*"(?:[^"\\\n]|\\.)*"\s*:')
"""The beginning of a JSON object, or of a list of objects."""


def refuse_other_formats(head: bytes, path: Path) -> None:
    """Raises BadInput where the first `HEAD` bytes of the file `path` are those of another format than plain text."""
    if (found := other_format(head, path)) is not None:
        what, fix = found
        raise BadInput(
            f"{path} is {what}",
            where="path",
            expected="plain text",
            fix=f"{fix}, or set task.format=raw to learn from it as it stands",
        )


def other_format(head: bytes, path: Path) -> tuple[str, str] | None:
    """What the file `path` is by its first `HEAD` bytes, and what to do with it; None where it is plain text."""
    return _binary(head, path) or _json(head, path)


def _binary(head: bytes, path: Path) -> tuple[str, str] | None:
    for magic, what, fix in _MAGIC:
        if head.startswith(magic):
            return what, fix.format(_quoted(path))
    place = head.find(b"\0")
    return None if place < 0 else (f"binary data (byte {place} is 0)", _OWN_TEXT)


def _json(head: bytes, path: Path) -> tuple[str, str] | None:
    text = head.decode("utf-8", "replace").lstrip("\ufeff")
    if _JSON.match(text) is None:
        return None
    first = _object(text.lstrip().partition("\n")[0])
    if first is None:
        return "JSON", _OWN_TEXT
    field = _field(first)
    return "JSON Lines", _STREAM.format(_quoted(path)) + (
        "" if field == "text" else f" --set task.field={shlex.quote(field)}"
    )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _object(line: str) -> dict[str, Any] | None:
    """The JSON object that fills a line, or None."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _field(record: dict[str, Any]) -> str:
    """The field of a record that holds the longest text."""
    texts = {name: len(value) for name, value in record.items() if isinstance(value, str)}
    return max(texts, key=lambda name: texts[name]) if texts else "text"
