"""JSON Schemas (draft 2020-12) of run, study and sweep files, so that an editor completes and checks them as they are written.

They are made from the installed components and from the classes that check the files, and say the same as `lot.load_config`,
except for what a schema cannot say:

- what compares two places of a file: that `attn.layers` names layers that the model has, which MLP a model has unless the file
  names one, that a model brings its own embedding or MLP, that two losses do not contain each other, that a linear or cosine
  schedule has `over`; for a study, all that joins arms, seeds, metrics and `base`;
  for a sweep, which paths a run has and which values they take;
- what joins several options of one component: that heads divide the width, that a text has a path or a corpus, not both;
- what an option checks by a function of its own (`option(check=...)`) and what a component refuses when it is built;
- what JSON lacks: 3.0 counts as an int here, infinite numbers as numbers, and all keys are text;
- `distribution:name` with the distribution spelled in another way than it was registered.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from lot.config.schema import BY_LAYER, DEFAULT_NAMES, MANY, SINGLE
from lot.errors import PluginError
from lot.plugins.component import KINDS, Component
from lot.plugins.registry import Registry
from lot_cli.json_schema.options import Schema, closed_object, fields_of
from lot_cli.reference import find_section, sections
from lot_cli.sweep.values import DISTRIBUTIONS, MOST_VALUES, RANGES

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_LAYER = "^(0|[1-9][0-9]*)$"
_NAMELESS: Schema = {"type": "object", "not": {"required": ["name"]}}


class SchemaMaker:
    """Makes the schemas. `unreadable`: why the options of a component could not be read, by component."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.components = {kind: registry.components(kind) for kind in KINDS}
        self.unreadable: dict[Component, str] = {}

    def run(self) -> Schema:
        """The schema of run files."""
        properties = {
            **fields_of(_class_of("run"))[0],
            **{name: self._single(name) for name in SINGLE},
            **{name: self._many(name) for name in MANY},
            "train": _nullable({"$ref": "#/$defs/train"}),
        }
        order = ["seed", "allow_leak", *(section.name for section in sections("run"))]
        ordered = {name: _described(properties[name], name) for name in order if name in properties}
        return {
            "$schema": DRAFT,
            "title": "A run of LOT",
            "description": self._origin(),
            "type": "object",
            "properties": ordered,
            "required": ["task"],
            "additionalProperties": False,
            "$defs": self._definitions(),
        }

    def study(self) -> Schema:
        """The schema of study files."""
        properties, required = fields_of(_class_of("study"))
        part = self._part()
        grid = {
            "type": "object",
            "description": _help("arms", "grid"),
            "additionalProperties": {"type": "array", "minItems": 1},
        }
        arm = {**part, "type": ["object", "null"], "properties": {**part["properties"], "grid": grid}}
        properties["base"] |= {"$ref": "#/$defs/part"}
        properties["arms"] |= {"additionalProperties": {"$ref": "#/$defs/arm"}}
        return {
            "$schema": DRAFT,
            "title": "A study of LOT",
            "description": self._origin(),
            "type": "object",
            "properties": properties,
            "required": [name for name in required if name != "name"],
            "additionalProperties": False,
            "$defs": {"part": part, "arm": arm, **self._definitions()},
        }

    def sweep(self) -> Schema:
        """The schema of sweep files."""
        properties, required = fields_of(_class_of("sweep"))
        listed = {"type": "array", "minItems": 1, "uniqueItems": True}
        ranges = [_one_key(name, _ends(count=3)) for name in RANGES]
        draws = [_one_key(name, listed if name == "choice" else _ends(count=2)) for name in DISTRIBUTIONS]
        tables = {"grid": [listed, *ranges], "random": [listed, *ranges, *draws]}
        for name, forms in tables.items():
            properties[name] |= {"additionalProperties": {"anyOf": forms}}
        properties["base"] |= {"$ref": "#/$defs/part"}
        searched: list[Schema] = [
            {"required": [one], "properties": {one: {"minProperties": 1}, other: {"maxProperties": 0}}}
            for one, other in (("grid", "random"), ("random", "grid"))
        ]
        searched[0]["properties"]["count"] = {"type": "null"}
        searched[1] |= {"required": ["random", "count"]}
        searched[1]["properties"]["count"] = {"type": "integer"}
        return {
            "$schema": DRAFT,
            "title": "A sweep of LOT",
            "description": self._origin(),
            "type": "object",
            "properties": properties,
            "required": [name for name in required if name != "name"],
            "anyOf": searched,
            "additionalProperties": False,
            "$defs": {"part": self._part(), **self._definitions()},
        }

    def _part(self) -> Schema:
        """Sections of a run, of which others are given elsewhere: `base` of a study or a sweep, and the arms of a study."""
        untested = {"allOf": [{"$ref": "#/$defs/train"}, {"properties": {"test": False}}]}
        properties = {
            "allow_leak": fields_of(_class_of("run"))[0]["allow_leak"],
            **{name: self._single(name, partial=True) for name in SINGLE},
            **{name: self._many(name, partial=True) for name in MANY},
            "train": _nullable(untested),
        }
        return {
            "type": "object",
            "properties": {name: _described(each, name) for name, each in properties.items()},
            "additionalProperties": False,
        }

    def _origin(self) -> str:
        plugins = ", ".join(dict.fromkeys(f"{p.distribution} {p.version}" for p in self.registry.plugins()))
        return f"Written by `lot schema` from what is installed: {plugins}."

    def _definitions(self) -> dict[str, Schema]:
        """`train`, and each component as `KIND.NAME`: a table of its options, none of them required."""
        found = {"train": closed_object(*fields_of(_class_of("train")))}
        kinds = {**{kind: ["name"] for kind in SINGLE.values()}, **{kind: [] for kind in MANY.values()}}
        kinds |= {SINGLE[section]: ["name", "layers"] for section in BY_LAYER}
        for kind, keys in kinds.items():
            framework: dict[str, Schema] = {key: {} for key in keys}
            section = next(section for section in sections("run") if section.kind == kind)
            if section.config_class is not None:  # weight, schedule, every
                framework |= fields_of(section.config_class)[0]
            for component in self.components[kind]:
                options, _ = self._options(component)
                found[self._key(component)] = {
                    "title": f"{component.name} ({kind} of {component.distribution})",
                    "description": component.summary,
                    **closed_object({**framework, **options}),
                    "additionalProperties": component in self.unreadable,
                }
        return found

    def _options(self, component: Component) -> tuple[dict[str, Schema], list[str]]:
        """The options of a component by name, and the names of those without a default."""
        try:
            return fields_of(component.config_class)
        except PluginError as error:
            self.unreadable[component] = str(error)
            return {}, []

    def _key(self, component: Component) -> str:
        return f"{component.kind}.{self.registry.name_of(component)}"

    def _ref(self, component: Component, *, partial: bool) -> Schema:
        """The table of a component's options; unless partial, with the required ones."""
        required = [] if partial else self._options(component)[1]
        return {"$ref": f"#/$defs/{self._key(component)}", **({"required": required} if required else {})}

    def _names(self, component: Component) -> list[str]:
        """What chooses a component: the name that `lot plugins` lists, and the one with its distribution."""
        return list(dict.fromkeys([self.registry.name_of(component), f"{component.distribution}:{component.name}"]))

    def _name(self, kind: str, default: str | None = None) -> Schema:
        """The key `name`: one of the listed names, which an editor offers, or one with its distribution."""
        listed = self.registry.names(kind)
        others = [name for item in self.components[kind] for name in self._names(item) if name not in listed]
        forms: list[Schema] = [{"enum": listed}]
        if others:
            forms.append({"type": "string", "pattern": _exactly(others)})
        return {"anyOf": forms, **({} if default is None else {"default": default})}

    def _named(self, component: Component) -> Schema:
        """The condition that a table names `component`."""
        names = {"properties": {"name": {"enum": self._names(component)}}, "required": ["name"]}
        return {"type": "object", **names}

    def _cases(self, kind: str, *, partial: bool) -> list[Schema]:
        """For each component: the table that names it holds its options."""
        return [
            {"if": self._named(component), "then": self._ref(component, partial=partial)}
            for component in self.components[kind]
        ]

    def _single(self, section: str, *, partial: bool = False) -> Schema:
        """A section that holds one component. partial: its name may be given elsewhere, and options with it."""
        kind, default = SINGLE[section], DEFAULT_NAMES.get(section)
        name = self._name(kind, None if partial else default)
        found: Schema = {"type": ["object", "null"], "properties": {"name": name}}
        cases = self._cases(kind, partial=partial)
        nameless = None
        if partial or section == "mlp":
            nameless = self._any_of(kind)
        elif default is None:
            found |= {"type": "object", "required": ["name"]}
        else:
            nameless = self._ref(self.registry.get(kind, default), partial=False)
        if nameless is not None:
            cases.append({"if": _NAMELESS, "then": nameless})
        if section in BY_LAYER:
            found["properties"]["layers"] = self._layers(section, partial=partial)
            if not partial:
                cases += [{"if": self._named(c), "then": self._inherited(c)} for c in self.components[kind]]
            if not partial and section != "mlp":
                cases.append({"if": _NAMELESS, "then": self._inherited(self.registry.get(kind, str(default)))})
        return {**found, **({"allOf": cases} if cases else {})}

    def _layers(self, section: str, *, partial: bool) -> Schema:
        """`attn.layers`: a table by number. Without a name, it changes options of the component of all layers."""
        kind = SINGLE[section]
        cases = self._cases(kind, partial=partial)
        if partial:
            cases.append({"if": _NAMELESS, "then": self._any_of(kind)})
        layer = {"type": "object", "properties": {"name": self._name(kind), "layers": False}, "allOf": cases}
        return {
            "type": ["object", "null"],
            "description": _help(section, "layers"),
            "patternProperties": {_LAYER: layer},
            "additionalProperties": False,
        }

    def _inherited(self, component: Component) -> Schema:
        """A layer without a name changes options of `component`, the mechanism of all layers."""
        layer = {"if": _NAMELESS, "then": self._ref(component, partial=True)}
        return {"properties": {"layers": {"additionalProperties": layer}}}

    def _any_of(self, kind: str) -> Schema:
        """A table with options of any component of a kind, where the file does not say which."""
        merged: dict[str, list[Schema]] = {}
        for component in self.components[kind]:
            for name, schema in self._options(component)[0].items():
                known = merged.setdefault(name, [])
                bare = {key: value for key, value in schema.items() if key not in ("default", "description")}
                if bare not in known:
                    known.append(bare)
        own: dict[str, Schema] = {
            "name": {},
            **({"layers": {}} if kind in (SINGLE[section] for section in BY_LAYER) else {}),
        }
        options = {name: found[0] if len(found) == 1 else {"anyOf": found} for name, found in merged.items()}
        open_ended = any(component in self.unreadable for component in self.components[kind])
        return {"properties": {**own, **options}, "additionalProperties": open_ended}

    def _many(self, section: str, *, partial: bool = False) -> Schema:
        """A section that holds components by name, each of which null removes."""
        properties, patterns = {}, {}
        for component in self.components[MANY[section]]:
            table = _nullable(self._ref(component, partial=partial))
            listed, *others = self._names(component)
            properties[listed] = {"description": component.summary, **table}
            patterns.update({_exactly([other]): table for other in others})
        return {
            "type": ["object", "null"],
            "properties": properties,
            **({"patternProperties": patterns} if patterns else {}),
            "additionalProperties": False,
        }


def _one_key(name: str, value: Schema) -> Schema:
    """A table that holds one key."""
    return closed_object({name: value}, [name])


def _ends(*, count: int) -> Schema:
    """A low and a high end, and a number of values where there are three."""
    number: Schema = {"type": "number"}
    parts = [number, number, {"type": "integer", "minimum": 2, "maximum": MOST_VALUES}][:count]
    return {"type": "array", "prefixItems": parts, "minItems": count, "maxItems": count}


def _class_of(section: str) -> type:
    found = find_section(section)
    assert found is not None
    assert found.config_class is not None
    return found.config_class


def _help(section: str, key: str) -> str:
    found = find_section(section)
    assert found is not None
    return next(option.help for option in found.options if option.name == key)


def _described(schema: Schema, section: str) -> Schema:
    found = find_section(section)
    return schema if found is None else {"description": found.summary, **schema}


def _exactly(names: Iterable[str]) -> str:
    """A regular expression, of the kind that every editor has, for these names and nothing else."""
    return f"^({'|'.join(name.replace('.', '[.]') for name in names)})$"


def _nullable(schema: Schema) -> Schema:
    """`schema`, or null. Not by `anyOf`: an editor then says what is wrong with the table, not that null was missing."""
    return {"type": ["object", "null"], "if": {"type": "object"}, "then": schema}
