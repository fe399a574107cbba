"""The files that a text task names, found before anything is read. Imports no torch: `lot run` asks before it does."""

from __future__ import annotations

from pathlib import Path

from lot import BadInput
from lot_tasks.config import TextConfig, TextLMConfig
from lot_tasks.text.formats import HEAD, refuse_other_formats

TOKENIZERS = ("char", "byte", "word")
"""Tokenizers that are named; any other is a file."""
NAMED = "char, byte and word need no file"


def check_files(config: TextConfig) -> None:
    """Raises BadInput where a text or tokenizer file that `config` names cannot be read, or the text is in another format."""
    if config.path is not None:
        path = readable(config.path, "path")
        if config.format == "text":
            with path.open("rb") as file:
                refuse_other_formats(file.read(HEAD), path)
    if isinstance(config, TextLMConfig) and config.tokenizer not in TOKENIZERS:
        readable(config.tokenizer, "tokenizer", fix=NAMED)


def readable(given: str, where: str, *, fix: str = "") -> Path:
    """The file that the user means. Raises BadInput, with `fix`, where it is none, or cannot be read."""
    try:
        path = Path(given).expanduser()
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe or a device may have no end
            raise BadInput(where=where, expected="a file", got=f"{path}, which is a pipe or a device")
        with path.open("rb"):
            return path
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror or error})", where=where, fix=fix) from error
    except (ValueError, RuntimeError) as error:  # a NUL in the name; a home directory that is not known
        raise BadInput(f"{given!r} is no path ({error})", where=where) from error
