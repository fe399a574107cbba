"""The model of a run as an exported program of torch, for any batch size and length."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lot.contracts import Context
from lot.errors import BadInput, first_line
from lot.nn.export_forms import decomposed, foreign_operators
from lot.random import torch_generator

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from lot.runs.load import RecordedRun

BATCH = 3
"""Sequences of the example that is traced: not 1, which torch would take for a constant."""


class Outputs(nn.Module):
    """ids (B, T) int64 -> logits (B, T, V), at the step at which the model was saved; with signals, a table of all by name.

    A signal of the attention of layer 0 is named as in `phase.0`.
    """

    def __init__(self, loaded: RecordedRun, signals: frozenset[str]) -> None:
        super().__init__()
        self.model, self.signals = loaded.model, signals
        self.model.set_want(signals)
        self.step = nn.Buffer(torch.tensor(loaded.step))

    def forward(self, ids: Tensor) -> Tensor | dict[str, Tensor]:
        """The logits, or what stands beside them too."""
        output = self.model(ids, Context(step=self.step))
        if not self.signals:
            logits: Tensor = output.logits
            return logits
        found = {"logits": output.logits}
        for name in sorted(self.signals & output.signals.keys()):
            value = output.signals[name]
            layers = value.items() if isinstance(value, dict) else ()
            found |= {f"{name}.{layer}": each.clone() for layer, each in layers}
            if isinstance(value, Tensor):
                found[name] = value.clone()  # a parameter may be given as it is
        return found


@dataclass(frozen=True)
class Sizes:
    """What a program takes: one batch size or any, one length or any up to the longest of the model."""

    batch: int | None
    length: int | None
    max_len: int

    def __str__(self) -> str:
        batch = "any batch" if self.batch is None else f"a batch of {self.batch}"
        return f"{batch}, {f'up to {self.max_len}' if self.length is None else self.length} tokens"


def check_signals(loaded: RecordedRun, names: frozenset[str]) -> None:
    """Raises BadInput for a signal that this model does not give."""
    from lot.training.compose import signals_given

    given = signals_given(loaded.config)
    for name in sorted(names - given):
        raise BadInput(where="--signals", expected=f"signals of this model ({', '.join(sorted(given))})", got=name)
    loaded.model.set_want(names)
    with torch.no_grad():
        emitted = loaded.model(torch.zeros(1, 1, dtype=torch.int64)).signals.keys()
    for name in sorted(names - emitted):
        raise BadInput(
            where="--signals", expected=f"signals that these options give ({', '.join(sorted(emitted))})", got=name
        )


def exported(loaded: RecordedRun, module: Outputs, *, native: bool, fixed: bool) -> tuple[ExportedProgram, Sizes]:
    """The module as a program, and the sizes that it takes. native: with the operators of plugins, as the model calls them.

    Raises BadInput where the model cannot be exported, where it would take some sizes only (unless `fixed`), or where
    operators would be left that nobody but a plugin has (unless `native`).
    """
    attentions = " and ".join(
        sorted({loaded.config.attention_of(layer).name for layer in range(len(loaded.model.layers))})
    )
    length = loaded.task.seq_len
    ids = random_ids(loaded, BATCH if length != BATCH else BATCH + 2, length)
    auto = torch.export.Dim.AUTO
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the inside of torch
            program = torch.export.export(module, (ids,), dynamic_shapes={"ids": {0: auto, 1: auto}})
            if not native:
                program = decomposed(program)
    except Exception as error:
        raise BadInput(f"attention {attentions}: cannot be exported ({first_line(error)})") from error
    if not native and (foreign := foreign_operators(program)):
        raise BadInput(
            f"attention {attentions}: {', '.join(foreign)} would be left in the program, which only a plugin has "
            "(it registers no lot.nn.export_form)",
            fix="--operators native writes a program that needs the plugin",
        )
    sizes = _sizes(program, ids, loaded.model.dims.max_len)
    if (sizes.batch is not None or sizes.length is not None) and not fixed:
        raise BadInput(
            f"attention {attentions}: the program would take {sizes} and no others, because the model reads these sizes as "
            "plain numbers (in a loop over positions, say)",
            fix="--fixed-sizes writes it all the same",
        )
    return program, sizes


def random_ids(loaded: RecordedRun, batch: int, length: int) -> Tensor:
    """Tokens (batch, length) int64, equal for equal sizes."""
    generator = torch_generator(0, "export", batch, length)
    return torch.randint(loaded.task.vocab_size, (batch, length), generator=generator)


def _sizes(program: ExportedProgram, ids: Tensor, max_len: int) -> Sizes:
    (name,) = program.graph_signature.user_inputs
    (node,) = [node for node in program.graph.nodes if node.op == "placeholder" and node.name == name]
    batch, length = (
        # A symbol that stands for one number only is no free size.
        None if isinstance(size, torch.SymInt) and size.node.maybe_as_int() is None else given
        for size, given in zip(node.meta["val"].shape, ids.shape, strict=True)
    )
    return Sizes(batch, length, max_len)
