"""What a component must be once it is built: every contract on one page, so that an author reads it in one sitting.

Shapes: B batch, T positions, D width, H heads, V vocabulary, L layers.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lot.errors import BadInput

if TYPE_CHECKING:
    import torch.distributed as dist
    import torchmetrics
    from matplotlib.figure import Figure

Split = Literal["train", "validation", "test"]
"""A part of the data of a task; no example is in two of them."""
Positions = Literal["learned", "rotary", "none"]
"""How positions are encoded: added by the trunk, turned into queries and keys by the attention, or not at all."""
GeneratorFor = Callable[[str], torch.Generator]
"""Gives the generator of a parameter's initial value, keyed by the name of the parameter: `generator_for("out.weight")`."""
Cache = Any
"""What an attention keeps of the tokens so far while it decodes: its own affair (`Attention.init_cache` makes one)."""
IGNORED = -100
"""The target of a position that is not scored (the default `ignore_index` of torch's cross-entropy)."""


@dataclass(frozen=True, kw_only=True)
class Dims:
    """What a module must know about the model around it.

    layer counts from 0; max_len in tokens; causal: asked for by the task; positions: how the trunk encodes
    positions (`rotary` is applied by the attention); dropout: probability on attention weights while training;
    token_counts: (V,) int64 occurrences in the training split, or None where the task does not count.
    head_channels: channels of a head where they are not D / H. kv_heads: heads of keys and values, each of which serves
    H / kv_heads heads of queries; None: H. qk_norm: whether queries and keys of a head are normalized (RMS) before they are
    turned. rope_base, rotary_fraction: the slowest rotary wavelength / 2 pi, and the share of a head's channels that turn.
    bias: whether linear maps have one. qkv_bias: whether those to queries, keys and values have one; None: as `bias`.
    mlp_ratio: channels inside an MLP, divided by D. norm_eps: added to a variance.
    `lot.nn.Projections` heeds what concerns heads; a mechanism without them is refused where these are not the defaults.
    """

    width: int
    heads: int
    max_len: int
    vocab_size: int
    layer: int = 0
    layers: int = 1
    causal: bool = True
    positions: Positions = "learned"
    dropout: float = 0.0
    token_counts: Tensor | None = None
    head_channels: int | None = None
    kv_heads: int | None = None
    qk_norm: bool = False
    rope_base: float = 10000.0
    rotary_fraction: float = 1.0
    bias: bool = True
    qkv_bias: bool | None = None
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-5

    @property
    def head_width(self) -> int:
        """Channels of a head: d = D / H unless `head_channels` says otherwise."""
        return self.width // self.heads if self.head_channels is None else self.head_channels

    @property
    def hidden(self) -> int:
        """Channels inside an MLP."""
        return max(1, round(self.mlp_ratio * self.width))


@dataclass(frozen=True)
class Context:
    """What every module is told about the pass.

    step: () int64 optimizer step, a tensor so that a compiled model is not compiled again for each step.
    start: position of the first token of `x` in its sequence (nonzero when decoding with a cache).
    padding: (B, T) bool, True where a token is padding, or None.
    group: processes over which the sequences are spread, in the order of their ranks: `x` and `padding` are the part from
    `start` on; or None, where `x` is all there is.
    positions: (B, T) int64, the position of each token where sequences do not all begin at `start` (behind padding, say), or
    None: `start` and following.
    segments: (B, T) int64, where several documents share a row: a new number begins a new document, which must be computed as
    a sequence of its own; or None, where each row is one.
    documents: a `lot.nn.Documents`, which tells where they lie, found once for a batch (`lot.nn.context`); or None. With it, each
    document has a number of its own, padding has -1, and `positions` begin at 0 in each.
    """

    step: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    start: int = 0
    padding: Tensor | None = None
    group: dist.ProcessGroup | None = None
    positions: Tensor | None = None
    segments: Tensor | None = None
    documents: Any = None


class Output(NamedTuple):
    """What the model returns: logits (B, T, V); attention signals as `signals[name][layer]`, others as `signals[name]`."""

    logits: Tensor
    signals: dict[str, Any]


class Batch(NamedTuple):
    """inputs (B, T) int64; targets (B, T) int64 with -100 where nothing is scored; padding (B, T) bool or None.

    segments: (B, T) int64, a new number where a new document begins in a row, or None where each row is one (see
    `Task.segments`). They stay on the CPU, whatever the device of the others: what is made of them are sizes.
    """

    inputs: Tensor
    targets: Tensor
    padding: Tensor | None = None
    segments: Tensor | None = None

    def scored(self) -> Tensor:
        """The number () int64 of targets that are scored."""
        return (self.targets != IGNORED).sum()

    def tokens(self) -> Tensor:
        """The number () int64 of tokens that are no padding."""
        if self.padding is None:
            return torch.full((), self.inputs.numel(), device=self.inputs.device)
        return (~self.padding).sum()


class Attention(nn.Module):
    """A mechanism that mixes positions: `forward(x (B, T, D), ctx) -> (y (B, T, D), signals)`.

    Class or instance attributes:
    causal: what was built; output t depends on inputs up to t only.
    want: signals asked for, set once when the run is composed; what is not in it is not computed.
    inert: names of parameters that cannot act in this configuration, each with its reason in a comment.
    rotary: whether this module turns queries and keys when `dims.positions` is "rotary".
    tolerance: 0, or the error (relative to the output) up to which causality holds where a bit-exact form is impossible.
    depends_on_length: whether the output for a sequence depends on how long it is, so that a prefix alone gives something
    else than within the whole. Such a module offers no cache. It still sees no later input: that is probed at equal length.
    straight_through: "", or in a few words what its gradients approximate, such as "a spike by a sigmoid of slope 4"; then
    they need not agree with differences of the output.
    segments: whether it heeds `ctx.segments` by itself. One that does not is given each document as a sequence of its own
    (`lot.nn.apart`), so that it need not know of them; say True only where an own form is cheaper.

    Optional, for decoding with a cache: `init_cache(batch, device, dtype)`, `prefill(x, ctx, cache)` and
    `decode(x (B, 1, D), ctx, cache)`, the latter two returning (y, cache); `lot.nn.CachedAttention` has what is common.
    Optional: `ablate(generator)`, a context manager in which the mechanism's state is randomized.
    Optional: `neutral()`, a context manager in which the mechanism is left out.
    """

    causal: bool = True
    want: frozenset[str] = frozenset()
    inert: frozenset[str] = frozenset()
    rotary: bool = False
    tolerance: float = 0.0
    depends_on_length: bool = False
    straight_through: str = ""
    segments: bool = False

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Set the initial value of every parameter; `generator_for(name)` is keyed by that parameter's name.

        The default draws linear and embedding weights from N(0, 0.02), zeroes their biases, resets norms, and
        leaves parameters that the module made by itself as its constructor set them.
        """
        reset_standard(self, generator_for)

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D) and the signals in `want` that this module emits."""
        raise NotImplementedError

    def can_decode(self) -> bool:
        """Whether this module offers decoding with a cache."""
        return hasattr(self, "init_cache")

    def neutral(self) -> contextlib.AbstractContextManager[None]:
        """A context in which this module computes vanilla attention, with its own `lot.nn.Projections`, to 1e-5.

        Mask, positions, dropout and decoding are vanilla's too. It may last for a whole training, and may be entered again
        while it lasts; a cache that was made inside serves inside only.
        Raises BadInput that says why where the mechanism, with these options, has no such form: the default.
        """
        raise BadInput("this attention has no neutral form: it replaces vanilla attention, and adds nothing to it")

    def check_spread(self, positions: int, processes: int) -> None:
        """Raise BadInput unless sequences may be spread over `processes`, `positions` in a row to each (see `Context.group`).

        A module that brings the parts together overrides this; the default is that it needs whole sequences.
        """
        raise BadInput(
            "this attention needs whole sequences", fix="set train.context_parallel=1, or choose one that can be spread"
        )


class Embedding(nn.Module):
    """Tokens to vectors: `forward(ids (B, T), ctx) -> (x (B, T, D), signals)`. `weight` (V, D), if any, can be tied to the head.

    want, inert, straight_through, segments: as those of `Attention`. One that heeds `ctx.positions`, or needs none, heeds
    segments.
    """

    want: frozenset[str] = frozenset()
    inert: frozenset[str] = frozenset()
    straight_through: str = ""
    segments: bool = False
    weight: Tensor | None = None

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """As `Attention.reset_parameters`."""
        reset_standard(self, generator_for)

    def forward(self, ids: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """x (B, T, D) and the signals in `want` that this module emits."""
        raise NotImplementedError


class MLP(nn.Module):
    """The other half of a block, which mixes channels: `forward(x (B, T, D), ctx) -> (y (B, T, D), signals)`.

    Each token is mixed by itself: y at a position depends on x there, on `ctx` and on nothing else.
    want, inert, straight_through, reset_parameters: as for an `Attention`.
    """

    want: frozenset[str] = frozenset()
    inert: frozenset[str] = frozenset()
    straight_through: str = ""

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """As `Attention.reset_parameters`."""
        reset_standard(self, generator_for)

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D) and the signals in `want` that this module emits."""
        raise NotImplementedError


@dataclass(frozen=True)
class Parts:
    """What a model is built around.

    dims: those of layer 0. embedding, attentions, mlps: what the configuration chose, the latter two by layer; None or empty
    where the model brings its own (see `lot.Sizes`).
    """

    dims: Dims
    embedding: Embedding | None
    attentions: dict[int, Attention]
    mlps: dict[int, MLP]


class Model(nn.Module, abc.ABC):
    """A trunk around the parts that a configuration chooses: ids (B, T) -> Output(logits (B, T, V), signals).

    dims: those of layer 0. embedding: the module that turns ids (B, T) into vectors.
    want: the signals that a pass returns; set it with `set_want`, once, before compiling.
    loaded: names of parameters that come with values of their own, and are not initialized.
    segments: whether documents that share a row are computed as sequences of their own (see `Context.segments`): the model
    calls `lot.nn.with_documents` first, embedding and attentions through `lot.nn.apart`, and heeds `ctx.positions`. A model
    that does not is refused with a task that has such documents.
    """

    dims: Dims
    embedding: nn.Module
    want: frozenset[str] = frozenset()
    loaded: frozenset[str] = frozenset()
    segments: bool = False

    @abc.abstractmethod
    def forward(self, ids: Tensor, ctx: Context | None = None) -> Output:
        """ids (B, T) int64, T up to `dims.max_len`. A signal of a part in a layer is `signals[name][layer]`."""

    @abc.abstractmethod
    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Set every initial value that is not `loaded`, each keyed by the name of its parameter in the model."""

    @property
    @abc.abstractmethod
    def attentions(self) -> dict[int, Attention]:
        """The attentions that the configuration chose, by layer."""

    @property
    @abc.abstractmethod
    def mlps(self) -> dict[int, MLP]:
        """The MLPs that the configuration chose, by layer."""

    @property
    @abc.abstractmethod
    def layers(self) -> list[nn.Module]:
        """The blocks, in order of depth: what is sharded, and recomputed in backward, as one."""

    def set_want(self, want: frozenset[str]) -> None:
        """Ask for the signals `want` from here on; each part is told of all and gives those that it has."""
        self.want = want
        parts: list[Any] = [self.embedding, *self.attentions.values(), *self.mlps.values()]
        for part in parts:
            part.want = want

    def splits(self) -> bool:
        """Whether the model offers `lower` and `upper`, which `train.cache_prefix` needs."""
        return type(self).lower is not Model.lower and type(self).upper is not Model.upper

    def lower(self, ids: Tensor, ctx: Context, layers: int) -> tuple[Tensor, dict[str, Any]]:
        """x (B, T, D) as it is after the first `layers` layers, and the signals of all up to there.

        Optional, with `upper`: `forward` on ids is `upper` on what `lower` gives for them, at any number of layers. `lower`
        depends on parameters of the embedding and of these layers, and on those of the model that are in no layer.
        """
        raise NotImplementedError

    def upper(self, x: Tensor, ctx: Context, layers: int) -> Output:
        """What comes of x (B, T, D), which `lower` gave: logits, and the signals of the layers from `layers` on."""
        raise NotImplementedError

    def can_decode(self) -> bool:
        """Whether the model decodes with a cache: by default whether every attention does."""
        return all(attention.can_decode() for attention in self.attentions.values())

    def init_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> list[Any]:
        """The caches of `batch` sequences before their first token."""
        raise NotImplementedError

    def extend(self, ids: Tensor, ctx: Context, caches: list[Any]) -> tuple[Tensor, list[Any]]:
        """Logits (B, n, V) of the next n tokens, and the caches that have taken them in, to be given to the next call.

        ctx.start: the position of the first of them. A cache that is returned may be a new object, and the one that was
        given may have been changed: only the returned ones hold what comes next.
        """
        raise NotImplementedError


class Task(abc.ABC):
    """Data and its score.

    vocab_size: V. seq_len: T of every batch. causal: whether predicting position t from later inputs would be cheating.
    token_counts: (V,) int64 occurrences in the training split, or None.
    primary: the metric that chooses the best checkpoint; its direction is that metric's `higher_is_better`.
    repeats: "", or in a few words why examples of two splits may be alike, such as "the text repeats passages": the kit then
    tells how many are, and passes up to a quarter.
    origin: a digest of the files that the data come from, or None where they come from the seed alone. A run that is resumed
    or evaluated on others says so.
    bos, eos: the tokens that stand before a text and end it, as the tokenizer of the task has them; None where it has none.
    adds_bos: whether that tokenizer puts `bos` before a text by itself, as models that come with it expect; `encode` does not.
    segments: whether its batches have `Batch.segments`.

    A task whose data or tokens come from files gives `assets` and `from_assets`: a run keeps what they say, and can then be
    used where the files are not.
    """

    vocab_size: int
    seq_len: int
    causal: bool = True
    token_counts: Tensor | None = None
    primary: str = "loss"
    repeats: str = ""
    origin: str | None = None
    bos: int | None = None
    eos: int | None = None
    adds_bos: bool = False
    segments: bool = False

    @abc.abstractmethod
    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        """Batch `index` of a split: a pure function of (seed, split, index, size). Splits never overlap.

        Training goes on for ever (a finite training split begins again, in another order). Validation and test hold
        `length(split)` examples: batch i has examples i * size and following, the last batch may be short, and an
        index beyond the end raises IndexError.
        """

    @abc.abstractmethod
    def length(self, split: Split) -> int | None:
        """Number of distinct examples of a split; None, for training only, where there is no end."""

    @abc.abstractmethod
    def metrics(self) -> torchmetrics.MetricCollection:
        """Fresh metrics, each updated with (logits (B, T, V) float32, targets (B, T)); `loss` is among them."""

    @abc.abstractmethod
    def decode(self, ids: Any) -> str:
        """Token ids (T,) as text for people."""

    def encode(self, text: str) -> list[int]:
        """Text as token ids, for prompts. Raises BadInput for text that the vocabulary cannot hold."""
        raise BadInput(f"{type(self).__name__} has no text form: a prompt cannot be encoded")

    def sources(self) -> dict[str, dict[str, Any]]:
        """What the data come from where an option names more than a file: by option, absolute `path`, `bytes` and `digest`."""
        return {}

    def assets(self) -> dict[str, bytes]:
        """What a run keeps of the files that this task reads, so that the task can be used without them: content by file name.

        Sizes, vocabulary, token counts, a tokenizer; never the data. Empty, the default: options and seed say all.
        """
        return {}

    @classmethod
    def from_assets(cls, config: Any, seed: int, assets: Mapping[str, bytes], data: Path | None = None) -> Task:
        """The task from what `assets` gave: it encodes, decodes and has the sizes and counts of the one that gave them.

        config: perhaps with other options, such as another length. data: a file in place of the one that the task reads.
        Without it the task reads its own when it is first asked for a batch; where that is not there, `batch` and `length`
        raise BadInput, which says which file it is, its size and digest. The default makes the task from options and seed.
        """
        if data is not None:
            raise BadInput("this task reads no file", where="--data", expected="none", got=str(data))
        return cls(config, seed)  # type: ignore[call-arg]

    def example(self, rng: np.random.Generator) -> str:
        """One training example as a short text that shows what is asked (and what is scored)."""
        batch = self.batch("train", int(rng.integers(2**31)), 1)
        scored = torch.where(batch.targets[0] == IGNORED, batch.inputs[0], batch.targets[0])
        return f"input:  {self.decode(batch.inputs[0])}\ntarget: {self.decode(scored)}"


class Loss(abc.ABC):
    """Named terms of the objective; the engine applies weight and schedule and logs each term.

    A term is a mean over a batch, and a batch may come in parts: over several processes, or in micro-steps. So a loss
    gives the *sum* over its part (by being called) and the number that the sum is divided by (`counts`); the engine adds
    both up over all parts before it divides. Three sequences of which one has a single scored target then weigh as in one
    large batch. What is no mean but depends on one (a squared mean, say) is made of the means in `finish`.

    needs: signals that `output.signals` must hold when this loss is called.
    optional: signals that it uses where the model gives them; it says in its description what it does without.
    per_target: whether every term is a sum over scored targets of what depends on the logits there alone, so that a part of
    a sequence can be scored by itself.
    """

    needs: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    per_target: bool = False

    @abc.abstractmethod
    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """The sum () of each term over the batch, by name, differentiable. Where `finish` is defined: of any shape."""

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """What the sum of each term is divided by, () each, known from the batch alone.

        A term that is left out is divided by the number of scored targets. `batch.scored()` and `batch.tokens()` count.
        """
        return {}

    def finish(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms () by name, made of the means over the whole batch; the default is the means themselves.

        A loss that defines this depends on the whole batch at once: processes bring the sums together before it is called,
        and `train.accumulate` is refused.
        """
        return means

    @property
    def needs_whole_batch(self) -> bool:
        """Whether the terms are more than means over the batch (see `finish`)."""
        return type(self).finish is not Loss.finish

    def terms(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """The terms () of a batch that comes in one part, by name; their sum is what the weight multiplies."""
        sums, counts = self(output, batch, ctx), self.counts(batch)
        return self.finish(
            {name: total / _at_least_one(counts.get(name, batch.scored())) for name, total in sums.items()}
        )


@dataclass
class Probe:
    """What a diagnostic sees: a pass of its own, which cannot change training.

    model: in evaluation mode. batch: from the validation split or, where `prompted`, one text of the user.
    output: with the signals that the diagnostics need. generator: keyed by (seed, "diagnostic", name, step).
    gradients(): gradient of the objective by parameter name, on request.
    """

    model: Model
    batch: Batch
    output: Output
    ctx: Context
    task: Task
    generator: torch.Generator
    gradients: Callable[[], dict[str, Tensor]]
    prompted: bool = False


class Record(NamedTuple):
    """What a diagnostic measured at a step: name -> tensor on the CPU."""

    step: int
    values: dict[str, Tensor]

    @property
    def scalars(self) -> dict[str, Tensor]:
        """The values of one element, each of shape (): what goes to the log."""
        return {name: value.reshape(()) for name, value in self.values.items() if value.numel() == 1}


class Diagnostic(abc.ABC):
    """Measures a model during training and draws what it measured.

    needs: signals of the probe's output. headline: the scalar shown in the progress line, or None. examples: sequences
    that it wants to see, at most.

    Optional: `animate(records, path)`, which writes an animation to `path` (.gif or .mp4, by `lot.figure.save_animation`)
    or raises BadInput where there is nothing to animate.
    """

    needs: frozenset[str] = frozenset()
    headline: str | None = None
    examples: int = 64

    @abc.abstractmethod
    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """Values by name. Scalars, which are finite, go to the log; everything becomes a snapshot file.

        An array may hold NaN where there is nothing to measure.
        """

    def draw(self, records: list[Record]) -> Figure | None:
        """A matplotlib figure of the records of a run (oldest first), or None where there is nothing to draw."""
        return None

    def verdict(self, records: list[Record]) -> str | None:
        """One line that says what the numbers mean (with number and threshold), or None."""
        return None

    def alarm(self, records: list[Record]) -> str | None:
        """One line of warning, asked for after each measurement with the latest ones (scalars only), or None."""
        return None


@dataclass(frozen=True)
class Recording:
    """The run that a recorder is opened for.

    path: its directory. title: its name, for people. config: its configuration as plain data, by section. leak: whether the
    model sees what it is asked to predict, which a recorder shows where its readers look first.
    step: optimizer steps that are done. resumed: whether the run goes on from a checkpoint of its own.
    rows: rows of its log that come before what it will write now. given: rows that this recorder had been given when the run
    stopped, where it is `final`; else 0.
    kept: plain data that stay with the run. Put in what the next `open` needs, such as the number of a remote run.
    """

    path: Path
    title: str
    config: Mapping[str, Any]
    leak: bool
    step: int
    resumed: bool
    rows: int
    given: int
    kept: dict[str, Any]


class Recorder(abc.ABC):
    """Takes the rows of a run to another place, beside the log of the run, which stays the record.

    It is made in every process, and opened in the main one alone. From `open` to `close` a thread of its own calls it, so
    that the run waits for nothing that it waits for. What it raises is told once; the run then goes on without it. It imports
    the package that it needs in `open`, never before.

    final: whether what it was given cannot be taken back, as in a service. LOT then counts the rows that it has.
    pictures: whether it wants the pictures of the diagnostics, drawn at the end of the run. They need matplotlib.
    """

    final: bool = False
    pictures: bool = False

    @abc.abstractmethod
    def open(self, recording: Recording) -> int:
        """Begin, or go on with a run that is resumed; the rows of the log that are held already, from the first on.

        Rows beyond that number are written now: first those of the log (all `recording.rows`, where a recorder is new to a
        run), then those to come. What is held beyond `recording.rows` is dropped, or else counted: a resumed run writes the
        same rows again. A `final` recorder returns `recording.given`.
        """

    @abc.abstractmethod
    def write(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """Take a row. group: `train`, `validation`, `speed` or the name of a diagnostic; a value may be NaN."""

    def result(self, split: str, step: int, metrics: Mapping[str, float]) -> None:  # noqa: B027
        """Take the final metrics of a run that is complete, measured at `step` on `split`."""

    def picture(self, name: str, step: int, png: bytes) -> None:  # noqa: B027
        """Take the picture of the diagnostic `name`, drawn after `step`."""

    def flush(self) -> None:  # noqa: B027
        """Bring what was given to where the end of the process does not reach it; called after each checkpoint."""

    def close(self, state: str) -> None:  # noqa: B027
        """End. state: `complete`, `failed` or `interrupted`, as in status.json."""


class Kernel(abc.ABC):
    """Compiled code of a plugin."""

    @abc.abstractmethod
    def build(self) -> str:
        """Compile for this machine; one line that says what was built. Raises RunFailed when it cannot."""

    @abc.abstractmethod
    def status(self) -> str:
        """One line: built or not, for what, and which form runs now."""

    @abc.abstractmethod
    def form(self, device: torch.device) -> str:
        """What computes on `device`, built now where it has to be: a name that changes when bits may.

        A run records it in its fingerprint. Raises RunFailed where compiled code is required and cannot be had.
        """


def _at_least_one(count: Tensor) -> Tensor:
    """A sum over nothing is 0, not NaN."""
    return count.clamp(min=1)


def ablation(module: nn.Module, generator: torch.Generator) -> contextlib.AbstractContextManager[None]:
    """A context in which the mechanism's state is randomized, or one that changes nothing where there is none."""
    ablate = getattr(module, "ablate", None)
    return ablate(generator) if ablate is not None else contextlib.nullcontext()


def reset_standard(module: nn.Module, generator_for: GeneratorFor) -> None:
    """GPT-2's initial values: weights of linear maps and embeddings from N(0, 0.02), biases 0, norms at identity."""
    for path, child in module.named_modules():
        dot = f"{path}." if path else ""
        if isinstance(child, (nn.Linear, nn.Embedding)):
            nn.init.normal_(child.weight, std=0.02, generator=generator_for(f"{dot}weight"))
            if getattr(child, "bias", None) is not None:
                nn.init.zeros_(child.bias)  # type: ignore[arg-type]
        elif isinstance(child, (nn.LayerNorm, nn.RMSNorm)):
            child.reset_parameters()
