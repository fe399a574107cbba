"""Documents of a file, read in bounded memory from any place at which one ends."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from lot import BadInput
from lot_tasks.stream.files import File

LONGEST_PIECE = 1 << 20
"""Bytes (of a table: characters) of a document that are handed on at once; a longer one comes in pieces."""
LONGEST_LINE = 1 << 26
"""Bytes of a line of JSON: it has to be read as a whole."""
_BLOCK = 1 << 20
_ROWS = 256
_BOM = b"\xef\xbb\xbf"
_DAMAGED = "download it again, or take it out"


class Piece(NamedTuple):
    """A document, or a part of one: ends: whether the document ends with it. place: from where reading goes on then."""

    text: str
    ends: bool
    place: int


def read_file(file: File, *, field: str, separator: str, start: int = 0) -> Iterator[Piece]:
    """The documents of a file from place `start` on: a byte of its (unpacked) content, or a row of a table.

    Raises BadInput, which names file and line, for what is damaged or no text.
    """
    if file.format == "parquet":
        yield from _table(file.path, field, start)
        return
    try:
        with _opened(file) as opened:
            opened.seek(start)
            if file.format == "jsonl":
                yield from _lines(file, opened, field, start)
            else:
                yield from _text(file, opened, separator.encode(), start)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInput(f"{file.path} is cut off or damaged ({error})", fix=_DAMAGED) from error
    except OSError as error:
        raise BadInput(f"{file.path} cannot be read ({error.strerror or error})") from error


def _opened(file: File) -> IO[bytes]:
    return io.BufferedReader(gzip.open(file.path, "rb"), _BLOCK) if file.gzip else file.path.open("rb")  # type: ignore[arg-type]


def in_pieces(text: str, place: int) -> Iterator[Piece]:
    """A document as pieces."""
    while len(text) > LONGEST_PIECE:
        cut = max(text.rfind(" ", 1, LONGEST_PIECE), text.rfind("\n", 1, LONGEST_PIECE))
        cut = cut if cut > 0 else LONGEST_PIECE
        yield Piece(text[:cut], False, place)
        text = text[cut:]
    yield Piece(text, True, place)


def _text(file: File, opened: IO[bytes], separator: bytes, start: int) -> Iterator[Piece]:
    """Plain text. A document that is too long is cut before white space, or else between two characters."""
    rest, at, begun = b"", start, False  # `rest` begins at byte `at`; `begun`: inside a document
    while block := opened.read(_BLOCK):
        rest += block
        if at == 0 and rest.startswith(_BOM):
            rest, at = rest[len(_BOM) :], len(_BOM)
        if separator:
            *whole, rest = rest.split(separator)
            for data in whole:
                text = _decoded(data, file, at)
                at += len(data) + len(separator)
                yield Piece(_stripped(text, not begun, True), True, at)
                begun = False
        while len(rest) > LONGEST_PIECE + len(separator):
            cut = _cut(rest)
            yield Piece(_stripped(_decoded(rest[:cut], file, at), not begun, False), False, at)
            rest, at, begun = rest[cut:], at + cut, True
    if rest or begun:
        yield Piece(_stripped(_decoded(rest, file, at), not begun, True), True, at + len(rest))


def _stripped(text: str, first: bool, last: bool) -> str:
    """Without empty lines before and after the document."""
    text = text.lstrip("\r\n") if first else text
    return text.rstrip("\r\n") if last else text


def _cut(data: bytes) -> int:
    cut = max(data.rfind(b" ", 1, LONGEST_PIECE), data.rfind(b"\n", 1, LONGEST_PIECE))
    if cut < 0:
        cut = LONGEST_PIECE
        while cut > LONGEST_PIECE - 3 and data[cut] & 0xC0 == 0x80:  # inside a character of UTF-8
            cut -= 1
    return cut


def _decoded(data: bytes, file: File, at: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{file.path}: byte {at + error.start} is not UTF-8 text ({error.reason})", fix="store it as UTF-8"
        ) from error


def _lines(file: File, opened: IO[bytes], field: str, start: int) -> Iterator[Piece]:
    """JSON Lines: the field of each."""
    at = start

    def refuse(what: str, fix: str = "") -> BadInput:
        return BadInput(f"{file.path}: line {1 + _newlines(file, at)} {what}", fix=fix)

    while line := opened.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise refuse(f"is longer than {LONGEST_LINE >> 20} MiB", "cut the document, or take it out")
        data = line.removeprefix(_BOM) if at == 0 else line
        if not data.isspace():
            text = _field_of(data, field, refuse)
            yield from in_pieces(text, at + len(line))
        at += len(line)


def _field_of(line: bytes, field: str, refuse: Callable[..., BadInput]) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        said = f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else error
        cut = "" if line.endswith(b"\n") else "; the file may be cut off"
        raise refuse(f"is not JSON ({said}){cut}", _DAMAGED) from error
    if not isinstance(record, dict):
        raise refuse(f"is JSON, but no object with a field {field!r}")
    if field not in record:
        raise refuse(
            f"has no field {field!r}, but {_names(record)}", "name the field that holds the text with task.field"
        )
    text = record[field]
    if text is None:
        return ""
    if not isinstance(text, str):
        raise refuse(f"has no text in field {field!r}, but {type(text).__name__}", "name another with task.field")
    return without_surrogates(text)


def without_surrogates(text: str) -> str:
    """The text with halves of surrogate pairs joined, and U+FFFD in place of those that are alone."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _names(record: dict[str, Any]) -> str:
    names = [repr(name) for name in list(record)[:8]]
    return ", ".join(names) + (" and more" if len(record) > 8 else "") if names else "none at all"


def _newlines(file: File, end: int) -> int:
    """Lines of the (unpacked) content before byte `end`."""
    count = 0
    with _opened(file) as opened:
        while end > 0 and (block := opened.read(min(end, _BLOCK))):
            count += block.count(b"\n")
            end -= len(block)
    return count


def _table(path: Path, column: str, start: int) -> Iterator[Piece]:
    """A Parquet file: a column, some rows at a time."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, buffer_size=_BLOCK, pre_buffer=False) as table:
            if column not in table.schema_arrow.names:
                names = _names(dict.fromkeys(table.schema_arrow.names))
                raise BadInput(f"{path} has no column {column!r}, but {names}", fix="name one with task.field")
            kind = table.schema_arrow.field(column).type
            kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
            if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
                raise BadInput(f"{path}: column {column!r} holds {kind}, not text", fix="name another with task.field")
            row, groups = _skipped(table.metadata, start)
            for batch in table.iter_batches(_ROWS, row_groups=groups, columns=[column]):
                for text in batch.column(0).to_pylist():
                    row += 1
                    if row > start:
                        yield from in_pieces(text or "", row)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is cut off or damaged ({error})", fix=_DAMAGED) from error


def _skipped(metadata: Any, start: int) -> tuple[int, list[int]]:
    """The first row of the row group that holds row `start`, and this group with all that follow."""
    row = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if row + rows > start:
            return row, list(range(group, metadata.num_row_groups))
        row += rows
    return row, []
