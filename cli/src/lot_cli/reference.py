"""The sections of run, study and sweep files as data, so that `lot show`, `lot schema` and the docs say the same of them.

The keys come from the classes that check the files; nothing here is written twice. Imports no torch, and the classes only
when the keys are asked for.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Literal

import attrs

from lot.options.declare import OptionInfo, describe

File = Literal["run", "study", "sweep"]
FILES: tuple[File, ...] = ("run", "study", "sweep")
"""What a section can be part of: the file of a run (`lot run --config`), of a study (`lot study`) or of a sweep (`lot sweep`)."""


@attrs.frozen(kw_only=True)
class Section:
    """A table of a file, or its top level.

    name: what `lot show` calls it. path: where it stands in the file, NAME where the user names something, empty for the top
    level. kind: of the components that are named there, or empty. keys: what no class declares. home: the attrs class of
    the other keys, as `module:Class`, or empty. filled: keys that get a value where the file has none, and which, in words.
    """

    name: str
    path: str
    file: File
    summary: str
    kind: str = ""
    keys: tuple[OptionInfo, ...] = ()
    home: str = ""
    filled: Mapping[str, str] = {}

    @property
    def config_class(self) -> type | None:
        """The class that declares the keys, imported now; None where there is none."""
        if not self.home:
            return None
        module, _, name = self.home.partition(":")
        found: type = getattr(importlib.import_module(module), name)
        return found

    @property
    def options(self) -> tuple[OptionInfo, ...]:
        """The keys of the section, in the order of declaration."""
        declared = [] if self.config_class is None else describe(self.config_class)
        return (*self.keys, *map(self._told, declared))

    def _told(self, option: OptionInfo) -> OptionInfo:
        """The option with its type spelled for people, and with the default that the program fills in."""
        told = attrs.evolve(option, type=_spelled(option.type))
        filled = self.filled.get(option.name)
        return told if filled is None else attrs.evolve(told, required=False, default=filled)


def sections(file: File | None = None) -> list[Section]:
    """The sections of one kind of file, or of all, in the order in which files have them."""
    return [section for section in _SECTIONS if file in (None, section.file)]


def find_section(name: str) -> Section | None:
    """The section that is called `name`, or that stands at the path `name`; None for any other name."""
    return next((section for section in _SECTIONS if name in (section.name, section.path)), None)


def _name(kind: str, default: str | None) -> OptionInfo:
    return OptionInfo(
        name="name",
        type="str",
        default=default,
        bounds="",
        required=default is None,
        help=f"which {kind}; its own options stand beside this key",
    )


def _table(name: str, help: str) -> OptionInfo:
    return OptionInfo(name=name, type="table", default={}, bounds="", required=False, help=help)


_BY_LAYER = _table(
    "layers",
    "single layers: a table like this one under the number of the layer, counted from 0; "
    "without a name, it changes options of the component of all layers",
)

_SECTIONS = (
    Section(
        name="run",
        path="",
        file="run",
        summary="The run as a whole: the top level of a run file, beside the sections.",
        home="lot.config.schema:TopConfig",
    ),
    Section(
        name="task",
        path="task",
        file="run",
        summary="The task: the data, how it is split, and the metrics.",
        kind="task",
        keys=(_name("task", None),),
    ),
    Section(
        name="model",
        path="model",
        file="run",
        summary="The model around attention and MLP: its sizes, positions and dropout.",
        kind="model",
        keys=(_name("model", "decoder"),),
    ),
    Section(
        name="embed",
        path="embed",
        file="run",
        summary="The embedding: how tokens become vectors.",
        kind="embedding",
        keys=(_name("embedding", "token"),),
    ),
    Section(
        name="attn",
        path="attn",
        file="run",
        summary="The attention mechanism of all layers, and of single layers.",
        kind="attention",
        keys=(
            _name("attention", "vanilla"),
            _BY_LAYER,
        ),
    ),
    Section(
        name="mlp",
        path="mlp",
        file="run",
        summary="The MLP of all layers, and of single layers: the other half of a block, which mixes channels.",
        kind="mlp",
        keys=(_name("mlp", "gelu, unless the model says otherwise"), _BY_LAYER),
    ),
    Section(
        name="losses",
        path="losses.NAME",
        file="run",
        summary="A loss of the objective. cross_entropy is one, unless it is null or another loss contains it.",
        kind="loss",
        home="lot.config.schema:LossTable",
    ),
    Section(
        name="schedule",
        path="losses.NAME.schedule",
        file="run",
        summary="How the weight of a loss changes over training.",
        home="lot.config.schedule:WeightSchedule",
    ),
    Section(
        name="optim",
        path="optim",
        file="run",
        summary="The optimizer.",
        kind="optimizer",
        keys=(_name("optimizer", "adamw"),),
    ),
    Section(
        name="train",
        path="train",
        file="run",
        summary="How the model is trained: steps, learning rate, precision, evaluation and checkpoints.",
        home="lot.config.schema:TrainConfig",
    ),
    Section(
        name="diagnostics",
        path="diagnostics.NAME",
        file="run",
        summary="A diagnostic that is measured during training; null removes one that the attention asks for.",
        kind="diagnostic",
        home="lot.config.schema:DiagnosticTable",
    ),
    Section(
        name="recorders",
        path="recorders.NAME",
        file="run",
        summary="A recorder: where the rows of the log go too. tensorboard is one, unless it is null.",
        kind="recorder",
    ),
    Section(
        name="study",
        path="",
        file="study",
        summary="The study as a whole: what is compared, how often, and what counts.",
        home="lot_cli.study.design.file:Study",
        filled={"name": "name of the file"},
    ),
    Section(
        name="arms",
        path="arms.NAME",
        file="study",
        summary="An arm of a study: sections of a run file, with what differs from `base`.",
        keys=(
            _table("grid", "a list of values under each path of a run file; each combination of values makes an arm"),
        ),
    ),
    Section(
        name="claims",
        path="claims",
        file="study",
        summary="A published figure, which the report shows beside the measured one.",
        home="lot_cli.study.design.file:Claim",
    ),
    Section(
        name="sweep",
        path="",
        file="sweep",
        summary="The sweep as a whole: which options are tried with which values, and what the best is chosen by.",
        home="lot_cli.sweep.file:Sweep",
        filled={"name": "name of the file"},
    ),
)

_CLASSES = {section.home.partition(":")[2]: section.name for section in _SECTIONS if section.home}


def _spelled(type_name: str) -> str:
    """A type for people: a class of a section is a table, and `lot show` says what is in it."""
    return re.sub("|".join(_CLASSES), lambda found: f"table (lot show {_CLASSES[found[0]]})", type_name)
