"""The configuration of a run: from defaults, a file, flags and overrides to one validated, replayable whole. Imports no torch."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from lot.config.kept import KeptFiles
from lot.config.schedule import warmup_steps
from lot.config.schema import (
    BY_LAYER,
    DEFAULT_NAMES,
    SINGLE,
    USUAL_RECORDER,
    Chosen,
    ChosenDiagnostic,
    ChosenLoss,
    Config,
    DiagnosticTable,
    LossTable,
    TopConfig,
    TrainConfig,
    watched,
)
from lot.config.yaml import parse_yaml, read_yaml
from lot.errors import BadInput
from lot.options.validate import structure, unknown_key, unstructure
from lot.plugins.component import Component
from lot.plugins.registry import Registry, registry as installed


def load_config(
    source: str | Path | Mapping[str, Any] | None = None,
    *,
    overrides: Sequence[str] = (),
    select: Mapping[str, str] | None = None,
    losses: Iterable[str] = (),
    diagnostics: Iterable[str] = (),
    recorders: Iterable[str] = (),
    kept: KeptFiles | None = None,
    registry: Registry | None = None,
) -> Config:
    """The configuration made of defaults < `source` < `select` and what is added < `overrides`.

    source: a YAML file, or the same as a mapping. select: a component by section (`{"attn": "lattice"}`), which replaces that
    section's table unless it names the same component. losses, diagnostics, recorders: added by name. overrides:
    `"optim.lr=3e-4"`, values as in YAML 1.2, in any order: a table, or the choice of its component, comes before what is in it.
    kept: what a run keeps of the files of its model, which are then not read. Raises BadInput, with the path, for all that is
    unknown, missing, of the wrong type or out of bounds.
    """
    if isinstance(source, (str, Path)):
        where = str(source)
        loaded = read_yaml(Path(source))
        loaded = {} if loaded is None else loaded
    else:
        where, loaded = "configuration", {} if source is None else source
    if not isinstance(loaded, Mapping):
        raise BadInput(where=where, expected="a table of sections", got=type(loaded).__name__)
    if "arms" in loaded:
        raise BadInput(where=where, expected="the configuration of a run", got="a study", fix="lot study takes it")
    if "base" in loaded:
        raise BadInput(where=where, expected="the configuration of a run", got="a sweep", fix="lot sweep takes it")
    tree: dict[str, Any] = copy.deepcopy(dict(loaded))
    diagnostics, parsed = list(diagnostics), list(map(_parse_override, overrides))
    for section, name in (select or {}).items():
        _select(tree, (section,), name)
    for section, added in (("losses", losses), ("diagnostics", diagnostics), ("recorders", recorders)):
        for name in added:
            table = _descend(tree, section, f"{section}.{name}")
            if table.get(name) is None:
                table[name] = {}
    for keys, value in sorted(parsed, key=lambda one: len(one[0]) - _names_component(one[0])):
        _apply_override(tree, keys, value)
    named = {*diagnostics, *(name for keys, value in parsed for name in _diagnostics_named(keys, value))}
    return _resolve(tree, installed() if registry is None else registry, kept, named)


def _select(tree: dict[str, Any], path: tuple[Any, ...], name: Any) -> None:
    """Make the table at `path` choose the component `name`; options of another component go."""
    table = tree
    for key in path[:-1]:
        table = _descend(table, key, ".".join(map(str, path)))
    current = table.get(path[-1])
    default = DEFAULT_NAMES.get(path[0]) if len(path) == 1 else None  # what a table without a name means
    if isinstance(current, dict) and current.get("name", default) == name:
        return
    kept = {}
    if path[0] in BY_LAYER and isinstance(current, dict) and "layers" in current:
        kept = {"layers": current["layers"]}
    table[path[-1]] = {"name": name, **kept}


def _descend(table: dict[str, Any], key: Any, path: str) -> dict[str, Any]:
    child = table.get(key)
    if child is None:
        child = table[key] = {}
    if not isinstance(child, dict):
        raise BadInput(where=path, expected=f"{key} to be a table", got=repr(child))
    return child


def _parse_override(override: str) -> tuple[list[Any], Any]:
    """The keys and the value of one `path=value`."""
    path, equals, text = override.partition("=")
    keys: list[Any] = [int(key) if key.isdecimal() else key for key in path.strip().split(".")]
    if not equals or "" in keys:
        raise BadInput(where="--set", expected="PATH=VALUE, as in optim.lr=3e-4", got=repr(override))
    return keys, parse_yaml(text, f"--set {path}")


def _diagnostics_named(keys: list[Any], value: Any) -> list[Any]:
    """The diagnostics that an override names."""
    if keys[0] != "diagnostics":
        return []
    return keys[1:2] if len(keys) > 1 else list(value) if isinstance(value, dict) else []


def _names_component(keys: list[Any]) -> bool:
    """Whether a path is the name of a section's component, or of a layer's attention."""
    of_section = len(keys) == 2 and keys[0] in SINGLE
    of_layer = len(keys) == 4 and keys[0] in BY_LAYER and keys[1] == "layers"
    return keys[-1] == "name" and (of_section or of_layer)


def _apply_override(tree: dict[str, Any], keys: list[Any], value: Any) -> None:
    if _names_component(keys):
        _select(tree, tuple(keys[:-1]), value)
        return
    table = tree
    for key in keys[:-1]:
        table = _descend(table, key, ".".join(map(str, keys)))
    table[keys[-1]] = value


def _resolve(tree: dict[str, Any], registry: Registry, kept: KeptFiles | None, named: set[Any]) -> Config:
    sections = [field.name for field in attrs.fields(Config) if not field.name.endswith("_layers")]
    for key in tree:
        if key not in sections:
            raise unknown_key("", key, sections)
    top = structure(TopConfig, {key: tree[key] for key in ("seed", "allow_leak") if key in tree}, "")
    train = structure(TrainConfig, _table(tree, "train"), "train")
    train = attrs.evolve(train, warmup=warmup_steps(train.warmup, train.steps))  # what is recorded is what is done
    model = _choose(tree, "model", registry, DEFAULT_NAMES["model"])
    if kept is not None and kept.name == model.name:
        model = attrs.evolve(model, kept=kept)
    chosen: dict[str, Any] = {"model": model}
    sizes = model.sizes()
    defaults = {**DEFAULT_NAMES, "mlp": sizes.mlp}
    for section in SINGLE.keys() - {"model"}:
        if section not in sizes.owned:
            chosen[section] = _choose(tree, section, registry, defaults.get(section))
        elif tree.get(section) is not None:
            raise BadInput(
                where=section,
                expected=f"not to be given, for model {chosen['model'].name} brings its own",
                got="a table",
            )
        else:
            chosen[section] = None
    slots = {"attn": sizes.attention_layers, "mlp": sizes.mlp_layers}
    by_layer: dict[str, Any] = {
        f"{section}_layers": _choose_layers(tree, section, slots[section], defaults[section], registry)
        for section in BY_LAYER
    }
    attentions = [chosen["attn"], *by_layer["attn_layers"].values()]
    return Config(
        seed=top.seed,
        allow_leak=top.allow_leak,
        train=train,
        losses=_choose_losses(_table(tree, "losses"), registry),
        diagnostics=_choose_diagnostics(tree, attentions, registry, named),
        recorders=_choose_recorders(tree, registry),
        **chosen,
        **by_layer,
    )


def _table(tree: Mapping[str, Any], section: str) -> dict[str, Any]:
    table = tree.get(section)
    if table is None:
        return {}
    if not isinstance(table, dict):
        fix = f"as in {section}.name={table}" if section in SINGLE and isinstance(table, str) else ""
        raise BadInput(where=section, expected="a table", got=repr(table), fix=fix)
    return table


def _choose(tree: Mapping[str, Any], section: str, registry: Registry, default: str | None) -> Chosen:
    table = dict(_table(tree, section))
    table.pop("layers", None) if section in BY_LAYER else None
    name = table.pop("name", default)
    if name is None:
        installed = ", ".join(registry.names(SINGLE[section])) or "none; pip install lot-tasks has some"
        raise BadInput("required, but not given", where=f"{section}.name", fix=f"installed: {installed}")
    return _chosen(registry, SINGLE[section], name, table, section)


def _chosen(registry: Registry, kind: str, name: Any, table: dict[str, Any], path: str) -> Chosen:
    component = _find(registry, kind, name, path)
    return Chosen(name=name, component=component, options=component.parse(table, path))


def _find(registry: Registry, kind: str, name: Any, path: str) -> Component:
    if not isinstance(name, str):
        raise BadInput(where=f"{path}.name", expected=f"the name of a component ({kind})", got=repr(name))
    return registry.get(kind, name)


def _choose_layers(
    tree: Mapping[str, Any], section: str, slots: Sequence[int], default: str, registry: Registry
) -> dict[int, Chosen]:
    """The components of single layers. slots: the layers that have one of this section."""
    base = dict(_table(tree, section))
    layers = base.pop("layers", None)
    layers = {} if layers is None else layers
    kind = SINGLE[section]
    if not isinstance(layers, dict):
        raise BadInput(
            where=f"{section}.layers", expected=f"a table from layer (counted from 0) to {kind}", got=repr(layers)
        )
    found = {}
    for layer, table in layers.items():
        path = f"{section}.layers.{layer}"
        if isinstance(layer, bool) or not isinstance(layer, int) or layer not in slots:
            raise BadInput(where=path, expected=_range(slots), got=repr(layer))
        if not isinstance(table, dict):
            raise BadInput(where=path, expected=f"a table with the name of an {kind}", got=repr(table))
        # Without a name, the layer has the component of all layers, with its own changes.
        table = dict(table) if "name" in table else {**base, **table}
        found[layer] = _chosen(registry, kind, table.pop("name", default), table, path)
    return dict(sorted(found.items()))


def _range(slots: Sequence[int]) -> str:
    """The layers of a section in words."""
    if list(slots) == list(range(len(slots))):
        return f"a layer from 0 to {len(slots) - 1}"
    return f"one of the layers {', '.join(map(str, slots))}" if slots else "no layer, for the model has a slot in none"


def _choose_losses(tables: dict[str, Any], registry: Registry) -> dict[str, ChosenLoss]:
    found: dict[str, ChosenLoss] = {}
    for name, table in tables.items():
        path = f"losses.{name}"
        if table is None:  # removed by name
            _find(registry, "loss", name, path)
            continue
        if not isinstance(table, dict):
            raise BadInput(where=path, expected="a table of options, or null to remove it", got=repr(table))
        table = dict(table)
        component = _find(registry, "loss", name, path)
        own = {key: table.pop(key) for key in ("weight", "schedule") if key in table}
        weighted = structure(LossTable, own, path)
        found[name] = ChosenLoss(
            name=name,
            component=component,
            options=component.parse(table, path),
            weight=component.weight if weighted.weight is None else weighted.weight,
            schedule=weighted.schedule,
        )
    replaced = {other: name for name, loss in found.items() for other in loss.component.replaces}
    for other, name in replaced.items():
        if other in found:
            raise BadInput(f"losses.{name} already contains {other}", fix=f"remove one: --set losses.{other}=null")
    if "cross_entropy" not in tables and "cross_entropy" not in replaced:
        component = registry.get("loss", "cross_entropy")
        default = ChosenLoss(
            name="cross_entropy",
            component=component,
            options=component.config_class(),
            weight=component.weight,
            schedule=None,
        )
        found = {"cross_entropy": default, **found}
    if not any(loss.weight or loss.schedule is not None for loss in found.values()):
        got = ", ".join(f"{name} with weight 0" for name in found) or "none"
        raise BadInput(where="losses", expected="at least one loss with a weight", got=got)
    return found


def _choose_diagnostics(
    tree: Mapping[str, Any], attentions: list[Chosen], registry: Registry, named: set[Any]
) -> dict[str, ChosenDiagnostic]:
    """The diagnostics of the run. named: those that a flag or `--set` names."""
    # What an attention asks to have watched comes first; the file can change or remove it.
    usual = [name for name in watched(attentions) if name in registry.names("diagnostic")]
    given = _table(tree, "diagnostics")
    tables: dict[str, Any] = {**{name: {} for name in usual}, **given}
    found = {}
    for name, table in tables.items():
        path = f"diagnostics.{name}"
        component = _find(registry, "diagnostic", name, path)
        if table is None:
            continue
        if not isinstance(table, dict):
            raise BadInput(where=path, expected="a table of options, or null to remove it", got=repr(table))
        table = dict(table)
        own = structure(DiagnosticTable, {"every": table.pop("every")} if "every" in table else {}, path)
        chosen = ChosenDiagnostic(
            name=name,
            component=component,
            options=component.parse(table, path),
            every=component.every if own.every is None else own.every,
        )
        # A configuration that a run recorded has all options of what was watched too.
        recorded = given.get(name) == {"every": component.every, **unstructure(component.config_class())}
        asked = name not in usual or name in named or (name in given and not recorded)
        found[name] = attrs.evolve(chosen, asked=asked)
    return found


def _choose_recorders(tree: Mapping[str, Any], registry: Registry) -> dict[str, Chosen]:
    found = {}
    for name, table in {USUAL_RECORDER: {}, **_table(tree, "recorders")}.items():
        path = f"recorders.{name}"
        _find(registry, "recorder", name, path)
        if table is None:
            continue
        if not isinstance(table, dict):
            raise BadInput(where=path, expected="a table of options, or null to remove it", got=repr(table))
        found[name] = _chosen(registry, "recorder", name, dict(table), path)
    return found
