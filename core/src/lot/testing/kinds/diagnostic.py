"""The checks of a diagnostic."""

from __future__ import annotations

import io
import sys
from typing import Any

import torch
from torch import Tensor, nn

from lot.contracts import Batch, Diagnostic, Output, Record
from lot.random import isolated
from lot.testing.case import Case, CheckFunction
from lot.testing.failure import KitFailure, NotApplicable, require, require_finite
from lot.testing.generators import untouched_generators
from lot.testing.specimens.samples import variants
from lot.testing.specimens.scene import Scene, make_scene


def _diagnostic(case: Case) -> Diagnostic:
    diagnostic = case.build()
    if not isinstance(diagnostic, Diagnostic):
        raise KitFailure("factory", expected="a lot.Diagnostic", got=type(diagnostic).__name__)
    return diagnostic


def _measure(diagnostic: Diagnostic, scene: Scene) -> dict[str, Tensor]:
    """As the engine does: without gradients, and with torch's default generator set aside."""
    scene.probe.generator.manual_seed(5)
    with isolated(0, "kit", "diagnostic"), torch.no_grad():
        values = diagnostic.measure(scene.probe)
    require(
        isinstance(values, dict) and len(values) > 0,
        "measure",
        expected="a dict of named tensors",
        got=type(values).__name__,
    )
    for name, value in values.items():
        require(
            isinstance(name, str) and isinstance(value, Tensor),
            "measure",
            expected="tensors by name",
            got=f"{name!r}: {type(value).__name__}",
        )
    return {name: value.detach().cpu() for name, value in values.items()}


def _records(case: Case, diagnostic: Diagnostic, *, variant: int = 0) -> list[Record]:
    steps = (0, 50, 100)
    return [
        Record(step, _measure(diagnostic, make_scene(case, diagnostic.needs, variant=variant, step=step)))
        for step in steps
    ]


def builds(case: Case) -> None:
    """The factory gives a diagnostic whose needs its component declares."""
    needs = _diagnostic(case).needs
    undeclared = sorted(needs - case.component.needs)
    require(
        not undeclared,
        "needs of the diagnostic",
        expected=f"those of its component ({', '.join(sorted(case.component.needs)) or 'none'})",
        got=", ".join(undeclared),
        cause="Component(needs=...) that forgets a signal",
    )


def measures(case: Case) -> None:
    """measure gives finite values under the same names each time, the headline a scalar among them."""
    diagnostic = _diagnostic(case)
    for variant in range(variants(case, diagnostic.needs)):
        first, *others = _records(case, diagnostic, variant=variant)
        for name, value in first.values.items():
            _require_meaning(name, value)
        for record in others:
            require(
                record.values.keys() == first.values.keys(),
                "names of the values",
                expected=", ".join(sorted(first.values)),
                got=", ".join(sorted(record.values)),
                cause="values that come and go",
            )
        if diagnostic.headline is not None:
            headline = first.values.get(diagnostic.headline)
            require(
                headline is not None and headline.numel() == 1,
                f"headline {diagnostic.headline!r}",
                expected="one of the values, a scalar",
                got="none" if headline is None else str(tuple(headline.shape)),
            )


def _require_meaning(name: str, value: Tensor) -> None:
    """Scalars are finite. In arrays NaN stands for what is not there; infinity, or nothing but NaN, says nothing."""
    cause = "a logarithm or ratio of zero; say what it means instead"
    if value.numel() == 1 or not value.is_floating_point():
        require_finite(value, f"value {name}", cause=cause)
        return
    says = value.numel() == 0 or (bool(torch.isfinite(value).any()) and not bool(torch.isinf(value).any()))
    require(
        says, f"value {name}", expected="numbers, NaN where there is none", got="infinity, or NaN alone", cause=cause
    )


def _require_same(got: Tensor, expected: Tensor, what: str, *, cause: str = "") -> None:
    """Bit-equal, NaN being equal to itself."""
    same = got.shape == expected.shape and torch.equal(got.nan_to_num(7.0), expected.nan_to_num(7.0))
    same = same and torch.equal(got.isnan(), expected.isnan())
    require(same, what, expected="the same values", got="others", cause=cause)


def needs(case: Case) -> None:
    """The signals in `needs` are enough, and each is read."""
    diagnostic = _diagnostic(case)
    scene = make_scene(case, diagnostic.needs)
    signals = _Watched(scene.probe.output.signals)
    scene.probe.output = Output(scene.probe.output.logits, signals)
    _measure(diagnostic, scene)
    if not diagnostic.needs:
        raise NotApplicable("needs no signal")
    idle = sorted(diagnostic.needs - signals.read)
    require(not idle, "needs", expected="signals that measure reads", got=f"{', '.join(idle)} beside them")


class _Watched(dict[str, Any]):
    """Signals that note which were read."""

    def __init__(self, signals: dict[str, Any]) -> None:
        super().__init__(signals)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def __missing__(self, name: str) -> Any:
        raise KitFailure(
            f"reading the signal {name!r}",
            expected=f"only those in needs ({', '.join(sorted(self)) or 'none'})",
            got=name,
            cause="a `needs` that forgets a signal",
        )

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def items(self) -> Any:
        self.read |= self.keys()
        return super().items()


def harmless(case: Case) -> None:
    """measure leaves weights, gradients, modes, wanted signals, hooks, batch and global generators as they were."""
    diagnostic = _diagnostic(case)
    scene = make_scene(case, diagnostic.needs)
    model, probe = scene.model, scene.probe
    for i, p in enumerate(model.parameters()):
        p.grad = torch.full_like(p, 0.5) if i % 2 else None
    # Training mode on one part shows whether modes are put back or merely set.
    model.blocks[0].train()
    before = _fingerprint(model, probe.batch)
    with untouched_generators("measure"), torch.no_grad():
        diagnostic.measure(probe)
        enabled = torch.is_grad_enabled()
    require(
        not enabled,
        "gradient mode after measure",
        expected="off, as before",
        got="on",
        cause="torch.set_grad_enabled without `with`",
    )
    after = _fingerprint(model, probe.batch)
    changed = [name for name, value in before.items() if not _unchanged(value, after.get(name))] + sorted(
        after.keys() - before.keys()
    )
    require(
        not changed,
        "the model after measure",
        expected="as it was",
        got=f"other {', '.join(changed[:5])}",
        cause="backward() into .grad, eval() or a hook that is not undone, or an update in place",
    )


def _fingerprint(model: nn.Module, batch: Batch) -> dict[str, Any]:
    found: dict[str, Any] = {f"value of {name}": v.detach().clone() for name, v in model.state_dict().items()}
    for name, p in model.named_parameters():
        found[f"gradient of {name}"] = None if p.grad is None else p.grad.clone()
        found[f"requires_grad of {name}"] = p.requires_grad
    for name, module in model.named_modules():
        label = name or "the model"
        found[f"mode of {label}"] = module.training
        found[f"hooks of {label}"] = sum(
            len(getattr(module, hooks)) for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
        )
        if hasattr(module, "want"):
            found[f"wanted signals of {label}"] = module.want
    found["inputs"], found["targets"] = batch.inputs.clone(), batch.targets.clone()
    return found


def _unchanged(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else type(a) is type(b) and a == b


def determinism(case: Case) -> None:
    """Equal probes give equal bits: by the same object again, and by a fresh one."""
    diagnostic = _diagnostic(case)
    first = _measure(diagnostic, make_scene(case, diagnostic.needs))
    for other in (diagnostic, _diagnostic(case)):
        again = _measure(other, make_scene(case, diagnostic.needs))
        for name, value in first.items():
            _require_same(
                again[name],
                value,
                f"value {name} of an equal probe",
                cause="state kept between calls, or randomness beside probe.generator",
            )


def draws(case: Case) -> None:
    """draw makes a figure of records that can be saved as a picture, and minds neither one record nor none."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise NotApplicable("matplotlib is not installed") from error
    diagnostic = _diagnostic(case)
    diagnostic.draw([])
    for variant in range(variants(case, diagnostic.needs)):
        records = _records(case, diagnostic, variant=variant)
        open_before = _open_figures()
        for chosen in (records, records[:1]):
            figure = diagnostic.draw(chosen)
            if figure is None:
                if len(chosen) > 1:
                    raise NotApplicable("draws nothing")
                continue
            require(isinstance(figure, Figure), "draw", expected="a matplotlib Figure", got=type(figure).__name__)
            require(len(figure.axes) > 0, "axes of the figure", expected="at least one", got=0)
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=40)
        require(
            _open_figures() == open_before,
            "figures that pyplot holds after draw",
            expected=str(open_before),
            got=_open_figures(),
            cause="pyplot, which keeps every figure; take lot.figure.new_figure",
        )


def _open_figures() -> int:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return len(pyplot.get_fignums()) if pyplot is not None else 0


def records(case: Case) -> None:
    """Records survive safetensors: verdict and figure are made of what is read back, by a fresh diagnostic."""
    from safetensors.torch import load, save

    diagnostic = _diagnostic(case)
    measured = _records(case, diagnostic)
    restored = [
        Record(record.step, load(save({name: value.contiguous().clone() for name, value in record.values.items()})))
        for record in measured
    ]
    for record, copy in zip(measured, restored, strict=True):
        for name, value in record.values.items():
            _require_same(copy.values[name], value, f"value {name} after safetensors")
    told = diagnostic.verdict(measured)
    require(
        told is None or (isinstance(told, str) and told.strip() != "" and "\n" not in told),
        "verdict",
        expected="one line, or None",
        got=repr(told),
    )
    diagnostic.verdict([])
    scalars = [Record(r.step, {name: v for name, v in r.values.items() if v.dim() == 0}) for r in restored]
    for chosen in (scalars, scalars[:1], []):
        warning = diagnostic.alarm(chosen)
        require(
            warning is None or (isinstance(warning, str) and "\n" not in warning),
            "alarm",
            expected="one line, or None",
            got=repr(warning),
        )
    fresh = _diagnostic(case).verdict(restored)
    require(
        fresh == told,
        "verdict of a fresh diagnostic on restored records",
        expected=repr(told),
        got=repr(fresh),
        cause="state that is not in the records: a report is written by another process",
    )
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        return
    drawn = (diagnostic.draw(measured) is None, _diagnostic(case).draw(restored) is None)
    require(
        drawn[0] == drawn[1],
        "draw of a fresh diagnostic on restored records",
        expected="a figure as before",
        got="the opposite",
        cause="state that is not in the records",
    )


DIAGNOSTIC_CHECKS: dict[str, CheckFunction] = {
    "builds": builds,
    "measures": measures,
    "needs": needs,
    "harmless": harmless,
    "determinism": determinism,
    "draws": draws,
    "records": records,
}
