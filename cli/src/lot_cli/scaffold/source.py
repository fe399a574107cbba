"""Insertions into Python source that a user wrote: the rest of the text stays as it is, to the byte.

The source is parsed to find the place, never printed again: comments and formatting survive. What cannot be extended
safely is refused with one line that says why.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import lot
from lot.errors import BadInput


def with_registration(text: str, hook: str, name: str, entry: str, place: Path) -> str:
    """The plugin module `text` with the component `name` registered by the function `hook`, which is added where it is missing.

    entry: the call `Component(...)` as source, without a comma. place: the file, for messages. Raises BadInput where the
    function is not a plain one that returns a list, or has the component already.
    """
    tree = _parse(text, place)
    components, markers = _spellings(tree, "lot", "Component"), _spellings(tree, "lot", "hookimpl")
    if not components or not markers:
        raise _refusal(place, "it does not import Component and hookimpl from lot")
    entry = entry.strip().replace("Component(", f"{components[0]}(", 1)
    if hook not in _bound_names(tree):
        body = textwrap.indent(entry, " " * 8)
        added = f"@{markers[0]}\ndef {hook}() -> list[{components[0]}]:\n    return [\n{body},\n    ]\n"
        return _appended(text, added)
    returned = _returned_list(tree, hook, markers, place)
    if name in _registered_names(returned):
        raise BadInput(f"{place}: {hook} registers {name!r} already", fix="choose another name")
    return _with_element(text, returned, entry)


def with_definition(text: str, name: str, definition: str, place: Path) -> str:
    """The module of options `text` with the class `name` at its end. Raises BadInput where something is called so already.

    definition: the class as source, which uses `attrs` and `option`. place: the file, for messages.
    """
    tree = _parse(text, place)
    if "attrs.frozen" not in _spellings(tree, "attrs", "frozen") or "option" not in _spellings(tree, "lot", "option"):
        raise _refusal(place, "it lacks `import attrs` or `from lot import option`")
    if name in _bound_names(tree):
        raise BadInput(f"{place} has a {name} already", fix="choose another name")
    used = {node.id for node in ast.walk(ast.parse(definition)) if isinstance(node, ast.Name)}
    missing = sorted((used & set(lot.__all__)) - _bound_names(tree))
    return _appended(_with_imports(text, tree, missing), definition)


def _with_imports(text: str, tree: ast.Module, names: list[str]) -> str:
    """`text` with these names imported from lot too, on the line that imports `option` if that is one line."""
    if not names:
        return text
    found = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "lot" and not node.level]
    node = next(node for node in found if any(alias.name == "option" for alias in node.names))
    spelled = {alias.name + (f" as {alias.asname}" if alias.asname else "") for alias in node.names}
    line = f"from lot import {', '.join(sorted({*spelled, *names}, key=lambda each: (each[0].islower(), each)))}"
    start, end = _offset(text, node.lineno, node.col_offset), _end(text, node)
    if node.lineno != node.end_lineno:  # a list over several lines may hold comments
        return text[:end] + _newline(text) + f"from lot import {', '.join(names)}" + text[end:]
    return text[:start] + line + text[end:]


def _parse(text: str, place: Path) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise _refusal(place, f"it is not Python ({str(error).splitlines()[0]})") from None


def _refusal(place: Path, why: str) -> BadInput:
    return BadInput(f"{place} cannot be extended: {why}", fix="change that, or write the component by hand")


def _spellings(tree: ast.Module, module: str, attribute: str) -> list[str]:
    """How the source can write `module.attribute`, by what it imports: the bare name first."""
    bare, dotted = [], []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == module and node.level == 0:
            bare += [alias.asname or alias.name for alias in node.names if alias.name == attribute]
        elif isinstance(node, ast.Import):
            dotted += [f"{alias.asname or alias.name}.{attribute}" for alias in node.names if alias.name == module]
    return bare + dotted


def _bound_names(tree: ast.Module) -> set[str]:
    """Every name that the module gives a meaning, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.keyword) and node.arg == "specname" and isinstance(node.value, ast.Constant):
            names.add(str(node.value.value))  # `@hookimpl(specname=...)`: a hook under another name
    return names


def _returned_list(tree: ast.Module, hook: str, markers: list[str], place: Path) -> ast.List:
    """The list that the only function `hook` returns and does nothing else. Raises BadInput for any other."""
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == hook]
    if len(found) != 1:
        raise _refusal(place, f"{hook} is not one function at the top level")
    (function,) = found
    if not any(ast.unparse(decorator).partition("(")[0] in markers for decorator in function.decorator_list):
        raise _refusal(place, f"{hook} lacks @{markers[0]}")
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if len(body) == 1 and isinstance(body[0], ast.Return) and isinstance(body[0].value, ast.List):
        return body[0].value
    raise _refusal(place, f"{hook} does something else than return a list")


def _registered_names(returned: ast.List) -> set[str]:
    """The names of the components in a list, as far as they are written there."""
    keywords = [keyword for call in returned.elts if isinstance(call, ast.Call) for keyword in call.keywords]
    return {str(k.value.value) for k in keywords if k.arg == "name" and isinstance(k.value, ast.Constant)}


def _appended(text: str, definition: str) -> str:
    newline = _newline(text)
    return text.rstrip() + newline * 3 + definition.strip().replace("\n", newline) + newline


def _with_element(text: str, returned: ast.List, entry: str) -> str:
    """`text` with `entry` as the last element of a list; one that stands on one line is first spread, a line per element."""
    start, end = _offset(text, returned.lineno, returned.col_offset), _end(text, returned)
    line = text[:start].rpartition("\n")[2]
    outer = line[: len(line) - len(line.lstrip())]
    inner = outer + "    "
    added = textwrap.indent(entry, inner) + ","
    if returned.lineno == returned.end_lineno:
        elements = [text[_offset(text, e.lineno, e.col_offset) : _end(text, e)] for e in returned.elts]
        spread = "".join(f"{inner}{element},\n" for element in elements)
        whole = f"[\n{spread}{added}\n{outer}]"
        return text[:start] + whole.replace("\n", _newline(text)) + text[end:]
    last = _end(text, returned.elts[-1]) if returned.elts else start + 1
    rest = text[last : end - 1]  # a comma perhaps, comments, line breaks
    comma = "" if not returned.elts or "," in re.sub(r"#.*", "", rest) else ","
    before, line_break, indent = rest.rpartition("\n")
    if not line_break or indent.strip():  # the bracket stands behind the last element
        before, indent = rest.rstrip(), outer
    inserted = f"{comma}{before}".rstrip("\r") + ("\n" + added + "\n" + indent).replace("\n", _newline(text))
    return text[:last] + inserted + text[end - 1 :]


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _offset(text: str, line: int, column: int) -> int:
    """Where in `text` a place of its syntax tree is: lines count from 1, columns are bytes of UTF-8."""
    lines = text.split("\n")
    before = sum(len(each) + 1 for each in lines[: line - 1])
    return before + len(lines[line - 1].encode()[:column].decode())


def _end(text: str, node: ast.expr | ast.stmt) -> int:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return _offset(text, node.end_lineno, node.end_col_offset)
