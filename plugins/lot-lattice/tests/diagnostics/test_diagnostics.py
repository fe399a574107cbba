"""What the diagnostics measure, on phases made by hand, and what their pictures show."""

from __future__ import annotations

import math

import pytest
import torch
from matplotlib.collections import LineCollection
from torch import nn

from lot import BadInput, Batch, Context, NoOptions, Output, Probe, Record
from lot_lattice.config import DelimiterWaveConfig, LatticeSnapshotConfig
from lot_lattice.diagnostics import phase_snapshots
from lot_lattice.diagnostics.coupling import Coupling
from lot_lattice.diagnostics.delimiter_wave import DelimiterWave
from lot_lattice.diagnostics.drawing import layers_of, site_positions
from lot_lattice.diagnostics.lattice_snapshot import LatticeSnapshot
from lot_lattice.diagnostics.phase_snapshots import PhaseSnapshots


def probe(inputs=None, model=None, padding=None, **signals) -> Probe:
    shape = next(iter(next(iter(signals.values())).values())).shape
    inputs = torch.zeros(shape[0], shape[2], dtype=torch.int64) if inputs is None else inputs
    output = Output(torch.zeros(1), signals)
    model = nn.Module() if model is None else model
    return Probe(model, Batch(inputs, inputs, padding), output, Context(), None, torch.Generator(), dict)


def test_delimiter_wave_aligns_sequences_at_their_first_delimiter():
    inputs = torch.tensor([[3, 0, 3, 3, 0], [3, 3, 3, 0, 3], [3, 3, 3, 3, 3]])
    theta = torch.zeros(3, 1, 5)
    theta[0, 0] = torch.tensor([0.0, 0.5, 0.6, 0.7, 0.8])
    theta[1, 0] = torch.tensor([0.0, 0.1, 0.2, 0.9, 1.0])
    theta[2, 0] = 100.0  # without a delimiter: left out
    values = DelimiterWave(DelimiterWaveConfig(token=0, window=2)).measure(probe(inputs, phase={4: theta}))
    assert values["offset"].tolist() == [-2, -1, 0, 1, 2]
    assert values["inside"].tolist() == [0, 1, 1, 1, 1]
    assert values["count"].tolist() == [1, 1, 2, 2, 1]
    torch.testing.assert_close(values["phase_4"], torch.tensor([[0.0, 0.0, 0.5, 0.6, 0.7]]))
    torch.testing.assert_close(values["speed_4"], torch.tensor([[0.1, 0.1, 0.6, 0.1, 0.1]]))


def test_delimiter_wave_stays_within_a_document():
    inputs = torch.tensor([[3, 0, 3, 0, 3, 0], [0, 3, 3, 3, 3, 3]])
    theta = torch.tensor([[0.0, 0.5, 0.7, 7.0, 7.1, 7.3], [9.0, 9.4, 9.5, 1.0, 1.1, 1.2]])[:, None]
    asked = probe(inputs, phase={0: theta})
    asked.ctx = Context(segments=torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1]]))
    values = DelimiterWave(DelimiterWaveConfig(token=0, window=2)).measure(asked)
    # The first of [0.0 0.5* 0.7], [7.0* 7.1 7.3] and [9.0* 9.4 9.5]; the last document has none.
    assert values["inside"].tolist() == [0, 1, 1, 1, 0]
    assert values["count"].tolist() == [0, 0, 1, 3, 2]
    torch.testing.assert_close(values["phase_0"], torch.tensor([[0.0, 0.0, 0.5, 0.7, 0.0]]))
    torch.testing.assert_close(values["speed_0"], torch.tensor([[0.0, 0.0, 0.5, 0.7 / 3, 0.15]]))


def test_delimiter_wave_averages_the_oscillators_of_a_head_without_a_jump_at_pi():
    theta = torch.tensor([[3.0, 3.3], [3.1, 3.4], [3.2, 3.5]]).view(1, 1, 3, 2)
    inputs = torch.tensor([[1, 0, 1]])
    values = DelimiterWave(DelimiterWaveConfig(window=1)).measure(probe(inputs, phase={0: theta}))
    torch.testing.assert_close(values["speed_0"], torch.tensor([[0.0, 0.1, 0.1]]))
    torch.testing.assert_close(torch.remainder(values["phase_0"], 2 * math.pi), torch.tensor([[3.15, 3.25, 3.35]]))


def test_delimiter_wave_without_a_delimiter_draws_nothing():
    diagnostic = DelimiterWave(DelimiterWaveConfig(token=7))
    values = diagnostic.measure(probe(phase={0: torch.zeros(2, 3, 4)}))
    assert diagnostic.draw([Record(0, values)]) is None


def test_delimiter_wave_shows_no_more_positions_than_the_sequences_have():
    diagnostic = DelimiterWave(DelimiterWaveConfig(token=0, window=12))
    values = diagnostic.measure(probe(torch.tensor([[3, 3, 0, 3, 3]]), phase={0: torch.rand(1, 4, 5)}))
    figure = diagnostic.draw([Record(0, values)])
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert [image.get_array().shape for image in images] == [(4, 5), (4, 5)]
    assert images[0].get_extent()[:2] == [-2.5, 2.5]


def test_coupling_measures_force_and_agreement_of_neighbors(make):
    theta, force = make.normal(2, 3, 4), make.normal(2, 3, 4)
    weights = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]).double()
    values = Coupling(NoOptions()).measure(
        probe(phase={2: theta}, coupling_force={2: force}, neighbor_weights={2: weights})
    )
    agreement = torch.stack([(theta[:, i] - theta[:, j]).cos().mean() for i, j in ((0, 1), (1, 2))])
    torch.testing.assert_close(values["agreement_2"][0, 1], agreement[0])
    torch.testing.assert_close(values["agreement_2"][2, 1], agreement[1])
    assert values["agreement_2"][0, 2] == 0
    torch.testing.assert_close(values["agreement"], agreement.mean())
    torch.testing.assert_close(values["force_2"], force.mean(0))
    torch.testing.assert_close(values["force_rms"], force.square().mean().sqrt())
    other = make.normal(2, 3, 4)
    both = Coupling(NoOptions()).measure(
        probe(
            phase={2: theta, 5: other},
            coupling_force={2: force, 5: 3 * force},
            neighbor_weights={2: weights, 5: weights},
        )
    )
    of_other = torch.stack([(other[:, i] - other[:, j]).cos().mean() for i, j in ((0, 1), (1, 2))])
    torch.testing.assert_close(both["agreement"], (agreement.mean() + of_other.mean()) / 2)
    torch.testing.assert_close(both["force_rms"], 2 * values["force_rms"])


def snapshot(make, of, **signals):
    """A probe of a lattice of 2 x 2 heads in layer 1, and of a phase attention in layer 3."""
    model = nn.ModuleList([make.lattice(make.dims(layer=1)), make.phase(make.dims(layer=3))])
    phase = {1: make.normal(2, 4, 9), 3: make.normal(2, 4, 9, 5)}
    inputs = torch.arange(18).view(2, 9)
    return phase, of.measure(
        probe(inputs, model, phase=phase, neighbor_weights={1: model[0].neighbor_weights().detach()})
    )


def test_lattice_snapshot_keeps_the_phases_of_lattices_at_tokens_over_the_sequence(make):
    phase, values = snapshot(make, LatticeSnapshot(LatticeSnapshotConfig(frames=3)))
    assert values["position"].tolist() == [0, 4, 8]
    assert values["shape_1"].tolist() == [2, 2]
    assert layers_of(values, "theta") == [1]
    torch.testing.assert_close(values["theta_1"], phase[1][0][:, [0, 4, 8]])


def test_phase_snapshots_keep_all_phases_of_the_first_sequence(make):
    phase, values = snapshot(make, PhaseSnapshots(NoOptions()))
    assert set(values) == {"tokens", "phase_1", "phase_3", "shape_1", "neighbors_1"}
    assert values["tokens"].tolist() == list(range(9))
    for layer in (1, 3):
        assert torch.equal(values[f"phase_{layer}"], phase[layer][0])


def test_lattice_snapshot_draws_a_disc_and_a_vector_for_each_head(make):
    diagnostic = LatticeSnapshot(LatticeSnapshotConfig(frames=2))
    phase, values = snapshot(make, diagnostic)
    figure = diagnostic.draw([Record(70, values)])
    panel = figure.axes[0]
    (vectors,) = [item for item in panel.collections if hasattr(item, "U")]
    assert list(vectors.U) == pytest.approx(phase[1][0][:, 0].cos().tolist())
    assert list(vectors.V) == pytest.approx(phase[1][0][:, 0].sin().tolist())
    assert "token 0" in panel.get_title(loc="left")
    assert "step 70" in figure.get_suptitle()


def test_phase_snapshots_draw_a_column_a_record_and_a_row_a_layer(make):
    diagnostic = PhaseSnapshots(NoOptions())
    phase, values = snapshot(make, diagnostic)
    figure = diagnostic.draw([Record(0, values), Record(500, values)])
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [image.shape for image in images] == [(4, 9), (4, 9), (20, 9), (20, 9)]
    assert images[0][2, 5] == pytest.approx(float(phase[1][0][2, 5]) % (2 * math.pi))


def test_the_animation_has_a_frame_per_token(make, tmp_path):
    from PIL import Image

    diagnostic = PhaseSnapshots(NoOptions())
    _, values = snapshot(make, diagnostic)
    short = {key: value[..., :3] if key == "phase_1" else value for key, value in values.items() if key != "phase_3"}
    diagnostic.animate([Record(0, {**short, "tokens": values["tokens"][:3]})], tmp_path / "wave.gif")
    with Image.open(tmp_path / "wave.gif") as picture:
        assert picture.n_frames == 3
    with pytest.raises(BadInput, match="no phase snapshot"):
        diagnostic.animate([], tmp_path / "none.gif")


def test_the_animation_draws_the_neighbors_of_the_model_itself(make, monkeypatch, tmp_path):
    """On a (2, 4) lattice with opposite edges joined, each row is a ring of 4 pairs and each column one pair: 12."""
    options = {"lattice_shape": (2, 4), "neighborhood": "von_neumann", "boundary": "periodic"}
    model = make.lattice(make.dims(heads=8, layer=1), **options)
    expected = {(r * 4 + c, r * 4 + (c + 1) % 4) for r in range(2) for c in range(4)} | {(c, 4 + c) for c in range(4)}
    diagnostic = PhaseSnapshots(NoOptions())
    values = diagnostic.measure(probe(None, model, phase={1: make.normal(1, 8, 5)}))
    drawn = []
    monkeypatch.setattr(phase_snapshots, "save_animation", lambda figure, *rest, **options: drawn.append(figure))
    diagnostic.animate([Record(0, values)], tmp_path / "wave.gif")
    (lines,) = [item for item in drawn[0].axes[0].collections if isinstance(item, LineCollection)]
    places = [tuple(place) for place in site_positions((2, 4))]
    found = {frozenset(places.index(tuple(end)) for end in segment) for segment in lines.get_segments()}
    assert found == {frozenset(pair) for pair in expected}
    assert len(lines.get_segments()) == 12


def test_coupling_follows_positions_in_documents_and_draws_them(make):
    theta, force = make.normal(1, 3, 5), make.normal(1, 3, 5)
    weights = torch.ones(3, 3).fill_diagonal_(0).double()
    asked = probe(phase={0: theta}, coupling_force={0: force}, neighbor_weights={0: weights})
    asked.ctx = Context(segments=torch.tensor([[0, 0, 0, 1, 1]]))
    diagnostic = Coupling(NoOptions())
    values = diagnostic.measure(asked)
    expected = torch.stack(
        ((force[0, :, 0] + force[0, :, 3]) / 2, (force[0, :, 1] + force[0, :, 4]) / 2, force[0, :, 2]), 1
    )
    torch.testing.assert_close(values["force_0"][:, :3], expected)
    assert values["force_0"][:, 3:].isnan().all()
    image = diagnostic.draw([Record(0, values)]).axes[0].images[0]
    assert image.norm.vmax == pytest.approx(float(expected.abs().max()))


def test_coupling_draws_force_and_agreement_of_each_layer(make):
    signals = {
        "phase": {0: make.normal(2, 4, 6), 1: make.normal(2, 4, 6)},
        "coupling_force": {0: make.normal(2, 4, 6), 1: make.normal(2, 4, 6)},
        "neighbor_weights": dict.fromkeys((0, 1), torch.ones(4, 4).fill_diagonal_(0).double()),
    }
    diagnostic = Coupling(NoOptions())
    values = diagnostic.measure(probe(**signals))
    figure = diagnostic.draw([Record(0, values), Record(50, values)])
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [image.shape for image in images] == [(4, 6), (4, 4), (4, 6), (4, 4)]
    assert images[1].mask.diagonal().all()
    assert not images[1].mask[0, 1]


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 2, 2), (2, 1, 2, 2)])
def test_every_site_of_a_lattice_has_a_place_of_its_own(shape):
    places = {tuple(place) for place in site_positions(shape)}
    assert len(places) == math.prod(shape)
