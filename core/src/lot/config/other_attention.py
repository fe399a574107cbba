"""A recorded configuration with another attention: without what the old one brought along. Imports no torch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from lot.config.schema import DEFAULT_NAMES, MANY
from lot.plugins.registry import Registry, registry as installed


def without_attention(source: Any, name: str, registry: Registry | None = None) -> tuple[Any, list[str]]:
    """A configuration as a tree, without what its attention brought along and attention `name` cannot serve; and a list of that.

    Losses, schedules and diagnostics go where they need a signal that the attention of the tree gives and no part of the new
    model does; so do the options of the attention itself. Everything else stays, and is checked as ever.
    """
    found = installed() if registry is None else registry
    attn = source.get("attn") if isinstance(source, Mapping) else None
    if not isinstance(attn, Mapping):
        return source, []
    old = attn.get("name", DEFAULT_NAMES["attn"])
    if old == name or not isinstance(old, str):
        return source, []
    tree = copy.deepcopy(dict(source))
    kept = _layers(attn)
    given = {"hidden"} | found.get("attention", name).emits | _emits(found, "embedding", tree.get("embed"), "embed")
    for table in kept:
        given |= _emits(found, "attention", table, "attn")
    lost = found.get("attention", old).emits - given
    dropped = [f"the options of {old}"] if set(attn) - {"name", "layers"} else []
    for section, kind in MANY.items():
        tables = tree.get(section)
        if not isinstance(tables, dict):
            continue
        for key, table in list(tables.items()):
            if table is None or key not in found.names(kind):
                continue
            if found.get(kind, key).needs & lost:
                del tables[key]
                dropped.append(f"{section}.{key}")
            elif "phase" in lost and isinstance(table, dict) and _is_adaptive(table.get("schedule")):
                del table["schedule"]
                dropped.append(f"{section}.{key}.schedule")
    return tree, dropped


def _layers(attn: Mapping[str, Any]) -> list[Any]:
    layers = attn.get("layers")
    return [table for table in layers.values() if isinstance(table, Mapping)] if isinstance(layers, Mapping) else []


def _emits(registry: Registry, kind: str, table: Any, section: str) -> frozenset[str]:
    """The signals of the component that a table chooses."""
    name = table.get("name", DEFAULT_NAMES[section]) if isinstance(table, Mapping) else DEFAULT_NAMES[section]
    return registry.get(kind, name).emits if isinstance(name, str) else frozenset()


def _is_adaptive(schedule: Any) -> bool:
    return isinstance(schedule, Mapping) and schedule.get("kind") == "adaptive"
