"""The wave coherence loss and its three regularizers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lot import Batch, Context, Output
from lot_wave.config import WaveCoherenceConfig
from lot_wave.ops.coherence import infidelity, norm_drift, phase_variance, window_count
from lot_wave.wave_coherence import WaveCoherence


def plain_variance(hidden, window, variance, padding):
    """Bin by bin, window by window."""
    L, B, T, _ = hidden.shape
    found = []
    for layer in range(L):
        for b in range(B):
            for start in range(0, T, window):
                rows = [t for t in range(start, min(start + window, T)) if padding is None or not padding[b, t]]
                if len(rows) < 2:
                    continue
                angles = torch.fft.rfft(hidden[layer, b, rows], dim=-1).angle()  # (positions, bins)
                for bin_angles in angles.T:
                    if variance == "circular":
                        found.append(1 - torch.complex(bin_angles.cos(), bin_angles.sin()).mean().abs())
                    else:
                        found.append(bin_angles.var(correction=0))
    return torch.stack(found).mean()


@pytest.mark.parametrize("variance", ["circular", "angle"])
@pytest.mark.parametrize("padded", [False, True])
def test_phase_variance_equals_the_plain_loop(make, close, variance, padded):
    hidden = make.normal(3, 2, 11, 9).requires_grad_()
    padding = None
    if padded:
        padding = torch.zeros(2, 11, dtype=torch.bool)
        padding[0, 5:] = True
        padding[1, :3] = True
    expected = plain_variance(hidden, 4, variance, padding)
    found = phase_variance(hidden, 4, variance, padding)
    close(found, expected, 1e-12)
    close(torch.autograd.grad(found, hidden)[0], torch.autograd.grad(expected, hidden)[0], 1e-10)


def test_equal_phases_have_no_variance_and_spread_ones_have_most():
    """Of the three bins of five features, the first is real: its phase is 0 throughout."""
    T = 8
    for turn, expected in ((0.0, 0.0), (2 * math.pi / T, 2 / 3)):
        angle = turn * torch.arange(T, dtype=torch.float64)[:, None] * torch.tensor([0.0, 1.0, 1.0])
        hidden = torch.fft.irfft(torch.polar(torch.ones_like(angle), angle), n=5)[None, None]
        assert float(phase_variance(hidden, T, "circular")) == pytest.approx(expected, abs=1e-12)


def test_only_the_published_variance_jumps_at_pi():
    """Phases that agree across the cut at pi: no circular variance, a large one of the angle."""
    D, T = 4, 8
    spectrum = torch.zeros(T, D // 2 + 1, dtype=torch.complex128)
    angle = torch.tensor([math.pi - 0.01, -math.pi + 0.01] * (T // 2), dtype=torch.float64)
    spectrum[:, 0] = 1.0
    spectrum[:, 1] = torch.polar(torch.ones(T, dtype=torch.float64), angle)
    spectrum[:, 2] = 1.0
    hidden = torch.fft.irfft(spectrum, n=D)[None, None]
    assert float(phase_variance(hidden, T, "circular")) < 1e-4
    assert float(phase_variance(hidden, T, "angle")) > 3.0


@pytest.mark.parametrize("variance", ["circular", "angle"])
def test_silence_has_finite_gradients(variance):
    hidden = torch.zeros(2, 1, 6, 8, requires_grad=True)
    total = phase_variance(hidden, 3, variance) + norm_drift(hidden)
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(hidden.grad).all()


def test_norm_drift(make, close):
    hidden = make.normal(4, 2, 5, 6)
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[0, 3:] = True
    found = []
    for layer in range(3):
        for b in range(2):
            for t in range(5):
                if not padding[b, t]:
                    a, c = hidden[layer, b, t].norm(), hidden[layer + 1, b, t].norm()
                    found.append(((c - a) / (c + a)) ** 2)
    close(norm_drift(hidden, padding), torch.stack(found).mean(), 1e-12)
    rotation = torch.linalg.qr(make.normal(6, 6)).Q
    assert float(norm_drift(torch.stack((hidden[0], hidden[0] @ rotation)))) < 1e-20


def test_infidelity_is_the_distance_from_the_natural_series(make):
    n = torch.arange(1, 5).double()
    assert float(infidelity(3.0 / n.expand(7, 2, 4))) < 1e-15
    flat = infidelity(torch.ones(7, 2, 4, dtype=torch.float64))
    series = (1 / n) / (1 / n).sum()
    assert float(flat) == pytest.approx(float((0.25 - series).abs().mean()))


def output_of(make, B=2, T=9, D=8, V=5, L=3):
    hidden = make.normal(L, B, T, D).requires_grad_()
    amplitude = make.normal(V, 3, 4).exp().requires_grad_()
    logits = make.normal(B, T, V).requires_grad_()
    batch = Batch(make.ids(V, B, T), make.ids(V, B, T))
    return Output(logits, {"hidden": hidden, "harmonic_amplitude": amplitude}), batch


def test_terms_are_reported_by_themselves_under_their_weights(make, close):
    output, batch = output_of(make)
    loss = WaveCoherence(WaveCoherenceConfig(lambda_phase=0.1, lambda_energy=0.2, lambda_harmonic=0.3, window=4))
    terms = loss.terms(output, batch, Context())
    assert list(terms) == ["cross_entropy", "phase_lock", "energy", "harmonic"]
    close(terms["cross_entropy"], F.cross_entropy(output.logits.flatten(0, 1), batch.targets.flatten()), 1e-6)
    close(terms["phase_lock"], 0.1 * phase_variance(output.signals["hidden"], 4, "circular"), 1e-12)
    close(terms["energy"], 0.2 * norm_drift(output.signals["hidden"]), 1e-12)
    close(terms["harmonic"], 0.3 * infidelity(output.signals["harmonic_amplitude"]), 1e-12)


def test_a_weight_of_0_needs_nothing(make):
    output, batch = output_of(make)
    loss = WaveCoherence(WaveCoherenceConfig(lambda_phase=0, lambda_energy=0, lambda_harmonic=0))
    assert loss.needs == loss.optional == frozenset()
    assert list(loss(Output(output.logits, {}), batch, Context())) == ["cross_entropy"]


def test_an_embedding_without_harmonics_makes_that_term_0(make):
    output, batch = output_of(make)
    loss = WaveCoherence(WaveCoherenceConfig())
    assert (loss.needs, loss.optional) == ({"hidden"}, {"harmonic_amplitude"})
    terms = loss.terms(Output(output.logits, {"hidden": output.signals["hidden"]}), batch, Context())
    assert float(terms["harmonic"]) == 0.0


def test_padding_and_ignored_targets_are_respected(make):
    output, batch = output_of(make)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[0, 6:] = True
    targets = batch.targets.masked_fill(padding, -100)
    targets[1, :4] = -100
    loss = WaveCoherence(WaveCoherenceConfig(window=3))
    terms = loss.terms(output, Batch(batch.inputs, targets, padding), Context())
    total = sum(terms.values())
    d_logits, d_hidden = torch.autograd.grad(total, (output.logits, output.signals["hidden"]))
    assert float(d_logits[targets == -100].abs().max()) == 0.0
    assert float(d_hidden[:, padding].abs().max()) == 0.0
    assert float(d_hidden[:, 1, :4].abs().min()) > 0.0  # not scored, but no padding


def published_terms(hidden, window, padding):
    """Phase lock and energy as the source has them: whole windows, unbiased variance, mean |norm_b - norm_a|."""
    L, B, T, _ = hidden.shape
    windows, changes = [], []
    for layer in range(L):
        for b in range(B):
            for start in range(0, T - window + 1, window):
                rows = list(range(start, start + window))
                if padding is not None and bool(padding[b, rows].any()):
                    continue
                angle = torch.fft.rfft(hidden[layer, b, rows], dim=-1).angle()  # (window, bins)
                mean = angle.sum(0) / window
                windows.append(((angle - mean) ** 2).sum(0) / (window - 1))
            for t in range(T):
                if layer and (padding is None or not padding[b, t]):
                    changes.append((hidden[layer, b, t].norm() - hidden[layer - 1, b, t].norm()).abs())
    return torch.stack(windows).mean(), torch.stack(changes).mean(), len(windows) // L


@pytest.mark.parametrize("padded", [False, True])
def test_the_published_terms_equal_their_formulas(make, close, padded):
    hidden = make.normal(3, 2, 11, 9).requires_grad_()
    padding = torch.zeros(2, 11, dtype=torch.bool) if padded else None
    if padded:
        padding[0, 6:] = True
    lock, energy, count = published_terms(hidden, 4, padding)
    options = {"variance": "unbiased_angle", "energy": "absolute", "window": 4}
    loss = WaveCoherence(WaveCoherenceConfig(**options, lambda_phase=0.3, lambda_energy=0.7))
    ids = make.ids(5, 2, 11)
    batch = Batch(ids, ids, padding)
    terms = loss(Output(make.normal(2, 11, 5), {"hidden": hidden}), batch, Context())
    counts = loss.counts(batch)
    assert int(counts["phase_lock"]) == count == (3 if padded else 4)
    assert int(counts["energy"]) == (17 if padded else 22)
    close(terms["phase_lock"], 0.3 * lock * count, 1e-12)
    close(terms["energy"], 0.7 * energy * counts["energy"], 1e-12)
    for ours, theirs in ((terms["phase_lock"], 0.3 * lock * count), (terms["energy"], 0.7 * energy * counts["energy"])):
        close(torch.autograd.grad(ours, hidden)[0], torch.autograd.grad(theirs, hidden)[0], 1e-10)


def test_the_unbiased_variance_is_eight_sevenths_over_whole_windows(make, close):
    hidden = make.normal(2, 2, 16, 9)
    close(phase_variance(hidden, 8, "unbiased_angle"), phase_variance(hidden, 8, "angle") * 8 / 7, 1e-12)


def test_a_sequence_without_a_whole_window_has_no_published_phase_lock(make):
    hidden = make.normal(2, 2, 7, 9)
    assert float(phase_variance(hidden, 8, "unbiased_angle")) == 0
    assert int(window_count(make.ids(5, 2, 7), 8, "unbiased_angle")) == 0


@pytest.mark.parametrize("variance", ["circular", "angle", "unbiased_angle"])
def test_no_window_reaches_from_one_document_to_another(make, close, variance):
    """The terms of rows that documents share are the sums over the terms of each document."""
    loss = WaveCoherence(WaveCoherenceConfig(window=4, variance=variance))
    hidden, logits = make.normal(3, 2, 11, 9), make.normal(2, 11, 5)
    targets = torch.randint(5, (2, 11))
    segments = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2], [0] * 11])
    alone = [(0, slice(0, 3)), (0, slice(3, 9)), (0, slice(9, 11)), (1, slice(0, 11))]

    def batch_of(rows, part):
        return Batch(targets[rows, part], targets[rows, part])

    together = Batch(targets, targets, segments=segments)
    found = loss(Output(logits, {"hidden": hidden}), together, Context())
    each = [(slice(row, row + 1), part) for row, part in alone]
    sums = [
        loss(Output(logits[rows, part], {"hidden": hidden[:, rows, part]}), batch_of(rows, part), Context())
        for rows, part in each
    ]
    counts = [loss.counts(batch_of(rows, part)) for rows, part in each]
    for name in ("cross_entropy", "phase_lock", "energy"):
        close(found[name], sum(terms[name] for terms in sums), 1e-10)
    assert int(loss.counts(together)["phase_lock"]) == sum(int(count["phase_lock"]) for count in counts)
