"""The files that a path, a folder or a glob names, found before anything is read. Imports no torch."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import attrs

from lot import BadInput, file_digest
from lot_tasks.text.files import readable
from lot_tasks.text.formats import HEAD, other_format

Format = Literal["text", "jsonl", "parquet"]

_FORMATS: dict[str, Format] = {
    ".txt": "text",
    ".text": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_GLOB = frozenset("*?[")
_EXTRA = "pip install 'lot-tasks[parquet]'"
_KINDS = ".txt, .jsonl, .parquet, .txt.gz and .jsonl.gz"


@attrs.frozen(kw_only=True)
class File:
    """A file of documents. gzip: whether it is compressed as a whole."""

    path: Path
    format: Format
    gzip: bool

    @property
    def bytes(self) -> int:
        """Its size."""
        return self.path.stat().st_size

    def digest(self) -> str:
        """SHA-256 of its content."""
        try:
            return file_digest(self.path)
        except OSError as error:
            raise BadInput(f"{self.path} cannot be read ({error.strerror or error})") from error


def find_files(given: str) -> list[File]:
    """The files that `given` names, in the order of their names, each once. Raises BadInput where there is none.

    Of a folder, files of other kinds, hidden ones and links to folders are left out.
    """
    try:
        path = Path(given).expanduser()
        if path.is_dir():
            paths = [found for found in _walk(path) if _format_of(found) is not None]
        elif _GLOB & set(given) and not path.exists():
            paths = [found for found in _glob(path) if not found.is_dir()]
        else:
            paths = [readable(given, "")]
    except (ValueError, RuntimeError, NotImplementedError) as error:  # a NUL; an unknown home; "**" inside a name
        raise BadInput(f"{given!r} is no path ({error})") from error
    except OSError as error:
        raise BadInput(f"{given} cannot be read ({error.strerror or error})") from error
    if not paths:
        what = "no file of documents in it" if path.is_dir() else "no file has such a name"
        raise BadInput(f"{given}: {what}", expected=_KINDS)
    once = {os.path.realpath(found): found for found in sorted(paths, reverse=True)}
    files = [_file(found) for found in sorted(once.values())]
    if any(file.format == "parquet" for file in files) and find_spec("pyarrow") is None:
        raise BadInput("Parquet files need the package pyarrow", fix=_EXTRA)
    return files


def _walk(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for here, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(here, name) for name in sorted(names) if not name.startswith(".")]
    return found


def _glob(pattern: Path) -> list[Path]:
    """What a pattern names, hidden files and folders only where it names them itself."""
    fixed = next(number for number, part in enumerate(pattern.parts) if _GLOB & set(part))
    root, rest = Path(*pattern.parts[:fixed]), Path(*pattern.parts[fixed:])
    hidden = any(part.startswith(".") for part in rest.parts)
    found = root.glob(str(rest))
    return [path for path in found if hidden or not any(p.startswith(".") for p in path.relative_to(root).parts)]


def _format_of(path: Path) -> tuple[Format, bool] | None:
    """The format of a file by its name, and whether it is compressed; None where the name tells nothing."""
    packed = path.suffix == ".gz"
    format = _FORMATS.get((path.with_suffix("") if packed else path).suffix.lower())
    return None if format is None or (packed and format == "parquet") else (format, packed)


def _file(path: Path) -> File:
    """The file, looked into. Raises BadInput where it cannot be read, or its content is not what its name says."""
    readable(str(path), "")
    known = _format_of(path)
    if known is None:
        raise BadInput(f"{path}: a file of an unknown kind", expected=_KINDS, fix="rename it, if it is one of these")
    format, packed = known
    with path.open("rb") as file:
        head = file.read(HEAD)
    if packed and head[:2] != b"\x1f\x8b":
        raise BadInput(f"{path} is no gzip file, as its name says")
    if format == "parquet" and head[:4] != b"PAR1":
        raise BadInput(f"{path} is no Parquet file, as its name says")
    if format == "text" and not packed and (other := other_format(head, path)) is not None:
        raise BadInput(f"{path} is {other[0]}", expected="plain text, as its name says", fix="name it after its format")
    return File(path=path, format=format, gzip=packed)
