"""study.json: how a result is kept in the folder of its study, and what is said of a file that is
damaged."""

from __future__ import annotations

from pathlib import Path

from lot.errors import BadInput
from lot.storage.files import read_json, write_json
from lot_cli.study.result import OtherFormat, Result

FILE = "study.json"
"""The result in the folder of a study."""


def save_result(result: Result, path: Path) -> None:
    """Replace the file `path` by the result, atomically."""
    write_json(path, result.to_dict())


def load_result(path: Path) -> Result | None:
    """The result in the file `path`, or None where there is none.

    Raises OtherFormat for a result of another version, BadInput with the file and the key for a
    damaged one.
    """
    again = "remove it and run the study again; its runs are kept"
    try:
        data = read_json(path)
    except ValueError as error:
        raise BadInput(f"{path}: damaged, {error}", fix=again) from None
    if data is None:
        return None
    try:
        return Result.from_dict(data)
    except OtherFormat:
        raise OtherFormat(f"{path}: its result is of another version of LOT", fix=again) from None
    except BadInput as error:
        raise BadInput(f"{path}: damaged, {str(error).splitlines()[0]}", fix=again) from None
