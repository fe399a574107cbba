"""Diagnostics: an honest one, and with a defect each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lot.contracts import Diagnostic, Probe, Record
from lot.options.declare import NoOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Honest(Diagnostic):
    """Mean and map of attention, and the norm of the gradient; noise from the probe's generator in one of them."""

    needs = frozenset({"attention"})
    headline: str | None = "reach"

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        maps = torch.stack(
            [probe.output.signals["attention"][k].mean((0, 1)) for k in sorted(probe.output.signals["attention"])]
        )
        T = maps.shape[-1]
        distance = (torch.arange(T)[:, None] - torch.arange(T)[None, :]).to(maps.dtype)
        gradient = torch.stack([g.square().sum() for g in probe.gradients().values()]).sum().sqrt()
        jitter = torch.rand((), generator=probe.generator)
        return {"reach": (maps * distance).sum((-1, -2)).mean(), "maps": maps, "gradient": gradient, "jitter": jitter}

    def draw(self, records: list[Record]) -> Figure | None:
        from lot.figure import new_figure

        if not records:
            return None
        figure, (axes,) = new_figure()
        axes.plot([r.step for r in records], [float(r.values["reach"]) for r in records])
        return figure

    def verdict(self, records: list[Record]) -> str | None:
        return f"reach {float(records[-1].values['reach']):.3f} tokens" if records else None


class Changed(Honest):
    """Honest values, after an act."""

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        self.act(probe)
        return super().measure(probe)

    def act(self, probe: Probe) -> None:
        raise NotImplementedError


class Backward(Changed):
    """Leaves gradients behind."""

    def act(self, probe: Probe) -> None:
        with torch.enable_grad():
            probe.model(probe.batch.inputs).logits.sum().backward()


class EvalForGood(Changed):
    """Puts everything into evaluation mode and leaves it there."""

    def act(self, probe: Probe) -> None:
        probe.model.eval()


class WantForGood(Changed):
    """Asks the model for more signals from here on."""

    def act(self, probe: Probe) -> None:
        probe.model.set_want(frozenset({"hidden"}))  # type: ignore[operator]


class Hook(Changed):
    """Leaves a hook behind."""

    def act(self, probe: Probe) -> None:
        next(probe.model.children()).register_forward_hook(lambda *_: None)


class Update(Changed):
    """Moves a weight a little."""

    def act(self, probe: Probe) -> None:
        next(probe.model.parameters()).data.mul_(1 + 1e-6)


class GlobalNoise(Changed):
    """Draws from torch's global generator."""

    def act(self, probe: Probe) -> None:
        torch.rand(1)


class BatchInPlace(Changed):
    """Changes the batch."""

    def act(self, probe: Probe) -> None:
        probe.batch.inputs[0, 0] += 1


class GradEnabled(Changed):
    """Switches gradients on for good."""

    def act(self, probe: Probe) -> None:
        torch.set_grad_enabled(True)


class NotFinite(Honest):
    """A logarithm of zero."""

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        return {**super().measure(probe), "entropy": torch.zeros(()).log()}


class ComesAndGoes(Honest):
    """A value that is there at step 0 only."""

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        values = super().measure(probe)
        return {**values, "first": torch.ones(())} if int(probe.ctx.step) == 0 else values


class Numbers(Honest):
    """Python numbers."""

    def measure(self, probe: Probe) -> dict[str, Any]:
        return {name: float(value.mean()) for name, value in super().measure(probe).items()}


class NoHeadline(Honest):
    """A headline that it does not measure."""

    headline = "R"


class ForgottenNeed(Honest):
    """Reads attention without saying so."""

    needs = frozenset()


class IdleNeed(Honest):
    """Asks for phases and does not look."""

    needs = frozenset({"attention", "phase"})


class Counter(Honest):
    """Counts its measurements."""

    calls = 0

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        self.calls += 1
        return {**super().measure(probe), "calls": torch.tensor(self.calls)}


class Pyplot(Honest):
    """Draws with pyplot, which keeps the figure."""

    def draw(self, records: list[Record]) -> Figure | None:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        if not records:
            return None
        figure, axes = pyplot.subplots()
        axes.plot([float(r.values["reach"]) for r in records])
        return figure


class OneRecord(Honest):
    """Cannot draw a single record."""

    def draw(self, records: list[Record]) -> Figure | None:
        if len(records) == 1:
            raise ZeroDivisionError("no interval between records")
        return super().draw(records)


class NoRecord(Honest):
    """Cannot draw nothing."""

    def draw(self, records: list[Record]) -> Figure | None:
        return super().draw(records if records[0].step >= 0 else [])


class NoPicture(Honest):
    """Draws a text."""

    def draw(self, records: list[Record]) -> Any:
        return "a picture" if records else None


class Memory(Honest):
    """Tells what it remembers instead of what was recorded."""

    told = "nothing"

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        self.told = "something"
        return super().measure(probe)

    def verdict(self, records: list[Record]) -> str | None:
        return self.told


class TwoLines(Honest):
    """A verdict of two lines."""

    def verdict(self, records: list[Record]) -> str | None:
        return "good\nor bad"


class AlarmOnMaps(Honest):
    """An alarm that reads what only the snapshot holds."""

    def alarm(self, records: list[Record]) -> str | None:
        return "far" if records and float(records[-1].values["maps"].max()) > 2 else None


class NoPictureAtAll(Honest):
    """Measures, and draws nothing."""

    def draw(self, records: list[Record]) -> Figure | None:
        return None


class NoDiagnostic:
    """None of the contract."""

    def __init__(self, config: NoOptions) -> None:
        pass


class EveryLayer(Honest):
    """Wants the phases of all three layers, which attention in every layer gives and made-up signals do not."""

    needs = frozenset({"phase"})
    headline = None

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        phases = probe.output.signals["phase"]
        if sorted(phases) != [0, 1, 2]:
            raise ValueError(f"phases of layers {', '.join(map(str, phases))}")
        return {"mean": phases[1].mean()}


class LateHarm(Changed):
    """Late in training, moves a weight."""

    def act(self, probe: Probe) -> None:
        if probe.ctx.step > 500:
            next(probe.model.parameters()).add_(1e-3)


class HarmsAtLast(Changed):
    """Clears gradients at its tenth measurement."""

    measured = 0

    def act(self, probe: Probe) -> None:
        self.measured += 1
        if self.measured == 10:
            probe.model.zero_grad()


class HarmsTheTrained(Changed):
    """Clips weights that are large."""

    def act(self, probe: Probe) -> None:
        for p in probe.model.parameters():
            if p.dim() == 1:
                p.clamp_(-2.5, 2.5)
