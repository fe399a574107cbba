"""`lot cache`: what is kept between runs and can be made again, how large it is, and deleting it. Imports no torch."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click

from lot.errors import BadInput
from lot_cli.terminal.echo import echo
from lot_cli.terminal.text import DIM, NAME, PLAIN, columns

_LARGEST_NOTE = 1 << 20


@attrs.frozen(kw_only=True)
class Entry:
    """One thing in the cache. name: KIND/NAME. what: a line about it, where it says one of itself."""

    name: str
    path: Path
    bytes: int
    what: str


@click.command()
@click.argument("names", nargs=-1)
@click.option("--delete", is_flag=True, help="Delete what NAMES name; it is made again when it is needed.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON on stdout.")
def cache(names: tuple[str, ...], delete: bool, as_json: bool) -> None:
    """List what the cache holds, or those of it that NAMES name (KIND, or KIND/NAME as listed):
    downloads, tokens, indexes of documents, states of models, kernels.

    The cache is $LOT_CACHE, else $XDG_CACHE_HOME/lot, else ~/.cache/lot.
    For example: lot cache streams --delete
    """
    from lot.storage.cache import cache_folder

    folder = cache_folder()
    if delete and not names:
        raise BadInput("--delete needs the names of what is to go", fix=f"lot cache lists them; all of it is {folder}")
    found = _chosen(list(entries(folder)), names, folder)
    if delete:
        for entry in found:
            _remove(entry.path)
            echo(f"deleted {entry.name} ({_size(entry.bytes)})", err=True)
        return
    if as_json:
        told = [{"name": entry.name, "bytes": entry.bytes, "what": entry.what} for entry in found]
        echo(json.dumps({"folder": str(folder), "entries": told}, indent=2))
        return
    rows = [(entry.name, f"{_size(entry.bytes):>9}", entry.what) for entry in found]
    for line in columns(rows, (NAME, PLAIN, DIM), indent=0):
        echo(line.rstrip())
    echo(f"{folder}: {_size(sum(entry.bytes for entry in found))}", err=True)


def entries(folder: Path) -> Iterator[Entry]:
    """What lies in each folder of the cache, by name."""
    for kind in _listed(folder):
        for path in _listed(kind) if kind.is_dir() else ():
            if path.suffix != ".lock":
                yield Entry(name=f"{kind.name}/{path.name}", path=path, bytes=_bytes(path), what=_what(path))


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(f"{folder} cannot be read ({error.strerror or error})") from error


def _chosen(found: list[Entry], names: tuple[str, ...], folder: Path) -> list[Entry]:
    """Those that any of the names means. Raises BadInput for a name that means none."""
    if not names:
        return found
    chosen: dict[str, Entry] = {}
    for name in names:
        meant = [entry for entry in found if name.rstrip("/") in (entry.name, entry.name.partition("/")[0])]
        if not meant:
            raise BadInput(f"{folder} holds no {name}", fix="lot cache lists what it holds")
        chosen.update((entry.name, entry) for entry in meant)
    return list(chosen.values())


def _bytes(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; another process may delete some meanwhile."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size if os.path.lexists(path) else 0
    return sum(_bytes(entry) for entry in _listed(path))


def _what(path: Path) -> str:
    """What an entry says of itself: the title in its index.json; that it is not finished."""
    if path.suffix == ".part":
        return "begun; the next run goes on with it"
    note = path / "index.json"
    try:
        if note.is_file() and note.stat().st_size <= _LARGEST_NOTE:
            facts: Any = json.loads(note.read_bytes())
            size = f": {facts['documents']:,} documents, {facts['tokens']:,} tokens" if "documents" in facts else ""
            return f"{facts['title']}{size}"
    except (OSError, ValueError, KeyError, TypeError):
        return "damaged; it is made again when it is needed"
    return ""


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(f"{path} cannot be deleted ({error.strerror or error})") from error


def _size(count: int) -> str:
    """A number of bytes as people read it."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if amount >= 1000:
            amount, unit = amount / 1000, larger
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
