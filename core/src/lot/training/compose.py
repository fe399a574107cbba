"""Putting a run together, and refusing, before anything is touched, what does not fit."""

from __future__ import annotations

from dataclasses import dataclass

from lot.config.schema import ChosenDiagnostic, Config
from lot.contracts import Diagnostic, Model, Recorder, Task
from lot.errors import BadInput
from lot.model.build import build_model, build_task, leaks, memory
from lot.model.neutral import check_neutral
from lot.model.prefix import WHERE, keep_prefix
from lot.plugins.registry import registry
from lot.signals import SIGNALS
from lot.training.objective import Objective
from lot.training.trained_part import train_only, trained


@dataclass
class Composition:
    """All parts of a run, on the CPU, fitting each other."""

    config: Config
    task: Task
    model: Model
    objective: Objective
    diagnostics: dict[str, tuple[ChosenDiagnostic, Diagnostic]]
    recorders: dict[str, Recorder]
    leak: bool
    notes: tuple[str, ...] = ()
    """What was left out, for the head of the run."""

    @property
    def attention_distributions(self) -> set[str]:
        """The distributions that the attentions of the model come from."""
        return {chosen.component.distribution for chosen in self.config.attentions.values()}

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    @property
    def resting(self) -> int:
        """Number of those that stay as they are (see `train.only`)."""
        return sum(p.numel() for p in self.model.parameters() if not p.requires_grad)


def compose(config: Config, task: Task | None = None, processes: int = 1) -> Composition:
    """The parts of the run that `config` describes. Raises BadInput for what does not fit.

    task: its task, if it is at hand. processes: among which each batch is shared out.
    """
    objective = Objective(config.losses, signals_given(config))
    diagnostics = {name: (chosen, chosen.create(f"diagnostics.{name}")) for name, chosen in config.diagnostics.items()}
    recorders: dict[str, Recorder] = {n: chosen.create(f"recorders.{n}") for n, chosen in config.recorders.items()}
    for name in objective.losses:
        check_signals(config, f"loss {name}", objective.needs(name))
    for name, (_, diagnostic) in diagnostics.items():
        check_signals(config, f"diagnostic {name}", diagnostic.needs)
    task = build_task(config) if task is None else task
    _check_memory(config, task, processes)
    model = build_model(config, task)
    if config.train.neutral:
        check_neutral(config, model.dims)
    train_only(model, config.train.only)
    if config.train.cache_prefix:
        _check_prefix(config, processes)
        keep_prefix(model, trained(model, config.train.only), config=config)
    model.set_want(objective.want)
    _check_accumulation(config, objective)
    _check_spread(config, task, model, objective)
    check_documents(config, task, model)
    for name in objective.losses:
        check_signals_of_documents(config, task, f"loss {name}", objective.needs(name))
    notes = []
    for name, (chosen, diagnostic) in [*diagnostics.items()]:
        lost = signals_lost(config, task, diagnostic.needs)
        if lost and not chosen.asked:
            del diagnostics[name]
            notes.append(
                f"diagnostic {name} is left out: documents are apart, and LOT does not know the shape of {lost[0]}"
            )
        else:
            check_signals_of_documents(config, task, f"diagnostic {name}", diagnostic.needs)
    leak = leaks(config, task, model)
    return Composition(config, task, model, objective, diagnostics, recorders, leak, tuple(notes))


def _check_memory(config: Config, task: Task, processes: int) -> None:
    """Refuse a batch whose token ids, residual stream and logits alone exceed this machine's memory."""
    batch_size, tokens = config.train.batch_size, config.train.batch_size * task.seq_len / processes
    sizes = config.sizes
    kept = sizes.width * (1 if getattr(config.model.options, "recompute", False) else sizes.layers)
    needed = 16 * tokens * config.train.accumulate + 2 * tokens * (kept + task.vocab_size)  # bfloat16 at least
    if needed > (available := memory()):
        raise BadInput(
            where="train.batch_size",
            expected=f"a batch that fits into the memory of {available / 2**30:.1f} GiB",
            got=f"{batch_size}, which needs more than {needed / 2**30:.3g} GiB with {task.seq_len} tokens each",
            fix="lower it; train.accumulate makes up for it",
        )


def _check_prefix(config: Config, processes: int) -> None:
    """Refuse to keep states of a prefix where no process has whole sequences, or whole layers."""
    for name, spread in (
        ("context_parallel", config.train.context_parallel > 1),
        ("parallel", processes > 1 and config.train.parallel == "fsdp"),
    ):
        if spread:
            raise BadInput(
                f"states are kept of whole sequences and whole layers, and train.{name} spreads them over processes",
                where=WHERE,
                fix="leave out one of the two; train.parallel=ddp copies the model to each process",
            )


def _check_accumulation(config: Config, objective: Objective) -> None:
    """Refuse micro-steps where a loss could not be what it is on one large batch."""
    for name in objective.losses:
        if config.train.accumulate > 1 and (reason := objective.needs_whole_batch(name)) is not None:
            raise BadInput(
                f"cannot be computed in micro-steps: {reason}",
                where=f"losses.{name}",
                fix="set train.accumulate=1 (with a larger train.batch_size, or more processes)",
            )


def _check_spread(config: Config, task: Task, model: Model, objective: Objective) -> None:
    """Refuse to spread sequences over processes where they come out unequal, or where a part could not do a part of the work."""
    span = config.train.context_parallel
    if span == 1:
        return
    if task.segments:
        raise BadInput(
            "cannot be told apart where sequences are spread over processes",
            where="documents that share a row",
            fix=f"set train.context_parallel=1, or let the task join them (lot show {config.task.name})",
        )
    if task.seq_len % span:
        raise BadInput(
            where="train.context_parallel", expected=f"a divisor of the task's {task.seq_len} tokens", got=span
        )
    for layer, attention in model.attentions.items():
        try:
            attention.check_spread(task.seq_len // span, span)
        except BadInput as error:
            raise error.under(config.path_of("attn", layer)) from None
    for name, (_, loss) in objective.losses.items():
        if not loss.per_target:
            raise BadInput(
                "this loss needs whole sequences",
                where=f"losses.{name}",
                fix="leave it out, or set train.context_parallel=1",
            )


def check_documents(config: Config, task: Task, model: Model) -> None:
    """Refuse a model that cannot tell apart the documents that share a row."""
    if task.segments and not model.segments:
        raise BadInput(
            f"task {config.task.name} tells apart the documents that share a row, and model {config.model.name} cannot",
            where="task",
            fix=f"let the task join them (lot show {config.task.name}), or choose another model",
        )


def signals_lost(config: Config, task: Task, needs: frozenset[str]) -> list[str]:
    """Those of the signals in `needs` that are left out where documents that share a row are told apart: of unknown shape."""
    apart = frozenset().union(
        *(part.component.emits for part in config.parts if part.component.kind in ("attention", "embedding"))
    )
    return sorted((needs & apart) - SIGNALS.keys()) if task.segments else []


def check_signals_of_documents(config: Config, task: Task, who: str, needs: frozenset[str]) -> None:
    """Refuse a signal that is left out where documents that share a row are told apart."""
    if lost := signals_lost(config, task, needs):
        raise BadInput(
            f"{who} needs the signal {lost[0]!r}, whose shape LOT does not know, so that it cannot be told where documents "
            f"that share a row are computed apart",
            fix=f"leave {who} out, or let the task join documents (lot show {config.task.name})",
        )


def signals_given(config: Config) -> frozenset[str]:
    """The signals that some part of this model can give."""
    return frozenset().union(*(chosen.component.emits for chosen in (config.model, *config.parts)))


def check_signals(config: Config, who: str, needs: frozenset[str]) -> None:
    """Refuse a signal that no part of this model gives."""
    for signal in sorted(needs - signals_given(config)):
        givers = [
            f"{kind} {component.name}"
            for kind in ("attention", "embedding", "mlp", "model")
            for component in registry().components(kind)
            if signal in component.emits
        ]
        names = ", ".join(sorted({f"{chosen.component.kind} {chosen.name}" for chosen in config.parts}))
        hint = f"given by {', '.join(givers)}" if givers else "nothing that is installed gives it"
        raise BadInput(
            f"{who} needs the signal {signal!r}, which no part of the model gives ({names})",
            fix=hint,
        )
