"""The checks of a diagnostic: it measures without a trace in the model, and draws from its records alone."""

from __future__ import annotations

import io
import sys

import torch
from torch import Tensor

from lot.contracts import Diagnostic, Output, Record
from lot.random import isolated
from lot.testing.case import Case, CheckFunction
from lot.testing.failure import KitFailure, NotApplicable, require, require_finite, require_named_tensors
from lot.testing.generators import untouched_generators
from lot.testing.specimens.read_signals import ReadSignals
from lot.testing.specimens.samples import variants
from lot.testing.specimens.scene import Scene, make_scene, same_state, state_of

LATE = (1, 1000, 10**6)
"""Steps at which a diagnostic must be as harmless as at the first."""
FAR = 3.0
TIMES = 6
"""Measurements at each of them."""


def _diagnostic(case: Case) -> Diagnostic:
    diagnostic = case.build()
    if not isinstance(diagnostic, Diagnostic):
        raise KitFailure("factory", expected="a lot.Diagnostic", got=type(diagnostic).__name__)
    return diagnostic


def _measure(diagnostic: Diagnostic, scene: Scene) -> dict[str, Tensor]:
    """The values on the CPU, measured as the engine does: without gradients, torch's default generator set aside."""
    scene.probe.generator.manual_seed(5)
    with isolated(0, "kit", "diagnostic"), torch.no_grad():
        values = diagnostic.measure(scene.probe)
    require_named_tensors(values, "values that measure returns")
    return {name: value.detach().cpu() for name, value in values.items()}


def _records(case: Case, diagnostic: Diagnostic, *, variant: int = 0) -> list[Record]:
    steps = (0, 50, 100)
    return [
        Record(step, _measure(diagnostic, make_scene(case, diagnostic.needs, variant=variant, step=step)))
        for step in steps
    ]


def builds(case: Case) -> None:
    """The factory gives a diagnostic whose `needs` are all declared by its component."""
    case.require_declared(_diagnostic(case).needs)


def measures(case: Case) -> None:
    """measure gives finite values under the same names each time; the headline is a scalar among them."""
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
                cause="values that come and go from step to step",
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
    """Scalars are finite. In arrays NaN may stand for a missing number, but infinity, or nothing but NaN, says nothing."""
    cause = "a logarithm or a ratio of zero; give the number that it stands for instead"
    if value.numel() == 1 or not value.is_floating_point():
        require_finite(value, f"value {name}", cause=cause)
        return
    says = value.numel() == 0 or (bool(torch.isfinite(value).any()) and not bool(torch.isinf(value).any()))
    require(
        says,
        f"value {name}",
        expected="numbers, and NaN where there is none",
        got="infinity, or nothing but NaN",
        cause=cause,
    )


def _require_same(got: Tensor, expected: Tensor, what: str, *, cause: str = "") -> None:
    """Raise KitFailure unless two tensors are bit-equal, where NaN counts as equal to NaN."""
    same = got.shape == expected.shape and torch.equal(got.nan_to_num(7.0), expected.nan_to_num(7.0))
    same = same and torch.equal(got.isnan(), expected.isnan())
    require(same, what, expected="the same values", got="other values", cause=cause)


def needs(case: Case) -> None:
    """The signals in `needs` are enough, and measure reads each of them."""
    diagnostic = _diagnostic(case)
    scene = make_scene(case, diagnostic.needs)
    signals = ReadSignals(scene.probe.output.signals)
    scene.probe.output = Output(scene.probe.output.logits, signals)
    _measure(diagnostic, scene)
    if not diagnostic.needs:
        raise NotApplicable("it needs no signal")
    idle = sorted(diagnostic.needs - signals.read)
    require(not idle, "needs", expected="signals that measure reads", got=f"{', '.join(idle)} beside them")


def harmless(case: Case) -> None:
    """measure leaves weights, gradients, modes, wanted signals, hooks, the batch and global generators as they were.

    So at the first step, and late in training, with weights far from their initial values, at each of many times.
    """
    diagnostic = _diagnostic(case)
    for step, far in ((0, 1.0), *((step, FAR) for step in LATE)):
        scene = make_scene(case, diagnostic.needs, step=step, far=far)
        for _ in range(1 if far == 1.0 else TIMES):
            _require_untouched(diagnostic, scene, step)


def _require_untouched(diagnostic: Diagnostic, scene: Scene, step: int) -> None:
    model, probe = scene.model, scene.probe
    for i, p in enumerate(model.parameters()):
        p.grad = torch.full_like(p, 0.5) if i % 2 else None
    # One part in training mode shows whether the modes are restored or merely set.
    model.blocks[0].train()
    before = state_of(scene)
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
    after = state_of(scene)
    changed = [name for name, value in before.items() if not same_state(value, after.get(name))] + sorted(
        after.keys() - before.keys()
    )
    require(
        not changed,
        f"the model after measure at step {step}",
        expected="the same as before",
        got=f"another {', '.join(changed[:5])}",
        cause="backward() into .grad, an eval() or a hook that is not undone, or an update in place",
    )


def determinism(case: Case) -> None:
    """Equal probes give equal bits, from the same object again and from a fresh one."""
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
    """draw makes a figure that can be saved as a picture, of several records or of one, and accepts an empty list."""
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
                    raise NotApplicable("it draws nothing")
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
            cause="pyplot, which keeps every figure; use lot.figure.new_figure",
        )


def _open_figures() -> int:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return len(pyplot.get_fignums()) if pyplot is not None else 0


def records(case: Case) -> None:
    """Records survive safetensors: a fresh diagnostic makes the same verdict and figure from the restored records."""
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
    line = diagnostic.verdict(measured)
    require(
        line is None or (isinstance(line, str) and line.strip() != "" and "\n" not in line),
        "verdict",
        expected="one line, or None",
        got=repr(line),
    )
    diagnostic.verdict([])
    scalars = [Record(record.step, record.scalars) for record in restored]
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
        fresh == line,
        "verdict of a fresh diagnostic on restored records",
        expected=repr(line),
        got=repr(fresh),
        cause="state that is not in the records; another process writes the report",
    )
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        return
    drawn = (diagnostic.draw(measured) is None, _diagnostic(case).draw(restored) is None)
    require(
        drawn[0] == drawn[1],
        "draw of a fresh diagnostic on restored records",
        expected="a figure exactly where there was one before",
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
