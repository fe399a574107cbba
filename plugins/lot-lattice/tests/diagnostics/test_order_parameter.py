"""The order parameter: what is measured, said and drawn."""

from __future__ import annotations

import math

import pytest
import torch
from matplotlib.colors import to_rgb

from lot import Batch, Context, Output, Probe, Record
from lot_lattice.config import OrderParameterConfig
from lot_lattice.diagnostics.order_parameter import OrderParameter


def output(**signals) -> Output:
    return Output(torch.zeros(1), signals)


def batch(B: int, T: int, padding=None) -> Batch:
    return Batch(torch.zeros(B, T, dtype=torch.int64), torch.zeros(B, T, dtype=torch.int64), padding)


def probe(**signals) -> Probe:
    theta = next(iter(signals["phase"].values()))
    return Probe(None, batch(theta.shape[0], theta.shape[2]), output(**signals), Context(), None, None, dict)


def test_measured_order_parameter(make):
    lattice_phase = make.normal(2, 8, 5)
    phase = make.normal(2, 3, 5, 4)
    values = OrderParameter(OrderParameterConfig()).measure(probe(phase={3: phase, 0: lattice_phase}))
    assert values["layers"].tolist() == [[0, 8], [3, 4]]
    R_lattice = torch.polar(torch.ones_like(lattice_phase), lattice_phase).mean(1).abs()
    R_phase = torch.polar(torch.ones_like(phase), phase).mean(-1).abs()
    torch.testing.assert_close(values["R_position"], torch.stack((R_lattice.mean(0), R_phase.mean((0, 1)))))
    torch.testing.assert_close(values["R"], (R_lattice.mean() + R_phase.mean()) / 2)
    over_tokens = [torch.polar(torch.ones_like(x), x).mean(2).abs().mean() for x in (lattice_phase, phase)]
    torch.testing.assert_close(values["R_tokens"], (over_tokens[0] + over_tokens[1]) / 2)


def test_documents_that_share_rows_are_sequences(make):
    """As in rows of their own, where they are equally long."""
    alone = {0: make.normal(4, 8, 3), 3: make.normal(4, 3, 3, 2)}
    packed = {
        layer: torch.stack((torch.cat((x[0], x[1]), 1), torch.cat((x[2], x[3]), 1))) for layer, x in alone.items()
    }
    diagnostic = OrderParameter(OrderParameterConfig())
    expected = diagnostic.measure(probe(phase=alone))
    asked = probe(phase=packed)
    asked.ctx = Context(segments=torch.tensor([[0, 0, 0, 1, 1, 1]] * 2))
    values = diagnostic.measure(asked)
    for name in ("R", "R_tokens", "layers"):
        torch.testing.assert_close(values[name], expected[name])
    torch.testing.assert_close(values["R_position"][:, :3], expected["R_position"])
    assert values["R_position"][:, 3:].isnan().all()
    torch.testing.assert_close(values["R_layers"], expected["R_position"].mean(1))


def test_a_document_counts_by_its_length(make):
    theta = make.normal(1, 8, 6)
    asked = probe(phase={0: theta})
    padding = torch.tensor([[False] * 5 + [True]])
    asked.ctx = Context(segments=torch.tensor([[0, 0, 0, 0, 1, 1]]), padding=padding)
    diagnostic = OrderParameter(OrderParameterConfig())
    values = diagnostic.measure(asked)
    unit = torch.polar(torch.ones_like(theta), theta)[0]  # (H, T)
    torch.testing.assert_close(values["R"], unit[:, :5].mean(0).abs().mean())
    over = (4 * unit[:, :4].mean(1).abs() + unit[:, 4].abs()).mean() / 5
    torch.testing.assert_close(values["R_tokens"], over)
    training = diagnostic.draw([Record(0, values), Record(9, values)]).axes[0]
    assert list(training.lines[0].get_ydata()) == pytest.approx([float(values["R"])] * 2)


def record(step: int, R: float, R_tokens: float = 0.3, n: int = 8) -> Record:
    values = {
        "R": torch.tensor(R),
        "R_tokens": torch.tensor(R_tokens),
        "layers": torch.tensor([[0, n], [1, n]]),
        "R_position": torch.tensor([[R - 0.02] * 6, [R + 0.02] * 6]),
    }
    return Record(step, values)


@pytest.mark.parametrize(
    ("R", "n", "told"),
    [
        (0.45, 8, "healthy, within 0.35 to 0.55"),
        (0.85, 8, "over-synchronized, above 0.8"),
        (0.32, 8, "no more in phase than by chance"),
        (0.45, 4, "no more in phase than by chance"),
        (0.15, 8, "below the healthy band"),
        (0.37, 4, "below the healthy band of 0.49 to 0.55"),
        (0.52, 4, "healthy, within 0.49 to 0.55"),
        (0.75, 2, "more in phase than by chance, which leaves no healthy band below 0.55"),
        (0.70, 8, "above the healthy band"),
    ],
)
def test_verdict_names_number_and_threshold(R, n, told):
    line = OrderParameter(OrderParameterConfig()).verdict([record(0, 0.2, n=n), record(10, R, n=n)])
    assert told in line
    assert f"R = {R:.2f} over {n}" in line
    assert "\n" not in line


def test_collapse_takes_three_records_in_a_row():
    diagnostic = OrderParameter(OrderParameterConfig())
    high = [record(step, 0.97, 0.96) for step in range(3)]
    assert "collapsed" in diagnostic.verdict(high)
    assert "collapsed" not in diagnostic.verdict([record(0, 0.97, 0.5), *high[1:]])
    assert "collapsed" not in diagnostic.verdict(high[:2])


def test_the_alarm_sounds_once_when_three_records_in_a_row_are_too_high():
    diagnostic = OrderParameter(OrderParameterConfig())
    course = [0.5, 0.85, 0.7, 0.85, 0.86, 0.87, 0.88, 0.5]
    records = [record(step, R) for step, R in enumerate(course)]
    told = [diagnostic.alarm(records[: end + 1]) for end in range(len(records))]
    assert [line is not None for line in told] == [False, False, False, False, False, True, False, False]
    assert told[5] == "over-synchronized: R = 0.87 at each token and 0.30 over tokens, 3 times in a row"
    collapsed = [record(step, 0.97, 0.96) for step in range(3)]
    assert diagnostic.alarm(collapsed).startswith("collapsed: R = 0.97")


def drawn_band(n: int) -> tuple[float, float] | None:
    """The lower and upper end of the green band beside n oscillators, as it is drawn."""
    axes = OrderParameter(OrderParameterConfig()).draw([record(0, 0.5, n=n)]).axes[0]
    green = [patch for patch in axes.patches if patch.get_facecolor()[:3] == pytest.approx(to_rgb("#009E73"))]
    assert len(green) <= 1
    return (green[0].get_y(), green[0].get_y() + green[0].get_height()) if green else None


@pytest.mark.parametrize("n", [4, 5, 8, 64])
def test_the_healthy_band_lies_above_what_random_phases_give(n):
    low, high = drawn_band(n)
    random = torch.rand(20000, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64) * 2 * math.pi
    assert float(torch.polar(torch.ones_like(random), random).mean(1).abs().mean()) < low
    assert low >= 0.35
    assert high == pytest.approx(0.55)


def test_there_is_no_healthy_band_where_random_phases_reach_past_it():
    assert drawn_band(2) is None


def test_drawing_shows_every_layer_and_the_level_of_random_phases():
    records = [record(step, 0.3 + 0.01 * step) for step in range(5)]
    figure = OrderParameter(OrderParameterConfig()).draw(records)
    training, positions = figure.axes
    curves = [line for line in training.lines if line.get_label().startswith("layer")]
    assert [line.get_label() for line in curves] == ["layer 0", "layer 1"]
    assert list(curves[1].get_ydata()) == pytest.approx([0.32, 0.33, 0.34, 0.35, 0.36])
    chance = [line for line in positions.lines if len(set(line.get_ydata())) == 1 and len(line.get_ydata()) == 2]
    assert chance[0].get_ydata()[0] == pytest.approx(math.sqrt(math.pi / 32))
    assert OrderParameter(OrderParameterConfig()).draw([]) is None
