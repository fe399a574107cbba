"""The passport of one component: the kit on the configuration that an arm has, kept by a key of all that it depends on."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import attrs
import torch
from torch import nn

from lot.config.schema import Chosen, Config
from lot.contracts import Attention, Context, Dims, Task
from lot.devices.precision import choose_precision
from lot.errors import BadInput
from lot.model.build import dims_around
from lot.options.validate import unstructure
from lot.plugins.registry import registry
from lot.runs.environment import kernel_forms
from lot_cli.study.design.passport import Part
from lot_cli.study.design.plan import by_content, digest, modules_of, named_content, source_digest, version_of
from lot_cli.study.passports.kit import LONGEST, SHORTEST, left_out, run_kit
from lot_cli.study.passports.store import Store

DECLARED = ("causal", "rotary", "tolerance", "depends_on_length", "straight_through", "per_target")
"""What a built component may say of itself."""


@dataclass(frozen=True)
class Place:
    """Where an arm has a component. layer: of an attention or MLP, else None. dims: what it is built for; None for other kinds."""

    path: str
    chosen: Chosen
    layer: int | None = None
    dims: Dims | None = None


def places(config: Config, task: Task) -> Iterator[Place]:
    """Every component of a configuration; an attention or MLP of several layers comes for the first and the last of them."""
    dims = dims_around(config, task)
    for section, by_layer in (("attn", config.attentions), ("mlp", config.mlps)):
        layers: dict[str, list[int]] = {}
        for layer in by_layer:
            layers.setdefault(config.path_of(section, layer), []).append(layer)
        for path, having in layers.items():
            for layer in sorted({having[0], having[-1]}):
                yield Place(path, by_layer[layer], layer, replace(dims, layer=layer))
    if config.embed is not None:
        yield Place("embed", config.embed, None, dims)
    yield Place("model", config.model)
    yield Place("optim", at_default_rate(config.optim))
    yield Place("task", config.task)
    for section, table in (("losses", config.losses), ("diagnostics", config.diagnostics)):
        yield from (Place(f"{section}.{name}", chosen) for name, chosen in table.items())


def at_default_rate(optim: Chosen) -> Chosen:
    """The optimizer with the learning rate that it has by default: a schedule moves it, and a study may try a wild one."""
    field = attrs.fields_dict(type(optim.options)).get("lr")
    if field is None or field.default is attrs.NOTHING:
        return optim
    return attrs.evolve(optim, options=attrs.evolve(optim.options, lr=field.default))


def part_of(place: Place, config: Config, device: str, store: Store) -> tuple[Part, bool]:
    """The passport of the component at `place`, and whether it was made now; one that is kept is not made again."""
    component = place.chosen.component
    compiled = config.train.compile == "on" or (config.train.compile == "auto" and device != "cpu")
    skip = left_out(component.kind, compiled=compiled)
    options = unstructure(place.chosen.options)
    setting, around = _setting(place, device)
    key = part_key(place, config, device, [*skip])
    kept = store.get(Part, key)
    if kept is not None:
        return attrs.evolve(kept, path=place.path, layer=place.layer), False
    seed = secrets.randbits(32)  # so that nobody knows the points of the kit in advance
    checks, effect = run_kit(component, options, skip, setting, seed)
    built = _build(place, setting)
    part = Part(
        path=place.path,
        layer=place.layer,
        kind=component.kind,
        name=component.name,
        distribution=component.distribution,
        version=_version(component.distribution),
        source=source_of(place.chosen),
        key=key,
        options=options,
        around=around,
        device=setting.get("device", "cpu"),
        seed=seed,
        checks=checks,
        declared={name: said for name in DECLARED if (said := _plain(getattr(built, name, None))) is not None},
        effect=effect,
        inert=sorted(getattr(built, "inert", ())),
        weights=_weights(built) if isinstance(built, nn.Module) else None,
        state_per_token=_state_per_token(built, setting["dims"], device) if isinstance(built, Attention) else None,
    )
    store.put(part)
    return part, True


def part_key(place: Place, config: Config, device: str, skip: list[str]) -> str:
    """The key of a passport: a component whose key is equal gives the same outcome."""
    chosen = place.chosen
    component = chosen.component
    setting, around = _setting(place, device)
    counts = None if place.dims is None else place.dims.token_counts
    content = {
        "component": [component.kind, component.distribution, component.name, component.factory],
        "options": by_content(unstructure(chosen.options)),
        "around": around,
        "token counts": None if counts is None else digest(counts.tolist()),
        "device": setting.get("device", "cpu"),
        "precision": choose_precision(config.train.precision, torch.device(device)),
        "skip": skip,
        **code_of([chosen], device),
    }
    if named := named_content([chosen]):
        content["named"] = named
    return digest(content)[:32]


def code_of(chosen: Sequence[Chosen], device: str) -> dict[str, Any]:
    """What a key has of the code that computes: sources, versions of torch and numpy, and the forms of kernels."""
    modules = sorted({"lot", *(module for one in chosen for module in modules_of(one.component))})
    distributions = {one.component.distribution for one in chosen}
    return {
        "sources": {module: source_digest(module) for module in modules},
        "passports": source_digest(__package__),
        "versions": {name: version_of(name) for name in ("torch", "numpy")},
        "kernels": kernel_forms(distributions, torch.device(device)),
        "kernels asked for": os.environ.get("LOT_KERNELS", "auto"),
    }


def source_of(chosen: Chosen) -> str:
    """SHA-256 of the sources of the packages that a component comes from."""
    return digest({module: source_digest(module) for module in modules_of(chosen.component)})


def _setting(place: Place, device: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the kit is given beside the options, and that as plain data."""
    if place.dims is None:
        return {}, {}
    dims = _bounded(place.chosen, place.dims)
    around = {name: value for name, value in asdict(replace(dims, token_counts=None)).items() if name != "token_counts"}
    return {"dims": dims, "device": device}, around


def _bounded(chosen: Chosen, dims: Dims) -> Dims:
    """The dims with a longest sequence that keeps the kit quick, if the component can be built for one."""
    for length in (LONGEST, 256):
        if length < dims.max_len:
            shorter = replace(dims, max_len=length)
            try:
                chosen.component.create(chosen.options, shorter)
            except BadInput:
                continue
            return shorter
    return replace(dims, max_len=max(dims.max_len, SHORTEST))


def _build(place: Place, setting: Mapping[str, Any]) -> Any:
    """The component itself, or None where it needs a model or cannot be built, which the kit says."""
    component = place.chosen.component
    arguments = {"optimizer": None, "model": None, "task": None, "loss": (), "diagnostic": ()}.get(
        component.kind, (setting.get("dims"),)
    )
    if arguments is None:
        return None
    try:
        return component.build(*arguments, **unstructure(place.chosen.options))
    except Exception:
        return None


def _plain(value: Any) -> Any:
    """A declaration as JSON holds it, or None."""
    if isinstance(value, (bool, int, float, str)):
        return value
    return sorted(map(str, value)) if isinstance(value, (set, frozenset, list, tuple)) else None


def _weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _state_per_token(attention: Attention, dims: Dims, device: str) -> float | None:
    """Bytes of the cache of one sequence of the longest length, for each of its tokens; None where there is no cache."""
    try:
        if not attention.can_decode():
            return None
        module: Any = attention.to(device).eval()  # decoding is optional: not part of the class
        x = torch.zeros(1, dims.max_len, dims.width, device=device)
        with torch.no_grad():
            _, cache = module.prefill(x, Context(), module.init_cache(1, device, torch.float32))
    except Exception:
        return None  # the check `decoding` of the kit says why
    return sum(_tensors(cache, set()).values()) / dims.max_len


def _tensors(value: Any, seen: set[int]) -> dict[int, int]:
    """Bytes of every tensor inside a cache, by the address of its memory."""
    if id(value) in seen:
        return {}
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        return {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()}
    if isinstance(value, nn.Module):
        return {}
    inside: list[Any] = []
    if isinstance(value, Mapping):
        inside = list(value.values())
    elif isinstance(value, (list, tuple, set)):
        inside = list(value)
    elif hasattr(value, "__dict__"):
        inside = list(vars(value).values())
    found: dict[int, int] = {}
    for item in inside:
        found.update(_tensors(item, seen))
    return found


def _version(distribution: str) -> str:
    return next((p.version for p in registry().plugins() if p.distribution == distribution), "unknown")
