"""How far a trained model relies on its mechanism: the loss after parts of it are damaged.

Reliance is not worth: a trained network has adapted to its mechanism, and damage overstates what the mechanism is good
for. What it is worth shows in a study against an arm that trained without it.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from lot.contracts import Model, Split, ablation
from lot.devices.precision import choose_precision
from lot.model.build import build_model
from lot.model.measure import measure_split
from lot.random import torch_generator
from lot.runs.environment import model_origin
from lot.runs.kept_model import from_files
from lot.runs.load import RecordedRun, load_run, other_model
from lot.runs.own_parameters import own_parameters
from lot.runs.shown import Shown, Table, written


@dataclass(frozen=True)
class Damage:
    """What became of the loss after one kind of damage.

    what: the part, in words. layers: those that have it. parameters: how many numbers were put back to their initial
    values; 0 for a state. losses: nats per scored token, one per draw of a random state; one alone for parameters.
    change: the mean of the losses less that of the intact model. spread: the standard deviation over draws, None for one.
    """

    what: str
    layers: tuple[int, ...]
    parameters: int
    losses: tuple[float, ...]
    change: float
    spread: float | None


@dataclass(frozen=True, repr=False)
class Reliance(Shown):
    """How far a trained model relies on the parts of its attention.

    run: its directory. step: optimizer steps that its weights have. split: what was measured. loss: of the intact model,
    nats per scored token. damages: what was damaged, and what it cost. shared: parameters that count as vanilla's too and
    were left alone. leak: as for the run.
    """

    run: Path
    step: int
    split: Split
    loss: float
    damages: tuple[Damage, ...]
    shared: tuple[str, ...]
    leak: bool

    def table(self) -> Table:
        """What each damage cost."""
        title = (
            f"{self.run}, step {self.step:,}, {self.split}: loss {written(self.loss)} nats per scored token when intact"
        )
        rows = [
            (
                damage.what,
                ", ".join(map(str, damage.layers)),
                f"{damage.change:+.4g}" + ("" if damage.spread is None else f" ± {damage.spread:.2g}"),
            )
            for damage in self.damages
        ]
        return Table(title, rows, ("damaged", "layers", "change of the loss"), leak=self.leak)


def reliance(
    run: str | Path,
    *,
    split: Split = "validation",
    draws: int = 5,
    device: str = "auto",
    data: str | Path | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Reliance:
    """Damage the mechanism of a run's best model, part by part, and measure the loss each time.

    A *state* (phases, say) is drawn at random, `draws` times, in all layers that have one. *Parameters* that vanilla
    attention does not have (`lot.runs.own_parameters`) are put back to their initial values: each group of one name in all
    layers, then all groups. data: a file in place of the one that the task reads.
    Raises BadInput where there is no run or no sound checkpoint. Nothing is written.
    """
    loaded = load_run(run, device=device, data=data, warn=warn)
    model = loaded.model
    groups, shared = own_parameters(model.attentions)
    initial = _initial(loaded, groups, warn)

    def loss() -> float:
        where = next(model.parameters()).device
        settings = loaded.config.train
        metrics = measure_split(
            model,
            loaded.task,
            split,
            batch_size=settings.batch_size,
            device=where,
            precision=choose_precision(settings.precision, where),
            step=loaded.step,
            limit=settings.eval_examples if split == "validation" else None,
        )
        return metrics["loss"]

    intact = loss()
    loaded.check_data(warn)
    damages = list(_state_damage(loaded, loss, intact, draws))
    if len(groups) > 1:
        groups["all of these parameters"] = [place for places in groups.values() for place in places]
    for what, places in groups.items():
        with _put_back(model, places, initial):
            damaged = loss()
        layers = tuple(sorted({layer for layer, _ in places}))
        count = sum(initial[full].numel() for full in _full_names(model, places))
        damages.append(Damage(what, layers, count, (damaged,), damaged - intact, None))
    return Reliance(loaded.path, loaded.step, split, intact, tuple(damages), tuple(shared), loaded.leak)


def _initial(
    loaded: RecordedRun, groups: Mapping[str, list[tuple[int, str]]], warn: Callable[[str], None]
) -> dict[str, torch.Tensor]:
    """The initial values of the model, for which its files are read where one of `groups` began with a value of theirs."""
    config, kept = loaded.config, loaded.config.model.kept
    names = {full for places in groups.values() for full in _full_names(loaded.model, places)}
    if kept is not None and names & loaded.model.loaded:
        config = from_files(config, kept)
        if model_origin(config) != kept.origin:
            warn(other_model(loaded.path, config))
    return build_model(config, loaded.task).state_dict()


def _state_damage(loaded: RecordedRun, loss: Callable[[], float], intact: float, draws: int) -> Iterator[Damage]:
    """The loss with a random state, for the layers whose attention offers `ablate`."""
    stateful = [(layer, a) for layer, a in loaded.model.attentions.items() if hasattr(a, "ablate")]
    if not stateful:
        return
    losses = []
    for draw in range(draws):
        with contextlib.ExitStack() as stack:
            for layer, attention in stateful:
                generator = torch_generator(
                    loaded.config.seed, "reliance", draw, layer, device=next(attention.parameters()).device
                )
                stack.enter_context(ablation(attention, generator))
            losses.append(loss())
    spread = statistics.stdev(losses) if len(losses) > 1 else None
    change = statistics.fmean(losses) - intact
    yield Damage("state, drawn at random", tuple(layer for layer, _ in stateful), 0, tuple(losses), change, spread)


def _full_names(model: Model, places: list[tuple[int, str]]) -> list[str]:
    """The names in the model of these parameters of its attentions."""
    paths = {id(module): path for path, module in model.named_modules()}
    return [f"{paths[id(model.attentions[layer])]}.{name}" for layer, name in places]


@contextlib.contextmanager
def _put_back(model: Model, names: list[tuple[int, str]], initial: dict[str, torch.Tensor]) -> Iterator[None]:
    """While it lasts, these parameters have their initial values."""
    parameters = dict(model.named_parameters())
    trained = {}
    with torch.no_grad():
        for full in _full_names(model, names):
            trained[full] = parameters[full].clone()
            parameters[full].copy_(initial[full])
    try:
        yield
    finally:
        with torch.no_grad():
            for full, value in trained.items():
                parameters[full].copy_(value)
