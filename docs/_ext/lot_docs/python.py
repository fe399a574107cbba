"""The reference of Python: every public name of `lot` and of the modules beside it, for autodoc to document."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import lot
from lot_docs.docstrings import to_rst
from lot_docs.markdown import anchor, code, text

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

TOPICS = {
    "A run": ("lot.config", "lot.training", "lot.runs", "lot.inspection", "lot.model"),
    "What a plugin registers": ("lot.plugins", "lot.options"),
    "Contracts": ("lot.contracts",),
    "Parts that a plugin can use": ("lot.builtin",),
    "Errors": ("lot.errors",),
}
"""Heading on the page -> the modules of `lot` (and those below them) whose public names stand under it."""

MODULES = (
    "lot.nn",
    "lot.random",
    "lot.circular",
    "lot.figure",
    "lot.signals",
    "lot.metrics",
    "lot.testing",
    "lot_cli.study",
)
"""The public modules beside `lot` itself; one that does not exist, or names nothing, is left out."""


def names_of(module: ModuleType) -> list[str]:
    """The public names of a module: its `__all__`, or what it defines itself without an underscore."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    return [name for name, value in vars(module).items() if not name.startswith("_") and _own(name, value, module)]


def _own(name: str, value: Any, module: ModuleType) -> bool:
    if inspect.isclass(value) or inspect.isroutine(value):
        return bool(getattr(value, "__module__", None) == module.__name__)
    return name in _assignments(module)


def public_names() -> str:
    """The names of `lot` by topic."""
    rest = [name for name in sorted(lot.__all__, key=str.lower) if name != "__version__"]
    parts = []
    for topic, homes in TOPICS.items():
        found = [name for name in rest if _home(name).startswith(homes)]
        rest = [name for name in rest if name not in found]
        parts.append(f"## {topic}\n\n{_documented('lot', found)}")
    if rest:
        parts.append(f"## More\n\n{_documented('lot', rest)}")
    return "\n".join([*parts, "## `lot.__version__`\n\nThe version of the installed `lot-core`, as text.\n"])


def public_modules() -> str:
    """The names of each public module beside `lot`."""
    return "\n".join(_module(path) for path in MODULES if is_public(path))


def is_public(path: str) -> bool:
    """Whether there is a module `path` with a public name."""
    return importlib.util.find_spec(path) is not None and bool(names_of(importlib.import_module(path)))


def _module(path: str) -> str:
    module = importlib.import_module(path)
    about = (module.__doc__ or "").strip().split("\n\n")[0]
    heading = f"{anchor(path.replace('.', '-'))}\n## {code(path)}\n\n{text(about)}\n"
    return f"{heading}\n{_documented(path, names_of(module))}"


def _home(name: str) -> str:
    """The module in which a public name of `lot` is written."""
    value = getattr(lot, name)
    return str(value.__module__) if _is_code(value) else _home_of_data("lot", name)


def _is_code(value: Any) -> bool:
    """Whether `value` is a class or function of this repository, and no constant or alias of a type."""
    ours = str(getattr(value, "__module__", "")).startswith("lot")
    return ours and (inspect.isclass(value) or inspect.isroutine(inspect.unwrap(value)))


def _home_of_data(package: str, name: str) -> str:
    """The module at or below `package` that assigns `name`: constants and aliases of types do not say where they are from."""
    homes = [path for path in sorted(sys.modules) if path == package or path.startswith(f"{package}.")]
    value = getattr(sys.modules[package], name)
    return next(
        path
        for path in homes
        if getattr(sys.modules[path], name, None) is value and name in _assignments(sys.modules[path])
    )


def _documented(module: str, names: Iterable[str]) -> str:
    lines = [f".. py:currentmodule:: {module}", ""]
    for name in names:
        value = getattr(importlib.import_module(module), name)
        if not _is_code(value):
            lines += _data(module, name)
        elif inspect.isclass(value):
            directive = "autoexception" if issubclass(value, BaseException) else "autoclass"
            lines += [f".. {directive}:: {module}.{name}", ""]
        else:
            lines += [f".. autofunction:: {module}.{name}", ""]
    return "\n".join(["```{eval-rst}", *lines, "```", ""])


def _data(module: str, name: str) -> list[str]:
    """A constant or an alias of a type. autodoc finds its docstring only in the module where it is written."""
    value, about = _assignments(sys.modules[_home_of_data(module, name)])[name]
    value = value if len(value) <= 80 and "\n" not in value else ""
    head = [f".. py:data:: {module}.{name}", *([f"   :value: {value}"] if value else []), ""]
    return [*head, *(f"   {line}" for line in to_rst(about.splitlines(), frozenset())), ""]


def _assignments(module: ModuleType) -> dict[str, tuple[str, str]]:
    """Each name that a module assigns at its top -> the source of its value, and the docstring below it."""
    body = ast.parse(inspect.getsource(module)).body
    found = {}
    for index, statement in enumerate(body):
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        if not isinstance(target, ast.Name) or not isinstance(statement, (ast.Assign, ast.AnnAssign)):
            continue
        about = ""
        match body[index + 1 : index + 2]:
            case [ast.Expr(value=ast.Constant(value=str(docstring)))]:
                about = inspect.cleandoc(docstring)
        found[target.id] = (ast.unparse(statement.value) if statement.value else "", about)
    return found


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Element | None:
    """A link to the public name of something that an annotation names by the module where it is written."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or "." not in target or not target.startswith("lot."):
        return None
    name = target.rpartition(".")[2]
    python = env.domains["py"]
    for public in ("lot", *MODULES):
        if f"{public}.{name}" in python.objects:
            return python.resolve_xref(env, node["refdoc"], app.builder, "obj", f"{public}.{name}", node, content)
    return None
