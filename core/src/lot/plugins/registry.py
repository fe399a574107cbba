"""Which components there are: by kind and name, from every installed plugin. Imports no torch.

Nothing is discovered when this module is imported, only when something is asked for. A broken plugin is known by its
failure and hides nothing else.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence

from lot.errors import BadInput, PluginError
from lot.plugins.catalogue import current_name, first_party, home_of
from lot.plugins.component import KINDS, Component
from lot.plugins.discovery import CORE, Plugin, discover, normalize, without_entry_point


@functools.cache
def registry() -> Registry:
    """The registry of this process. Plugins are found and loaded on its first use, once."""
    return Registry()


class Registry:
    """All components that are installed.

    A component is asked for by its bare name, or as `distribution:name` where two plugins use one name. The core's own
    names cannot be taken over: bare, they always mean the core's.
    """

    def __init__(self, path: Sequence[str] | None = None) -> None:
        """path: folders to look for distributions in; default `sys.path`."""
        self._path = path
        self._lock = threading.RLock()
        self._loading = False
        self._plugins: tuple[Plugin, ...] | None = None

    def plugins(self) -> tuple[Plugin, ...]:
        """Every plugin that is installed, sorted, with its components and what is wrong with it."""
        with self._lock:
            if self._plugins is None:
                if self._loading:  # the lock lets its own thread in: this is a plugin that asks while it is loaded
                    raise PluginError("a plugin asked for the registry while it was being imported")
                self._loading = True
                try:
                    self._plugins = discover(self._path)
                finally:
                    self._loading = False
            return self._plugins

    def components(self, kind: str) -> list[Component]:
        """Every component of a kind, sorted by name and distribution. Raises BadInput for an unknown kind."""
        if kind not in KINDS:
            raise BadInput(f"unknown kind {kind!r}", fix=f"known: {', '.join(KINDS)}")
        found = [item for plugin in self.plugins() for item in plugin.components if item.kind == kind]
        return sorted(found, key=lambda item: (item.name, normalize(item.distribution)))

    def names(self, kind: str) -> list[str]:
        """The names by which `get` finds the components of a kind, sorted (see `name_of`)."""
        found = self.components(kind)
        return sorted({self.name_of(item) for item in found})

    def name_of(self, component: Component) -> str:
        """What to type for a component: its bare name, or `distribution:name` where others have that name too."""
        same = [item for item in self.components(component.kind) if item.name == component.name]
        if len(same) == 1 or _builtin(component):
            return component.name
        return f"{component.distribution}:{component.name}"

    def get(self, kind: str, name: str) -> Component:
        """The component of this kind and name (`lattice` or `lot-lattice:lattice`).

        Raises BadInput for an unknown name (with close matches, what is installed and what could be), and
        PluginError for one that two plugins have or whose plugin is broken.
        """
        name = current_name(name)
        found = self._matches(self.components(kind), name)
        if len(found) == 1:
            return found[0]
        if not found:
            raise self._missing((kind,), name)
        owners = sorted({item.distribution for item in found})
        if len(owners) == 1:
            raise PluginError(f"{owners[0]} registers {_a(kind)} {found[0].name!r} twice; its author must rename one")
        choices = " and ".join(f"{owner}:{found[0].name}" for owner in owners)
        raise PluginError(f"{kind} {name!r} is ambiguous", fix=f"choose between {choices}")

    def find(self, name: str) -> list[Component]:
        """Every component of this name, in the order of kinds. Raises BadInput for an unknown name."""
        found = [item for kind in KINDS for item in self.components(kind) if _named(item, name)]
        if not found:
            raise self._missing(KINDS, name)
        return found

    @staticmethod
    def _matches(components: Sequence[Component], name: str) -> list[Component]:
        found = [item for item in components if _named(item, name)]
        builtin = [item for item in found if _builtin(item)]
        return builtin if builtin and ":" not in name else found

    def _missing(self, kinds: Sequence[str], name: str) -> BadInput:
        """The error for an unknown name: the likeliest reason, and what to do."""
        what = f"unknown {kinds[0] if len(kinds) == 1 else 'component'} {name!r}"
        distribution, _, bare = name.rpartition(":")
        home = next((home for kind in kinds if (home := home_of(kind, bare))), "")
        wanted = normalize(distribution) if distribution else home
        installed = {normalize(plugin.distribution): plugin for plugin in self.plugins()}
        broken = [plugin for plugin in self.plugins() if plugin.failure is not None]
        culprits = [plugin for plugin in broken if normalize(plugin.distribution) == wanted]
        if culprits:
            told = "; ".join(f"{plugin.distribution} {plugin.version}: {plugin.failure}" for plugin in culprits)
            return PluginError(f"{what}: {told}")
        if home and wanted == home:
            if home not in installed:
                return BadInput(what, fix=f"it comes with {home}: pip install {home}\n{self._installed(kinds)}")
            have = f"{home} {installed[home].version} has none"
            return BadInput(f"{what}: {have}", fix=f"a later one may: pip install --upgrade {home}")
        hints = [self._elsewhere(kinds, bare) or self._close(kinds, name)]
        if distribution and wanted not in installed:
            hints.insert(0, f"no plugin is called {distribution!r}")
        lines = ["; ".join(hint for hint in hints if hint), self._installed(kinds)]
        if broken:
            told = ", ".join(f"{plugin.distribution} ({plugin.failure})" for plugin in broken[:2])
            more = f" and {len(broken) - 2} more" if len(broken) > 2 else ""
            lines.append(f"broken: {told}{more}")
        elif (silent := without_entry_point(self._path)) and not hints[0]:
            lines.append(
                f"{', '.join(silent)}: no entry point of the group 'lot' in its pyproject.toml, or not installed since it has one"
            )
        return BadInput(what, fix="\n".join(line for line in lines if line))

    def _elsewhere(self, kinds: Sequence[str], bare: str) -> str:
        """A hint where the name exists, but as something of another kind."""
        for kind in KINDS:
            if kind in kinds:
                continue
            owner = next((item.distribution for item in self.components(kind) if item.name == bare), None)
            owner = owner or home_of(kind, bare)
            if owner is not None:
                return f"{bare!r} is {_a(kind)} (of {owner}), not {_a(kinds[0])}"
        return ""

    def _close(self, kinds: Sequence[str], name: str) -> str:
        """A hint with names that are spelled nearly so, installed or not."""
        import difflib

        known: dict[str, str] = {}
        for kind in kinds:
            known.update((other, f"{other!r} (pip install {home})") for other, home in first_party(kind).items())
        for kind in kinds:
            for item in self.components(kind):
                shown = self.name_of(item)
                known.pop(item.name, None)
                known[f"{item.distribution}:{item.name}" if ":" in name else shown] = repr(shown)
        close = difflib.get_close_matches(name.lower(), known, n=2)
        return f"did you mean {' or '.join(known[other] for other in close)}?" if close else ""

    def _installed(self, kinds: Sequence[str]) -> str:
        """What is installed: the names of one kind, or the way to see all."""
        if len(kinds) > 1:
            return "lot plugins lists what is installed"
        names = self.names(kinds[0])
        return f"installed: {', '.join(names)}" if names else f"no {kinds[0]} is installed"


def _builtin(component: Component) -> bool:
    return normalize(component.distribution) == CORE


def _named(component: Component, name: str) -> bool:
    distribution, _, bare = name.rpartition(":")
    mine = not distribution or normalize(component.distribution) == normalize(distribution)
    return mine and component.name == bare


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
