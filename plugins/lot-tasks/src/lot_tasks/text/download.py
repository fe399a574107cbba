"""Files from the network: verified, resumed where an earlier attempt stopped, and never half there."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

import filelock

from lot import BadInput

_CHUNK = 1 << 18  # bytes read at once
_PATIENCE = 20.0  # seconds without a byte before an address is given up


def fetch(urls: Sequence[str], target: Path, *, sha256: str, name: str, fix: str) -> Path:
    """`target`, downloaded from the first of `urls` that gives the file with the checksum `sha256`.

    A file already there is verified, and replaced when it is damaged; a folder that holds it need not be writable. An
    interrupted download leaves `target`.part, from which the next one goes on. Progress goes to stderr. Raises BadInput
    (with `fix`) when no address serves.
    """
    try:
        if _is(target, sha256):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{target}.lock"):
            if not _is(target, sha256):  # another process may have brought it
                _download(urls, target, sha256, name, fix)
    except OSError as error:
        raise BadInput(
            f"{name}: the cache {target.parent} cannot be used ({error.strerror or error})",
            fix="set LOT_CACHE to a folder that can be written and has room",
        ) from error
    return target


def file_sha256(path: Path) -> str:
    """The checksum of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is(path: Path, sha256: str) -> bool:
    return path.exists() and file_sha256(path) == sha256


def _download(urls: Sequence[str], target: Path, sha256: str, name: str, fix: str) -> None:
    part = target.with_name(f"{target.name}.part")
    reasons = []
    for url in urls:
        host = urllib.parse.urlsplit(url).netloc
        resumes = True
        while resumes:  # a file of another beginning is fetched once more, from the start
            resumes = part.exists()
            try:
                _transfer(url, part, name)
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                reasons.append(f"{host}: {getattr(error, 'reason', None) or error or type(error).__name__}")
                break
            if file_sha256(part) == sha256:
                os.replace(part, target)
                return
            part.unlink()
        else:
            reasons.append(f"{host}: another file than expected (checksum)")
    raise BadInput(f"{name} is not in the cache and could not be downloaded ({'; '.join(reasons)})", fix=fix)


def _transfer(url: str, part: Path, name: str) -> None:
    """All bytes of `url` in `part`, from where it stands if the server can do that."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "lot-tasks", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        if have and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is left to ask for; the checksum tells whether this is the file
        raise
    with response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        have = have if resumed else 0
        left = response.headers.get("Content-Length")
        total = have + int(left) if left else None
        with part.open("ab" if resumed else "wb") as file, _Progress(f"{name} from {url}", total) as progress:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                progress.show(have)
    if total is not None and have < total:
        raise ConnectionError(f"the connection closed after {have} of {total} bytes")


class _Progress:
    """Progress on stderr: a line that is rewritten on a terminal, one line otherwise."""

    def __init__(self, text: str, total: int | None) -> None:
        self.text, self.total, self.shown = text, total, -1
        self.live = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        if not self.live:
            size = "" if self.total is None else f" ({self.total / 1e6:.1f} MB)"
            print(f"downloading {self.text}{size}", file=sys.stderr)
        return self

    def show(self, have: int) -> None:
        megabytes = have // 1_000_000
        if self.live and megabytes != self.shown:
            self.shown = megabytes
            of = "" if self.total is None else f" of {self.total / 1e6:.1f}"
            print(f"\rdownloading {self.text}: {have / 1e6:.1f}{of} MB", end="", file=sys.stderr, flush=True)

    def __exit__(self, *_error: object) -> None:
        if self.live:
            print(file=sys.stderr)
