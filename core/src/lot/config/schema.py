"""What a run consists of, as frozen and validated data. Imports no torch."""

from __future__ import annotations

import functools
import html
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from lot.config.kept import KeptFiles
from lot.config.schedule import WeightSchedule
from lot.config.yaml import dump_yaml
from lot.errors import BadInput
from lot.options.declare import option
from lot.options.validate import unstructure
from lot.plugins.component import Component
from lot.plugins.sizes import Sizes

SINGLE = {
    "task": "task",
    "model": "model",
    "embed": "embedding",
    "attn": "attention",
    "mlp": "mlp",
    "optim": "optimizer",
}
"""Sections that hold one component, and its kind."""


BY_LAYER = ("attn", "mlp")
"""Sections whose component may be another one in single layers."""


DEFAULT_NAMES = {"model": "decoder", "embed": "token", "attn": "vanilla", "mlp": "gelu", "optim": "adamw"}
"""The component of a section that names none; a model may choose another MLP."""


MANY = {"losses": "loss", "diagnostics": "diagnostic", "recorders": "recorder"}
"""Sections that hold components by name, and their kind."""


USUAL_RECORDER = "tensorboard"
"""The recorder that a run has unless its configuration removes it."""


@attrs.frozen(kw_only=True)
class TopConfig:
    """Options of the run as a whole."""

    seed: int = option(0, ge=0, lt=2**63, help="the seed of data, initial values and noise")
    allow_leak: bool = option(False, help="let a non-causal attention run on a causal task")


@attrs.frozen(kw_only=True)
class TrainConfig:
    """How a model is trained."""

    steps: int = option(400, ge=0, le=10**9, help="optimizer steps")
    batch_size: int = option(64, ge=1, le=1 << 24, help="sequences per micro-step, over all devices together")
    accumulate: int = option(1, ge=1, le=1 << 16, help="micro-steps per optimizer step (gradient accumulation)")
    clip: float | None = option(1.0, gt=0, help="a gradient of a larger norm is scaled down to this; null: no clipping")
    warmup: int | None = option(
        None, ge=0, help="steps of linear warmup of the learning rate; null: an eighth of train.steps, 50 at most"
    )
    decay: Literal["cosine", "linear", "constant"] = option("cosine", help="shape of the learning rate after warmup")
    min_lr_ratio: float = option(0.1, ge=0, le=1, help="learning rate at the end divided by its peak")
    precision: Literal["auto", "fp32", "bf16"] = option("auto", help="auto: bf16 autocast on GPUs that have it")
    compile: Literal["auto", "on", "off"] = option("auto", help="torch.compile; auto: on a GPU")
    parallel: Literal["ddp", "fsdp"] = option(
        "ddp", help="where torchrun starts several processes: ddp copies the model to each, fsdp shards it over them"
    )
    context_parallel: int = option(
        1,
        ge=1,
        help="processes that hold each sequence together; the attention must be one that can bring the parts together",
    )
    deterministic: bool = option(True, help="the same bits in every run on the same hardware; costs speed on a GPU")
    log_every: int = option(10, ge=1, help="steps between two rows of the log")
    eval_every: int = option(50, ge=1, help="steps between evaluations on the validation split")
    eval_examples: int = option(2048, ge=1, help="largest number of validation examples per evaluation")
    save_every: int = option(100, ge=1, help="steps between checkpoints")
    keep: int = option(2, ge=2, help="checkpoints that are kept beside the best one")
    early_stop: int | None = option(
        None, ge=1, help="validations in a row without a better one after which the run stops"
    )
    spike_factor: float = option(
        100.0, gt=1, help="a gradient norm above this many times its running mean counts as a spike"
    )
    spike_limit: int = option(20, ge=1, help="spikes in a row after which the run counts as diverged")
    only: tuple[str, ...] = option(
        (),
        help="what trains, while the rest stays as it begins: attn or mlp (those that this file chooses), embed, new (what "
        "has no pretrained value), or patterns of names as in blocks.1.*; empty: everything",
    )
    neutral: bool = option(
        False,
        help="train with the mechanism left out: the same parameters and initial values, computing vanilla attention; "
        "refused where an attention has no such form",
    )
    cache_prefix: bool = option(
        False,
        help="keep the states below the first layer that trains in the cache, and compute them once for each sequence; needs "
        "train.only, and nothing random there",
    )
    test: bool = option(True, help="evaluate the best checkpoint on the test split at the end")


@attrs.frozen(kw_only=True)
class LossTable:
    """Options that every loss has beside its own."""

    weight: float | None = option(None, ge=0, help="factor on the term; null: the loss's own default")
    schedule: WeightSchedule | None = option(None, help="how the weight moves over training; null: it does not")


@attrs.frozen(kw_only=True)
class DiagnosticTable:
    """Options that every diagnostic has beside its own."""

    every: int | None = option(None, ge=1, help="steps between two measurements; null: the diagnostic's own default")


@attrs.frozen(kw_only=True)
class Chosen:
    """A component, the name that chose it (perhaps `distribution:name`), and its validated options.

    kept: of a model whose weights come from a checkpoint, what stands for the files that it was made from.
    """

    name: str
    component: Component
    options: Any
    kept: KeptFiles | None = None

    @property
    def used(self) -> Any:
        """The options that it is built with: without the files of a model where something stands for them."""
        if self.kept is None:
            return self.options
        return self.component.parse({**unstructure(self.options), **self.kept.options}, self.component.kind)

    def table(self) -> dict[str, Any]:
        """The table that chooses this again."""
        return {"name": self.name, **unstructure(self.options)}

    def sizes(self) -> Sizes:
        """What a model says of itself. Raises BadInput where it cannot say it."""
        try:
            return self.used.sizes()  # type: ignore[no-any-return]
        except BadInput as error:
            raise error if error.where.startswith("model") else error.under("model") from None

    def create(self, path: str, *arguments: Any) -> Any:
        """The component itself. Raises BadInput that names an option below `path`, the place where it was chosen."""
        try:
            return self.component.create(self.used, *arguments)
        except BadInput as error:
            # What fits no model around it is told by the path of the model, which is complete.
            raise error if error.where.startswith("model.") else error.under(path) from None


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
    """A diagnostic with the number of steps between two measurements.

    asked: whether a user names it; else it may be there because an attention asks to have it watched.
    """

    every: int
    asked: bool = attrs.field(default=True, eq=False)

    def table(self) -> dict[str, Any]:
        """The table that chooses this again."""
        return {"every": self.every, **unstructure(self.options)}


@attrs.frozen(kw_only=True, repr=False)
class Config:
    """A resolved run: every component found, every option validated. `to_dict` replays it."""

    seed: int
    allow_leak: bool
    task: Chosen
    model: Chosen
    embed: Chosen | None
    attn: Chosen
    attn_layers: Mapping[int, Chosen]
    mlp: Chosen | None
    mlp_layers: Mapping[int, Chosen]
    losses: Mapping[str, ChosenLoss]
    optim: Chosen
    train: TrainConfig
    diagnostics: Mapping[str, ChosenDiagnostic]
    recorders: Mapping[str, Chosen]

    @functools.cached_property
    def sizes(self) -> Sizes:
        """What the model says of itself. Raises BadInput where it cannot say it."""
        return self.model.sizes()

    def attention_of(self, layer: int) -> Chosen:
        """The attention of a layer, counted from 0."""
        return self.attn_layers.get(layer, self.attn)

    @property
    def attentions(self) -> dict[int, Chosen]:
        """The attention of each layer that has a slot for one."""
        return {layer: self.attention_of(layer) for layer in self.sizes.attention_layers}

    @property
    def mlps(self) -> dict[int, Chosen]:
        """The MLP of each layer; empty where the model brings its own."""
        return {} if self.mlp is None else {i: self.mlp_layers.get(i, self.mlp) for i in self.sizes.mlp_layers}

    @property
    def parts(self) -> list[Chosen]:
        """Every component of the model but the model itself, each once per place that it has."""
        return [*([self.embed] if self.embed else []), *self.attentions.values(), *self.mlps.values()]

    @property
    def components(self) -> list[Chosen]:
        """Every component that the result depends on: all but the recorders."""
        chosen = [self.task, self.model, *self.parts, self.optim]
        return [*chosen, *self.losses.values(), *self.diagnostics.values()]

    def path_of(self, section: str, layer: int) -> str:
        """Where the attention (`attn`) or the MLP (`mlp`) of a layer is chosen, for messages."""
        own = self.attn_layers if section == "attn" else self.mlp_layers
        return f"{section}.layers.{layer}" if layer in own else section

    @property
    def title(self) -> str:
        """`task-attention`: the name of a run unless another is given."""
        names = dict.fromkeys(chosen.name for chosen in self.attentions.values()) or {self.model.name: None}
        return f"{self.task.name}-{'-'.join(names)}".replace(":", "-")

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `load_config` turns into an equal configuration."""
        losses: dict[str, Any] = {name: loss.table() for name, loss in self.losses.items()}
        if "cross_entropy" not in losses and not any(
            "cross_entropy" in x.component.replaces for x in self.losses.values()
        ):
            losses["cross_entropy"] = None
        diagnostics: dict[str, Any] = dict.fromkeys(watched([self.attn, *self.attn_layers.values()]))
        diagnostics.update((name, diagnostic.table()) for name, diagnostic in self.diagnostics.items())
        return {
            "seed": self.seed,
            **({"allow_leak": True} if self.allow_leak else {}),
            "task": self.task.table(),
            "model": self.model.table(),
            **({} if self.embed is None else {"embed": self.embed.table()}),
            "attn": _layered(self.attn, self.attn_layers),
            **({} if self.mlp is None else {"mlp": _layered(self.mlp, self.mlp_layers)}),
            "losses": losses,
            "optim": self.optim.table(),
            "train": unstructure(self.train),
            "diagnostics": diagnostics,
            **self._recorders(),
        }

    def _recorders(self) -> dict[str, Any]:
        """The section `recorders`; nothing where the usual one stands alone, as in every run before there were others."""
        tables: dict[str, Any] = {name: unstructure(chosen.options) for name, chosen in self.recorders.items()}
        usual = self.recorders.get(USUAL_RECORDER)
        if usual is None:
            tables[USUAL_RECORDER] = None
        elif len(tables) == 1 and usual.options == usual.component.config_class():
            return {}
        return {"recorders": tables}

    def __repr__(self) -> str:
        return f"{self.title}\n{self.to_yaml()}"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def to_yaml(self) -> str:
        """`to_dict` as YAML."""
        return dump_yaml(self.to_dict())


def _layered(chosen: Chosen, layers: Mapping[int, Chosen]) -> dict[str, Any]:
    """The table of a section whose component may be another one in single layers."""
    own = {"layers": {layer: other.table() for layer, other in layers.items()}} if layers else {}
    return {**chosen.table(), **own}


def watched(attentions: Iterable[Chosen]) -> list[str]:
    """The diagnostics that these attentions ask for, each once."""
    return list(dict.fromkeys(name for chosen in attentions for name in chosen.component.watch))
