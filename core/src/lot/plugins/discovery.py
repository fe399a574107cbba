"""Finding plugins: every entry point of the group `lot` is loaded by itself, and what fails is recorded, not raised.

pluggy's own loader stops at the first entry point that fails, lets a `SystemExit` at import end the process, and drops
one of two entry points of the same name without a word; hence this one. Imports no torch.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any

import attrs
import pluggy

from lot.errors import place_of
from lot.plugins import hookspecs
from lot.plugins.component import Component

GROUP = "lot"
CORE = "lot-core"
CLI = "lot-cli"


@attrs.frozen(kw_only=True)
class Plugin:
    """An entry point after loading: whose it is, the components that it registers, and what is wrong with it (or None).

    A plugin can have both: a hook that raises does not take the components of the other hooks with it.
    imports_torch: whether loading it imported torch, which makes every command slow and is against the rules.
    """

    distribution: str
    version: str
    entry_point: str
    module: str
    components: tuple[Component, ...] = ()
    failure: str | None = None
    imports_torch: bool = False


def without_entry_point(path: Sequence[str] | None = None) -> list[str]:
    """Distributions on `path` that need the core and register nothing with it, sorted: perhaps plugins that forgot to."""
    found = set()
    for distribution in _search(None, path):
        with contextlib.suppress(Exception):
            needs = [re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0] for text in distribution.requires or []]
            registers = f"[{GROUP}]" in (distribution.read_text("entry_points.txt") or "")
            if CORE in map(normalize, needs) and not registers:
                found.add(distribution.metadata["Name"])
    return sorted(found - {CLI})


def normalize(distribution: str) -> str:
    """The name of a distribution as PEP 503 compares it: `Lot_Lattice` is `lot-lattice`."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def discover(path: Sequence[str] | None = None) -> tuple[Plugin, ...]:
    """All plugins on `path` (default `sys.path`), loaded, in order of distribution and entry point.

    What a plugin raises is recorded, not raised.
    """
    core = _find(CORE, path)
    version = None if core is None else core.version  # None: the core runs from a bare source tree
    loaded = (plugin for found in _distributions(path) for plugin in _load_distribution(found, version))
    return (*loaded, *_unreadable(path))


def _search(name: str | None, path: Sequence[str] | None) -> Iterator[metadata.Distribution]:
    """The distributions of this name, or all, in the order of the path."""
    return iter(metadata.distributions(name=name, path=sys.path if path is None else list(path)))


def _find(name: str, path: Sequence[str] | None) -> metadata.Distribution | None:
    """The distribution of this name; of several, as for imports, the first on the path."""
    return next(_search(name, path), None)


def _distributions(path: Sequence[str] | None) -> Iterator[metadata.Distribution]:
    """The distributions that name an entry point of our group, sorted by name."""
    names: set[str] = set()
    for distribution in filter(_registers, _search(None, path)):
        with contextlib.suppress(Exception):  # `_unreadable` reports it
            names.add(normalize(distribution.metadata["Name"]))
    for name in sorted(names):
        found = _find(name, path)
        if found is not None:
            yield found


def _registers(distribution: metadata.Distribution) -> bool:
    """Whether it names an entry point of our group. What cannot be read (a half-removed package) names none."""
    with contextlib.suppress(Exception):
        return f"[{GROUP}]" in (distribution.read_text("entry_points.txt") or "")
    return False


def _unreadable(path: Sequence[str] | None) -> Iterator[Plugin]:
    """The distributions that name an entry point of our group, and whose metadata are no UTF-8."""
    for distribution in filter(_registers, _search(None, path)):
        try:
            distribution.read_text("METADATA")
        except UnicodeDecodeError as error:
            folder = getattr(distribution, "_path", None)  # the public interface has it nowhere
            name = "a package without a name" if folder is None else folder.name.partition("-")[0]
            failure = f"its METADATA cannot be read ({reason(error)})"
            yield Plugin(distribution=name, version="unknown", entry_point="", module="", failure=failure)


def _load_distribution(distribution: metadata.Distribution, core: str | None) -> Iterator[Plugin]:
    described = distribution.metadata  # parsed anew at every access
    name, version = described["Name"], (described.get_all("Version") or ["unknown"])[0]
    try:
        entries = sorted(
            (entry for entry in distribution.entry_points if entry.group == GROUP),
            key=lambda entry: (entry.name, entry.value),
        )
    except Exception as error:
        failure = f"its entry_points.txt cannot be read ({reason(error)})"
        yield Plugin(distribution=name, version=version, entry_point="", module="", failure=failure)
        return
    unmet = _unmet_core(described.get_all("Requires-Dist") or [], core)
    loaded: dict[str, str] = {}
    names: set[tuple[str, str]] = set()
    for entry in entries:
        had_torch = "torch" in sys.modules
        components: list[Component] = []
        problems: list[str] = []
        if unmet is not None:
            problems.append(unmet)
        elif entry.value in loaded:
            problems.append(f"repeats the entry point {loaded[entry.value]!r}: both name {entry.value}")
        else:
            loaded[entry.value] = entry.name
            problems.extend(_load(entry, name, components))
            for item in components:
                if (item.kind, item.name) in names:
                    problems.append(f"registers the {item.kind} {item.name!r} twice")
                names.add((item.kind, item.name))
        yield Plugin(
            distribution=name,
            version=version,
            entry_point=entry.name,
            module=entry.value,
            components=tuple(components),
            failure="; ".join(problems) or None,
            imports_torch=not had_torch and "torch" in sys.modules,
        )


def _load(entry: metadata.EntryPoint, distribution: str, components: list[Component]) -> Iterator[str]:
    """Load one entry point, put what it registers into `components`, and yield what is wrong with it."""
    manager = pluggy.PluginManager(GROUP)  # one a plugin: neither a bad hook nor a check reaches another
    manager.add_hookspecs(hookspecs)
    try:
        with _quiet_stdout():
            plugin = entry.load()
            manager.register(plugin)
    except (Exception, SystemExit) as error:
        yield f"did not load: {reason(error)}{_at(error, entry)}"
        return
    callers = manager.get_hookcallers(plugin) or []
    implemented = {caller.name for caller in callers}
    yield from _misnamed(manager, plugin, implemented)
    for kind, hook in hookspecs.HOOKS.items():
        if hook not in implemented:
            continue
        try:
            with _quiet_stdout():
                found = _components(hook, getattr(manager.hook, hook)())
                components.extend(attrs.evolve(item, kind=kind, distribution=distribution) for item in found)
        except _WrongReturn as error:
            yield str(error)
        except (Exception, SystemExit) as error:
            yield f"{hook} raised {reason(error)}{_at(error, entry)}"


def _at(error: BaseException, entry: metadata.EntryPoint) -> str:
    """`, at FILE:LINE` of the plugin that raised an error, or nothing."""
    place = place_of(error, {entry.value.partition(":")[0].partition(".")[0]})
    return f", at {place}" if place else ""


class _WrongReturn(Exception):
    """A hook returned something else than components."""


def _components(hook: str, results: list[Any]) -> list[Component]:
    """The components that the implementations of one hook returned."""
    if not results:  # pluggy leaves None out
        raise _WrongReturn(f"{hook} returned None, expected a list of components")
    found = []
    for result in results:
        if not isinstance(result, Iterable):
            raise _WrongReturn(f"{hook} returned a {type(result).__name__}, expected a list of components")
        for item in result:
            if not isinstance(item, Component):
                raise _WrongReturn(f"{hook} returned a {type(item).__name__} among its components")
            found.append(item)
    return found


def _misnamed(manager: pluggy.PluginManager, plugin: Any, implemented: set[str]) -> Iterator[str]:
    """Hooks that would be ignored without a word: misspelled, or not marked."""
    known = list(hookspecs.HOOKS.values())
    try:
        manager.check_pending()
    except pluggy.PluginValidationError:
        import difflib

        for name in sorted(implemented.difference(known)):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            yield f"unknown hook {name!r}; {hint}"
    unmarked = [hook for hook in known if hook not in implemented and callable(getattr(plugin, hook, None))]
    yield from (f"{hook} lacks @hookimpl" for hook in unmarked)
    if not implemented and not unmarked:
        yield "registers nothing: it has no @hookimpl function"


def _unmet_core(requirements: Sequence[str], core: str | None) -> str | None:
    """Why the installed core is not one that these requirements allow, or None."""
    required = [text for text in requirements if normalize(text).startswith(CORE)]
    if core is None or all(_satisfied(text, core) for text in required):
        return None
    from packaging.requirements import InvalidRequirement, Requirement

    for text in required:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            return f"its requirement {text!r} cannot be read"
        if normalize(requirement.name) != CORE:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if not requirement.specifier.contains(core, prereleases=True):
            wanted = f"{CORE}{requirement.specifier}"
            return f"needs {wanted}, but {core} is installed: pip install '{wanted}'"
    return None


def _satisfied(requirement: str, core: str) -> bool:
    """Whether `requirement` is a plain `lot-core` or `lot-core>=VERSION` that holds: nearly all are.

    Only a shortcut: importing the whole of `packaging.requirements` takes longer than finding all plugins.
    """
    if requirement == CORE:
        return True
    name, _, bound = requirement.partition(">=")
    if name != CORE or not all(re.fullmatch(r"\d+(\.\d+)*", version) for version in (core, bound)):
        return False
    have, wanted = ([int(part) for part in version.split(".")] for version in (core, bound))
    return have + [0] * (len(wanted) - len(have)) >= wanted


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[None]:
    """What a plugin prints goes to stderr: stdout may carry JSON for another program."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def reason(error: BaseException) -> str:
    """An exception as one short line: `ModuleNotFoundError: No module named 'scipy'`."""
    lines = [line for part in str(error).splitlines() if (line := part.strip())]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
