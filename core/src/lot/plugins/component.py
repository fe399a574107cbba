"""What a plugin registers: a component as plain data, whose code is imported only when it is built."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

import attrs

from lot.errors import PluginError, place_of
from lot.options.declare import RESERVED, RESERVED_BY_LAYER, NoOptions

KINDS = ("attention", "embedding", "mlp", "model", "optimizer", "loss", "task", "diagnostic", "recorder", "kernel")
"""The kinds of component; each has a hook of its own in `lot.plugins.hookspecs`."""

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


def _names(value: Any) -> frozenset[str]:
    return frozenset((value,) if isinstance(value, str) else value)


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@attrs.frozen(kw_only=True)
class Component:
    """A component before it is built. Plain data: making one imports nothing.

    name: lower case, digits and underscores; what the user types.
    summary: one line.
    factory: `"package.module:Name"`; called as `factory(config, *arguments of its kind)` (see `lot.plugins.hookspecs`).
    config: frozen, keyword-only attrs class made with `lot.option` fields, or `"package.module:Name"` of one, which is then
    imported only when the options are asked for (a class costs every command half a millisecond).
    check: `"package.module:function"` that imports no torch; called as `function(config)` before a run imports it, to raise
    BadInput for what cannot work here and now, such as a file that is missing. The component itself checks all the same.
    content: `"package.module:function"` that imports no torch; called as `function(config)`, it returns plain data that change
    whenever what the options name changes: for a folder, a digest of its files. A study puts them into the keys of its runs.
    Options that name single files need none.
    reference: where the idea comes from (paper or project).
    emits, needs: names of signals that it can give, or wants from others; a superset is fine.
    replaces: for a loss, names of losses whose term it already contains.
    weight: for a loss, its weight unless the configuration says otherwise.
    every: for a diagnostic, the steps between two measurements unless the configuration says otherwise.
    watch: for an attention, diagnostics that a run measures unless its configuration says otherwise.
    sized_by: for an MLP or a model, the option whose growth adds parameters, by which a study matches the parameters of arms: a
    whole number, or a ratio to the width.
    notes: what a user should know: what is as published, what is corrected, what has no effect.
    kind, distribution: filled in by the registry.
    """

    name: str = attrs.field()
    summary: str
    factory: str = attrs.field()
    config: type | str = NoOptions
    check: str = ""
    content: str = ""
    reference: str = ""
    emits: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    needs: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    replaces: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    weight: float = 1.0
    every: int = 50
    watch: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    sized_by: str | None = None
    notes: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    kind: str = ""
    distribution: str = ""

    @name.validator
    def _check_name(self, _attribute: Any, value: str) -> None:
        if not _NAME.match(value):
            raise ValueError(f"component name {value!r}: expected lower-case letters, digits and underscores")

    @factory.validator
    def _check_factory(self, _attribute: Any, value: str) -> None:
        if value.count(":") != 1:
            raise ValueError(f"component {self.name}: factory {value!r}: expected 'package.module:Name'")

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.config, str):
            self._check_config(self.config)

    @property
    def config_class(self) -> type:
        """The configuration class. Raises PluginError where it is named and does not import."""
        if not isinstance(self.config, str):
            return self.config
        found: type = self._import(self.config)
        try:
            self._check_config(found)
        except ValueError as error:
            raise PluginError(f"{self.distribution or 'a plugin'}: {error}") from error
        return found

    def _check_config(self, config: Any) -> None:
        if not isinstance(config, type) or not attrs.has(config):
            raise ValueError(f"component {self.name}: config {config!r} is no attrs class")
        reserved = RESERVED | RESERVED_BY_LAYER if self.kind in ("attention", "mlp") else RESERVED
        clash = reserved & {field.name for field in attrs.fields(config)}
        if clash:
            raise ValueError(f"component {self.name}: option {min(clash)!r} is a key of the framework; rename it")
        untyped = [field.name for field in attrs.fields(config) if field.type is None]
        if untyped:
            raise ValueError(
                f"component {self.name}: option {untyped[0]!r} has no type, as in {untyped[0]}: float = option(...)"
            )

    def check_options(self, config: Any) -> None:
        """Let `check` look at a validated `config`. Raises BadInput with the name of the option, PluginError."""
        if self.check:
            self._import(self.check)(config)

    def content_of(self, config: Any) -> Any:
        """What `content` says of a validated `config`; None without it. Raises BadInput with the option, PluginError."""
        return self._import(self.content)(config) if self.content else None

    def load(self) -> Any:
        """The factory itself. Raises PluginError when its module does not import or lacks the name."""
        return self._import(self.factory)

    def _import(self, place: str) -> Any:
        module, _, attribute = place.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:
            owner = self.distribution or "a plugin"
            at = place_of(error, {module.partition(".")[0]})
            raise PluginError(
                f"{owner}: {self.kind} {self.name!r}: {place} did not load "
                f"({type(error).__name__}: {error}{f', at {at}' if at else ''})"
            ) from error

    def configure(self, **options: Any) -> Any:
        """The validated configuration made of `options`. Raises BadInput with the path `NAME.OPTION`."""
        return self.parse(options, self.name)

    def parse(self, options: Mapping[str, Any], path: str) -> Any:
        """The validated configuration made of a table of options. Raises BadInput with the path `PATH.OPTION`."""
        from lot.options.validate import (
            structure,  # cattrs, which the commands that only list components do not pay for
        )

        return structure(self.config_class, options, path)

    def create(self, config: Any, *arguments: Any) -> Any:
        """The component built from a validated `config`, values of its parameters still arbitrary.

        What a constructor draws from torch's default generator does not move that generator.
        """
        factory = self.load()
        from lot.random import isolated

        with isolated(0, "create", self.name):
            return factory(config, *arguments)

    def build(self, *arguments: Any, seed: int = 0, **options: Any) -> Any:
        """The component, built and initialized: `component.build(dims, coupling=0.5)`.

        `arguments` are those of the kind (`Dims` for attention and embedding, a model for an optimizer, a seed
        for a task, none for a loss or a diagnostic). Initial values are keyed by `seed` and parameter name.
        Raises BadInput for an option that is unknown, of the wrong type or out of bounds.
        """
        built = self.create(self.configure(**options), *arguments)
        if hasattr(built, "reset_parameters"):
            from lot.random import initialize

            initialize(built, seed)
        return built
