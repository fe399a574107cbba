"""YAML 1.2 in and out: bounded in size and expansion, no objects, errors with line and column."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lot.errors import BadInput, first_line, not_a_file

MAX_BYTES = 256 * 1024
WIDTH = 110
"""Characters of a line that is written; a longer table is written as a block."""
ENDLESS = ("a pipe", "a socket")
"""What may never give a byte; of a device no more is read than of a file."""
MOST_DEEP = 100
"""Levels of tables and lists in each other."""
MAX_VALUES = 20_000
"""Values a document may hold once its aliases are expanded; an alias bomb has billions."""


def read_yaml(path: Path) -> Any:
    """The document in the file `path`. Raises BadInput when it is missing, unreadable, too large or not YAML.

    A section may stand there without a value, as its options do when all are commented out. Below a section, a key without
    a value is refused: it is more likely forgotten than meant as null.
    """
    try:
        if (what := not_a_file(path)) in ENDLESS and not _is_handed_over(path):
            raise BadInput(f"{path}: expected a file, got {what}", fix="check the path")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{path}: cannot be read ({reason})", fix="check the path") from None
    if len(raw) > MAX_BYTES:
        raise BadInput(where=str(path), expected=f"at most {MAX_BYTES // 1024} KiB of YAML", got="more")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadInput(where=str(path), expected="UTF-8 text", got=f"bad byte at offset {error.start}") from None
    return _load(text, str(path), empty_sections=True)


def _is_handed_over(path: Path) -> bool:
    """Whether a pipe is one that the shell gave this process: `<(command)`, or its standard input."""
    return str(path).startswith(("/dev/fd/", "/dev/stdin", "/proc/self/fd/"))


def parse_yaml(text: str, where: str) -> Any:
    """The value that `text` stands for; `where` is named in errors.

    Raises BadInput for an empty text, which a shell makes of a variable that is not set: it is not taken for null.
    """
    value = _load(text, where, empty_sections=False)
    if value is None and not text.strip().lower().startswith(("null", "~")):
        comment = "; what follows # is a comment, unless it is quoted" if "#" in text else ""
        raise BadInput(f"empty value; write null for none{comment}", where=where)
    return value


def _load(text: str, where: str, *, empty_sections: bool) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import SafeConstructor
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.nodes import MappingNode

    class Constructor(SafeConstructor):
        """Refuses a key that has no value."""

        def construct_mapping(self, node: MappingNode, deep: bool = False) -> Any:
            for key, value in node.value:
                outermost = node.start_mark.column == 0
                if value.tag == "tag:yaml.org,2002:null" and value.value == "" and not (outermost and empty_sections):
                    raise BadInput(
                        f"{where}, line {key.start_mark.line + 1}: {key.value} has no value",
                        fix="write null for none, or {} for an empty table",
                    )
            return super().construct_mapping(node, deep)

    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.Constructor = Constructor
        if len(text) > MOST_DEEP and _depth(yaml.parse(text)) > MOST_DEEP:
            raise BadInput(f"{where}: not usable: nested too deeply (more than {MOST_DEEP} levels)")
        value = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = first_line(error.problem or error.context)
        # A duplicate key is followed by both values, of which a table that is still being read shows as {}.
        problem = problem.partition(" with value ")[0] if problem.startswith("found duplicate key") else problem
        raise BadInput(f"{where}{at}: not YAML: {problem}") from None
    except YAMLError as error:
        raise BadInput(f"{where}: not YAML: {first_line(str(error))}") from None
    except RecursionError:
        raise BadInput(f"{where}: not usable: nested too deeply") from None
    except ValueError as error:
        raise BadInput(f"{where}: not YAML: {first_line(str(error))}") from None
    if _expanded_size(value, {}, where) > MAX_VALUES:
        raise BadInput(where=where, expected=f"at most {MAX_VALUES} values", got="more once its aliases are expanded")
    return value


def _depth(events: Iterable[Any]) -> int:
    """How deep tables and lists are nested, counted no further than is allowed: a parser takes minutes for the depths."""
    depth = deepest = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        deepest = max(deepest, depth)
        if deepest > MOST_DEEP + 2:  # a stream and a document hold the rest
            break
    return deepest - 2


def dump_yaml(value: dict[Any, Any]) -> str:
    """`value` (dicts, lists, scalars) as YAML 1.2: every table that fits on one line, the others in blocks."""
    return "\n".join(_lines(value, ""))


def _lines(table: dict[Any, Any], indent: str) -> Iterator[str]:
    from ruamel.yaml import YAML

    for key, value in table.items():
        yaml = YAML(typ="safe", pure=True)
        yaml.width = 1 << 20
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        # None puts tables and lists of scalars on one line; a pair of key and scalar is not to become such a table.
        yaml.default_flow_style = None if isinstance(value, (dict, list)) else False
        stream = io.StringIO()
        yaml.dump({key: value}, stream)
        (line, *more) = stream.getvalue().splitlines()
        if isinstance(value, dict) and value and (more or len(indent) + len(line) > WIDTH):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        else:
            yield from (indent + text for text in (line, *more))
    if not indent:
        yield ""


def _expanded_size(value: Any, seen: dict[int, int | None], where: str) -> int:
    """Number of values with aliases counted as often as they are used; linear in the size of the document."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) in seen:
        known = seen[id(value)]
        if known is None:
            raise BadInput(f"{where}: an alias contains itself")
        return known
    seen[id(value)] = None
    children = value.values() if isinstance(value, dict) else value
    size = 1 + sum(_expanded_size(child, seen, where) for child in children)
    seen[id(value)] = size
    return size
