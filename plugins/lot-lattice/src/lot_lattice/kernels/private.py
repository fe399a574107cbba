"""Which libraries of the cache may be loaded: those that nobody else can have put there, and that are whole.

Loading a library runs it. One is loaded only from a folder that only this user (and the superuser) can write, along all
of its path, and only with the checksum that was written beside it when it was built.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from lot_lattice.kernels.toolchain import BuildError


def make_private(folder: Path) -> Path:
    """`folder` with its links resolved; what is missing of it is made for this user alone.

    Raises OSError, and BuildError where others could put files there.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
    folder = folder.resolve()
    if problem := problem_of(folder):
        raise BuildError(problem)
    return folder


def problem_of(folder: Path) -> str | None:
    """Who else could put files into `folder` (links resolved) or put another in its place, in one line; None: nobody."""
    if os.name != "posix":
        return None
    top = folder.parents[-1] if folder.parents else folder
    trusted = {os.geteuid(), 0, top.stat().st_uid}  # who owns the root of the file system could do anything anyway
    for path in (folder, *folder.parents):
        facts = path.lstat()
        if facts.st_uid not in trusted:
            return _refusal(path, f"belongs to user {_name(facts.st_uid)}")
        # In a folder with the sticky bit (/tmp), nobody can rename or remove what belongs to another.
        if _is_shared(facts) and not (facts.st_mode & stat.S_ISVTX and path != folder):
            return _refusal(path, "can be written by other users", f"chmod go-w {path}, or ")
    return None


def write_digest(library: Path) -> None:
    """Write the checksum of `library` beside it. Raises OSError."""
    _digest_file(library).write_text(f"{_digest(library)}\n")


def is_whole(library: Path) -> bool:
    """Whether `library` is there and has the checksum that stands beside it."""
    try:
        return _digest_file(library).read_text().strip() == _digest(library)
    except (OSError, ValueError):
        return False


def _digest_file(library: Path) -> Path:
    return library.with_name(f"{library.name}.sha256")


def _digest(library: Path) -> str:
    with library.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_shared(facts: os.stat_result) -> bool:
    """Whether others than the owner may write; a group that is the owner's alone (umask 002) is no other."""
    if facts.st_mode & stat.S_IWOTH:
        return True
    return bool(facts.st_mode & stat.S_IWGRP) and not _is_alone(facts.st_uid, facts.st_gid)


def _is_alone(uid: int, gid: int) -> bool:
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return (group.gr_gid, group.gr_name) == (user.pw_gid, user.pw_name) and set(group.gr_mem) <= {user.pw_name}


def _refusal(path: Path, why: str, first: str = "") -> str:
    return f"nothing is loaded from {path}, which {why}; {first}set LOT_CACHE to a folder of your own"


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
