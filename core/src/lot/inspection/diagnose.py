"""Any diagnostic on a finished run: on any checkpoint, on its data, on other data, or on a text of one's own."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lot.config.load import load_config
from lot.config.schema import ChosenDiagnostic
from lot.contracts import IGNORED, Batch, Diagnostic, Record, Split
from lot.errors import BadInput
from lot.figure import mark_leak
from lot.inspection.subject import Subject, subject
from lot.model.generate import encode_prompt
from lot.plugins.registry import registry
from lot.runs.load import BEST
from lot.runs.shown import Shown, Table, written
from lot.storage.files import make_folder
from lot.storage.snapshots import save_snapshot
from lot.training.compose import check_signals, signals_given, signals_lost

EVERYWHERE = ("attention_map", "attention_entropy")
"""Diagnostics that are measured without being named, where the model gives what they need."""
_PREFIX = "diagnostics."


@dataclass(frozen=True, repr=False)
class Look(Shown):
    """What a diagnostic measured on a finished run.

    name, diagnostic: of the diagnostic. record: the step of the checkpoint, and what was measured. run: the run directory.
    label: names what it was measured on, as a part of a file name. leak: whether the model saw what it was asked to predict.
    """

    name: str
    diagnostic: Diagnostic
    record: Record
    run: Path
    label: str
    leak: bool

    @property
    def folder(self) -> Path:
        """Where it belongs, beside what the run itself recorded."""
        return self.run / "diagnoses" / self.label

    def table(self) -> Table:
        """The single numbers, and what is beside them."""
        scalars = self.record.scalars
        rows = [
            (key, written(float(value)) if key in scalars else f"an array {tuple(value.shape)}")
            for key, value in self.record.values.items()
        ]
        return Table(f"{self.name} of {self.run}, {self.label}", rows, leak=self.leak)

    def _repr_html_(self) -> str:
        """The table, and the picture where matplotlib is installed."""
        try:
            figure = self.diagnostic.draw([self.record])
        except ModuleNotFoundError:
            figure = None
        if figure is None:
            return super()._repr_html_()
        if self.leak:
            mark_leak(figure)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=80)
        picture = base64.b64encode(content.getvalue()).decode()
        return f'{super()._repr_html_()}<img alt="{html.escape(self.name)}" src="data:image/png;base64,{picture}">'

    def save(self) -> None:
        """Write what was measured to `folder`. Raises OSError."""
        make_folder(self.run, "diagnoses", self.label, self.name)
        save_snapshot(self.folder, self.name, self.record.step, self.record.values)


def diagnose(
    run: str | Path,
    names: Sequence[str] = (),
    *,
    prompt: str | None = None,
    split: Split = "validation",
    checkpoint: str | int = BEST,
    task: str | None = None,
    overrides: Sequence[str] = (),
    data: str | Path | None = None,
    device: str = "auto",
    warn: Callable[[str], None] = lambda text: None,
) -> list[Look]:
    """What diagnostics measure on a run's model. Nothing is written (see `Look.save`).

    names: of diagnostics; without any, those that the run measured, and maps and entropies of attention where it has weights.
    prompt: a text to measure on, in place of the first sequences of `split` (train or validation). overrides: options of the
    task, and of diagnostics, as `"diagnostics.attention_map.positions=64"`. The others: as those of `lot.evaluate`.
    Raises BadInput for what does not fit, such as a diagnostic that needs a signal which no part of the model gives.
    """
    if split == "test":
        raise BadInput(where="split", expected="train or validation: a diagnostic sees no test data", got="test")
    own = [override for override in overrides if override.strip().startswith(_PREFIX)]
    others = [override for override in overrides if override not in own]
    asked = subject(run, checkpoint=checkpoint, task=task, overrides=others, data=data, device=device, warn=warn)
    chosen = _chosen(asked, names, own)
    prompted = None if prompt is None else _prompted(asked, prompt)
    found: dict[str, tuple[Diagnostic, Record]] = {}
    for name, one in chosen.items():
        diagnostic = one.create(f"{_PREFIX}{name}")
        check_signals(asked.config, f"diagnostic {name}", diagnostic.needs)
        found[name] = (diagnostic, asked.look(name, diagnostic, split, prompted))
    asked.check_data(warn)
    label = f"step_{asked.loaded.step:08d}-{split if prompt is None else 'prompt'}"
    if further := asked.label(prompt, own):
        label = f"{label}-{further}"
    return [Look(name, *of, asked.loaded.path, label, asked.leak) for name, of in found.items()]


def _chosen(asked: Subject, names: Sequence[str], overrides: Sequence[str]) -> dict[str, ChosenDiagnostic]:
    """The diagnostics to measure, with the options that the run gave them and `overrides`."""
    wanted = list(dict.fromkeys(names))
    if not wanted:
        given = signals_given(asked.config)
        usual = [name for name in EVERYWHERE if registry().get("diagnostic", name).needs <= given]
        own = [
            name
            for name, one in asked.config.diagnostics.items()
            if not signals_lost(asked.config, asked.task, one.create(f"{_PREFIX}{name}").needs)
        ]
        wanted = list(dict.fromkeys([*own, *usual]))
    if not wanted:
        raise BadInput(
            "this run measured no diagnostic, and its attention gives no weights",
            fix=f"name one of {', '.join(registry().names('diagnostic'))}",
        )
    for override in overrides:
        name = override.strip().removeprefix(_PREFIX).split(".")[0]
        if name not in wanted:
            raise BadInput(where="--set", expected=f"options of {', '.join(wanted)}", got=repr(override))
    tree = asked.config.to_dict()
    known = {name: asked.config.diagnostics[name].table() for name in wanted if name in asked.config.diagnostics}
    tree["diagnostics"] = {**dict.fromkeys(tree["diagnostics"]), **{name: known.get(name, {}) for name in wanted}}
    config = load_config(tree, overrides=list(overrides), kept=asked.config.model.kept)
    return {name: config.diagnostics[name] for name in wanted}


def _prompted(asked: Subject, prompt: str) -> Batch:
    """A batch of one sequence: the tokens of a prompt, each asked for its successor."""
    ids = encode_prompt(asked.task, prompt)
    if not 1 <= len(ids) <= asked.model.dims.max_len:
        raise BadInput(where="--prompt", expected=f"1 to {asked.model.dims.max_len} tokens", got=len(ids))
    inputs: Tensor = torch.tensor([ids], dtype=torch.int64, device=asked.device)
    targets = torch.full_like(inputs, IGNORED)
    targets[:, :-1] = inputs[:, 1:]
    return Batch(inputs, targets)
