"""The configuration of a run: from defaults, a file, flags and overrides to one validated, replayable whole. Imports no torch."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from lot.component import Component
from lot.errors import BadInput
from lot.options import option
from lot.schedule import WeightSchedule
from lot.structure import structure, unknown_key, unstructure
from lot.yaml import dump_yaml, parse_yaml, read_yaml

if TYPE_CHECKING:
    from lot.registry import Registry

SINGLE = {"task": "task", "embed": "embedding", "attn": "attention", "optim": "optimizer"}
"""Sections that hold one component, and its kind."""
DEFAULT_NAMES = {"embed": "token", "attn": "vanilla", "optim": "adamw"}
MANY = {"losses": "loss", "diagnostics": "diagnostic"}
"""Sections that hold components by name, and their kind."""


@attrs.frozen(kw_only=True)
class ModelConfig:
    """The decoder around the attention."""

    width: int = option(128, ge=1, le=1 << 20, help="channels of the residual stream")
    heads: int = option(8, ge=1, le=1 << 16, help="attention heads; must divide the width")
    layers: int = option(2, ge=1, le=4096, help="blocks of attention and MLP")
    mlp_ratio: float = option(4.0, gt=0, le=256, help="hidden width of the MLP over the width")
    dropout: float = option(0.0, ge=0, lt=1, help="probability, on embeddings, attention weights and residual branches")
    positions: Literal["learned", "rotary", "none"] = option("learned", help="how positions are encoded")
    max_len: int | None = option(None, ge=1, help="longest sequence in tokens; null: that of the task")
    tie: bool = option(False, help="use the token embedding as the output head")
    recompute: bool = option(False, help="recompute activations in backward (activation checkpointing): less memory")


@attrs.frozen(kw_only=True)
class TrainConfig:
    """How a model is trained."""

    steps: int = option(400, ge=0, le=10**9, help="optimizer steps")
    batch_size: int = option(64, ge=1, le=1 << 24, help="sequences a micro-step, over all devices")
    accumulate: int = option(1, ge=1, le=1 << 16, help="micro-steps an optimizer step")
    clip: float | None = option(1.0, gt=0, help="largest gradient norm; null: no clipping")
    warmup: int = option(50, ge=0, help="steps of linear warmup of the learning rate")
    decay: Literal["cosine", "linear", "constant"] = option("cosine", help="shape of the learning rate after warmup")
    min_lr_ratio: float = option(0.1, ge=0, le=1, help="learning rate at the end over its peak")
    precision: Literal["auto", "fp32", "bf16"] = option("auto", help="auto: bf16 autocast on GPUs that have it")
    compile: Literal["auto", "on", "off"] = option("auto", help="torch.compile; auto: on a GPU")
    parallel: Literal["ddp", "fsdp"] = option(
        "ddp", help="where torchrun starts several processes: ddp copies the model to each, fsdp shards it over them"
    )
    context_parallel: int = option(
        1,
        ge=1,
        help="processes that each sequence is spread over; the attention must be one that brings the parts together",
    )
    deterministic: bool = option(True, help="the same bits in every run on the same hardware; costs speed on a GPU")
    log_every: int = option(10, ge=1, help="steps a row of the log")
    eval_every: int = option(50, ge=1, help="steps between evaluations on the validation split")
    eval_examples: int = option(2048, ge=1, help="validation examples an evaluation, at most")
    save_every: int = option(100, ge=1, help="steps between checkpoints")
    keep: int = option(2, ge=2, help="checkpoints kept beside the best")
    early_stop: int | None = option(None, ge=1, help="evaluations without a better primary metric before stopping")
    spike_factor: float = option(100.0, gt=1, help="a gradient norm that many times its running mean is a spike")
    spike_limit: int = option(20, ge=1, help="spikes in a row after which the run counts as diverged")
    test: bool = option(True, help="evaluate the best checkpoint on the test split at the end")


@attrs.frozen(kw_only=True)
class Chosen:
    """A component, the name that chose it (perhaps `distribution:name`), and its validated options."""

    name: str
    component: Component
    options: Any

    def table(self) -> dict[str, Any]:
        """The table that chooses this again."""
        return {"name": self.name, **unstructure(self.options)}


@attrs.frozen(kw_only=True)
class ChosenLoss(Chosen):
    """A loss with its weight and schedule."""

    weight: float
    schedule: WeightSchedule | None

    def table(self) -> dict[str, Any]:
        """The table that chooses this again."""
        table = {"weight": self.weight, **unstructure(self.options)}
        if self.schedule is not None:
            table["schedule"] = {
                key: value
                for key, value in unstructure(self.schedule).items()
                if key == "kind" or value != attrs.fields_dict(WeightSchedule)[key].default
            }
        return table


@attrs.frozen(kw_only=True)
class ChosenDiagnostic(Chosen):
    """A diagnostic with the number of steps between two measurements."""

    every: int

    def table(self) -> dict[str, Any]:
        """The table that chooses this again."""
        return {"every": self.every, **unstructure(self.options)}


@attrs.frozen(kw_only=True)
class Config:
    """A resolved run: every component found, every option validated. `to_dict` replays it."""

    seed: int
    allow_leak: bool
    task: Chosen
    model: ModelConfig
    embed: Chosen
    attn: Chosen
    attn_layers: Mapping[int, Chosen]
    losses: Mapping[str, ChosenLoss]
    optim: Chosen
    train: TrainConfig
    diagnostics: Mapping[str, ChosenDiagnostic]

    def attention_of(self, layer: int) -> Chosen:
        """The attention of a layer, counted from 0."""
        return self.attn_layers.get(layer, self.attn)

    def attention_path(self, layer: int) -> str:
        """Where the attention of a layer is chosen, for messages."""
        return f"attn.layers.{layer}" if layer in self.attn_layers else "attn"

    @property
    def title(self) -> str:
        """`task-attention`: the name of a run unless another is given."""
        names = dict.fromkeys(self.attention_of(layer).name for layer in range(self.model.layers))
        return f"{self.task.name}-{'-'.join(names)}".replace(":", "-")

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `load_config` turns into an equal configuration."""
        losses: dict[str, Any] = {name: loss.table() for name, loss in self.losses.items()}
        if "cross_entropy" not in losses and not any(
            "cross_entropy" in x.component.replaces for x in self.losses.values()
        ):
            losses["cross_entropy"] = None
        diagnostics: dict[str, Any] = dict.fromkeys(_watched([self.attn, *self.attn_layers.values()]))
        diagnostics.update((name, diagnostic.table()) for name, diagnostic in self.diagnostics.items())
        attn = self.attn.table()
        if self.attn_layers:
            attn["layers"] = {layer: chosen.table() for layer, chosen in self.attn_layers.items()}
        return {
            "seed": self.seed,
            **({"allow_leak": True} if self.allow_leak else {}),
            "task": self.task.table(),
            "model": unstructure(self.model),
            "embed": self.embed.table(),
            "attn": attn,
            "losses": losses,
            "optim": self.optim.table(),
            "train": unstructure(self.train),
            "diagnostics": diagnostics,
        }

    def to_yaml(self) -> str:
        """`to_dict` as YAML."""
        return dump_yaml(self.to_dict())


def load_config(
    source: str | Path | Mapping[str, Any] | None = None,
    *,
    overrides: Sequence[str] = (),
    select: Mapping[str, str] | None = None,
    losses: Iterable[str] = (),
    registry: Registry | None = None,
) -> Config:
    """The configuration made of defaults < `source` < `select` and `losses` < `overrides`.

    source: a YAML file, or the same as a mapping. select: a component by section (`{"attn": "lattice"}`), which replaces
    that section's table unless it names the same component. losses: losses added by name. overrides: `"optim.lr=3e-4"`,
    values as in YAML 1.2, in any order: a table, or the choice of its component, comes before what is in it. Raises BadInput,
    with the path, for all that is unknown, missing, of the wrong type or out of bounds.
    """
    if isinstance(source, (str, Path)):
        where = str(source)
        loaded = read_yaml(Path(source))
        loaded = {} if loaded is None else loaded
    else:
        where, loaded = "configuration", {} if source is None else source
    if not isinstance(loaded, Mapping):
        raise BadInput(where=where, expected="a table of sections", got=type(loaded).__name__)
    tree: dict[str, Any] = copy.deepcopy(dict(loaded))
    for section, name in (select or {}).items():
        _select(tree, (section,), name)
    for name in losses:
        table = tree.setdefault("losses", {})
        if not isinstance(table, dict):
            raise BadInput(where="losses", expected="a table of losses", got=repr(table))
        if table.get(name) is None:
            table[name] = {}
    for keys, value in sorted(map(_parse_override, overrides), key=lambda one: len(one[0]) - _names_component(one[0])):
        _apply_override(tree, keys, value)
    if registry is None:
        from lot.registry import registry as find_registry

        registry = find_registry()
    return _resolve(tree, registry)


def _select(tree: dict[str, Any], path: tuple[Any, ...], name: Any) -> None:
    """Make the table at `path` choose the component `name`; options of another component go."""
    table = tree
    for key in path[:-1]:
        table = _descend(table, key, ".".join(map(str, path)))
    current = table.get(path[-1])
    default = DEFAULT_NAMES.get(path[0]) if len(path) == 1 else None  # what a table without a name means
    if isinstance(current, dict) and current.get("name", default) == name:
        return
    kept = {"layers": current["layers"]} if isinstance(current, dict) and "layers" in current else {}
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


def _names_component(keys: list[Any]) -> bool:
    """Whether a path is the name of a section's component, or of a layer's attention."""
    of_section = len(keys) == 2 and keys[0] in SINGLE
    return keys[-1] == "name" and (of_section or (len(keys) == 4 and keys[:2] == ["attn", "layers"]))


def _apply_override(tree: dict[str, Any], keys: list[Any], value: Any) -> None:
    if _names_component(keys):
        _select(tree, tuple(keys[:-1]), value)
        return
    table = tree
    for key in keys[:-1]:
        table = _descend(table, key, ".".join(map(str, keys)))
    table[keys[-1]] = value


def _resolve(tree: dict[str, Any], registry: Registry) -> Config:
    sections = [field.name for field in attrs.fields(Config) if field.name != "attn_layers"]
    for key in tree:
        if key not in sections:
            raise unknown_key("", key, sections)
    top = structure(_Top, {key: tree[key] for key in ("seed", "allow_leak") if key in tree}, "")
    model = structure(ModelConfig, _table(tree, "model"), "model")
    train = structure(TrainConfig, _table(tree, "train"), "train")
    chosen = {section: _choose(tree, section, registry) for section in SINGLE}
    attn_layers = _choose_layers(tree, model, registry)
    attentions = [chosen["attn"], *attn_layers.values()]
    return Config(
        seed=top.seed,
        allow_leak=top.allow_leak,
        model=model,
        train=train,
        attn_layers=attn_layers,
        losses=_choose_losses(_table(tree, "losses"), registry),
        diagnostics=_choose_diagnostics(tree, attentions, registry),
        **chosen,
    )


@attrs.frozen(kw_only=True)
class _Top:
    seed: int = option(0, ge=0, lt=2**63, help="of data, initial values and noise")
    allow_leak: bool = option(False, help="let a non-causal attention run on a causal task")


def _table(tree: Mapping[str, Any], section: str) -> dict[str, Any]:
    table = tree.get(section)
    if table is None:
        return {}
    if not isinstance(table, dict):
        fix = f"as in {section}.name={table}" if section in SINGLE and isinstance(table, str) else ""
        raise BadInput(where=section, expected="a table", got=repr(table), fix=fix)
    return table


def _choose(tree: Mapping[str, Any], section: str, registry: Registry) -> Chosen:
    table = dict(_table(tree, section))
    table.pop("layers", None) if section == "attn" else None
    name = table.pop("name", DEFAULT_NAMES.get(section))
    if name is None:
        installed = ", ".join(registry.names(SINGLE[section])) or "none; pip install lot-tasks has some"
        raise BadInput("required, but not given", where=f"{section}.name", fix=f"installed: {installed}")
    return _chosen(registry, SINGLE[section], name, table, section)


def _chosen(registry: Registry, kind: str, name: Any, table: dict[str, Any], path: str) -> Chosen:
    component = _find(registry, kind, name, path)
    return Chosen(name=name, component=component, options=structure(component.config_class, table, path))


def _find(registry: Registry, kind: str, name: Any, path: str) -> Component:
    if not isinstance(name, str):
        raise BadInput(where=f"{path}.name", expected=f"the name of a component ({kind})", got=repr(name))
    return registry.get(kind, name)


def _choose_layers(tree: Mapping[str, Any], model: ModelConfig, registry: Registry) -> dict[int, Chosen]:
    base = dict(_table(tree, "attn"))
    layers = base.pop("layers", None) or {}
    if not isinstance(layers, dict):
        raise BadInput(
            where="attn.layers", expected="a table from layer (counted from 0) to attention", got=repr(layers)
        )
    found = {}
    for layer, table in layers.items():
        path = f"attn.layers.{layer}"
        if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < model.layers:
            raise BadInput(where=path, expected=f"a layer from 0 to {model.layers - 1}", got=repr(layer))
        if not isinstance(table, dict):
            raise BadInput(where=path, expected="a table with the name of an attention", got=repr(table))
        # Without a name, the layer has the attention of all layers, with its own changes.
        table = dict(table) if "name" in table else {**base, **table}
        found[layer] = _chosen(registry, "attention", table.pop("name", DEFAULT_NAMES["attn"]), table, path)
    return dict(sorted(found.items()))


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
        weighted = structure(_Weighted, own, path)
        found[name] = ChosenLoss(
            name=name,
            component=component,
            options=structure(component.config_class, table, path),
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
    if not found:
        raise BadInput(where="losses", expected="at least one loss", got="none")
    return found


@attrs.frozen(kw_only=True)
class _Weighted:
    weight: float | None = option(None, ge=0, help="factor on the term")
    schedule: WeightSchedule | None = option(None, help="how the weight moves over training")


def _choose_diagnostics(
    tree: Mapping[str, Any], attentions: list[Chosen], registry: Registry
) -> dict[str, ChosenDiagnostic]:
    # What an attention asks to have watched comes first; the file can change or remove it.
    tables: dict[str, Any] = {name: {} for name in _watched(attentions) if name in registry.names("diagnostic")}
    tables.update(_table(tree, "diagnostics"))
    found = {}
    for name, table in tables.items():
        path = f"diagnostics.{name}"
        component = _find(registry, "diagnostic", name, path)
        if table is None:
            continue
        if not isinstance(table, dict):
            raise BadInput(where=path, expected="a table of options, or null to remove it", got=repr(table))
        table = dict(table)
        own = structure(_Measured, {"every": table.pop("every")} if "every" in table else {}, path)
        found[name] = ChosenDiagnostic(
            name=name,
            component=component,
            options=structure(component.config_class, table, path),
            every=component.every if own.every is None else own.every,
        )
    return found


def _watched(attentions: Iterable[Chosen]) -> list[str]:
    return list(dict.fromkeys(name for chosen in attentions for name in chosen.component.watch))


@attrs.frozen(kw_only=True)
class _Measured:
    every: int | None = option(None, ge=1, help="steps between two measurements")
