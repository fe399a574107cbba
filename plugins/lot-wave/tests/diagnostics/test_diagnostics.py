"""Diagnostics: each number on cases whose answer is known, and each verdict on both of its sides."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lot import BadInput, Batch, Context, Decoder, NoOptions, Output, Probe, Record, registry
from lot.figure import pack, token_names, unpack
from lot.nn import context, with_documents
from lot.random import initialize
from lot_wave.config import (
    EmbeddingSpectrumConfig,
    InterferenceMapConfig,
    TrajectoryConfig,
    WaveInferenceConfig,
    fits_layer,
)
from lot_wave.diagnostics.embedding_spectrum import PADDING, EmbeddingSpectrum, find_harmonics, power_spectrum
from lot_wave.diagnostics.interference_map import (
    InterferenceMap,
    autocorrelation,
    distance_profile,
    fringe,
    relative_weights,
)
from lot_wave.diagnostics.trajectory_stability import TrajectoryStability
from lot_wave.diagnostics.wave_inference import WaveInference, generate
from lot_wave.diagnostics.wave_packets import WavePackets

LETTERS = "abcdefghijk"
TASK = SimpleNamespace(decode=lambda ids: "".join(LETTERS[int(i)] for i in ids))


def probe_of(model, make, signals=None, step=0):
    batch = Batch(make.ids(11, 3, 12), make.ids(11, 3, 12))
    return Probe(
        model=model,
        batch=batch,
        output=Output(torch.zeros(0), signals or {}),
        ctx=Context(torch.tensor(step)),
        task=TASK,
        generator=make.generator,
        gradients=dict,
    )


def measure(diagnostic, probe) -> list[Record]:
    with torch.no_grad():
        return [Record(7, diagnostic.measure(probe))]


def decoder(make, embedding=None, layers=2, **options) -> Decoder:
    dims = make.dims(width=16, heads=2, layers=layers, max_len=24)
    attentions = [make.interference(dims, **options).float() for _ in range(layers)]
    model = Decoder.around(
        embedding or registry().get("embedding", "token").build(dims),
        attentions,
        dims,
    )
    initialize(model, int(make.ids(1000, 1)))
    return model.eval()


# Spectrum


def tone(frequencies, T=1000):
    t = torch.arange(T).double()
    return torch.stack([a * torch.cos(f * t + 1.0) for f, a in frequencies], dim=-1) + 3.0


def test_harmonics_are_found_where_they_are():
    f = 0.0731
    peaks = find_harmonics(power_spectrum(tone([(f, 1.0), (2 * f, 0.5), (3 * f, 0.3)])).numpy())
    assert peaks.harmonic
    assert peaks.bins * 2 * math.pi / (1000 * PADDING) == pytest.approx([f, 2 * f, 3 * f], rel=1e-3)


def test_tones_without_a_common_fundamental_are_not_harmonic():
    assert not find_harmonics(power_spectrum(tone([(0.1, 1.0), (0.23, 0.5), (0.3, 0.3)])).numpy()).harmonic


def test_a_constant_has_no_peaks():
    peaks = find_harmonics(power_spectrum(torch.full((200, 3), 0.7)).numpy())
    assert (len(peaks.bins), peaks.fundamental, peaks.harmonic) == (0, 0.0, False)


def test_spectrum_of_waves_and_of_a_standard_embedding(make):
    diagnostic = EmbeddingSpectrum(EmbeddingSpectrumConfig(tokens=4))
    waves = make.packets(make.dims(max_len=24), harmonics=3, waves=8)
    records = measure(diagnostic, probe_of(decoder(make, waves), make))
    values = records[0].values
    assert float(values["harmonic"]) == 1.0
    torch.testing.assert_close(values["fundamental"], values["stated"], rtol=0, atol=2e-3)
    assert "made of harmonic waves" in diagnostic.verdict(records)
    records = measure(diagnostic, probe_of(decoder(make), make))
    assert float(records[0].values["harmonic"]) == 0.0
    assert "has no waves" in diagnostic.verdict(records)


# Wave packets


def test_packets_of_waves_and_of_a_standard_embedding(make):
    diagnostic = WavePackets(NoOptions())
    waves = make.packets(make.dims(max_len=24), learn_amplitudes=True)
    model = decoder(make, waves)
    initialize(waves, 0)
    records = measure(diagnostic, probe_of(model, make))
    values = records[0].values
    torch.testing.assert_close(values["share"][1], torch.tensor([6 / 11, 3 / 11, 2 / 11]))
    assert values["packet"].shape == (3, 24)
    torch.testing.assert_close(values["frequency"], waves.frequency.sort().values)
    phase, frequency, n = waves.phase[0, :, None].detach(), waves.frequency[0], torch.arange(1, 4)
    heaviest = ((n * (5 * frequency + phase)).cos() / n).sum() / waves.norm
    torch.testing.assert_close(values["packet"][0, 5], heaviest)  # without counts the heaviest token is the first
    length = torch.polar(torch.ones_like(waves.phase), waves.phase).detach().mean(1).abs()
    torch.testing.assert_close(values["order"], length.mean())
    assert "the natural 1/n series" in diagnostic.verdict(records)
    with torch.no_grad():
        waves.log_amplitude.zero_()
    assert "another series" in diagnostic.verdict(measure(diagnostic, probe_of(model, make)))
    records = measure(diagnostic, probe_of(decoder(make), make))
    assert "no waves" in diagnostic.verdict(records)
    assert diagnostic.draw(records) is None


# Interference map


def patterned(make, periods, T=96, noise=0.4):
    """Weights whose rows repeat with distance, and one head of noise."""
    distance = (torch.arange(T)[:, None] - torch.arange(T)[None]).double()
    heads = [2 + torch.cos(2 * math.pi * distance / period) for period in periods]
    heads = torch.stack([*heads, torch.full_like(distance, 2.0)])
    noisy = heads + noise * torch.rand(heads.shape, generator=make.generator, dtype=torch.float64)
    weights = noisy.tril()
    return (weights / weights.sum(-1, keepdim=True))[None]


def test_relative_weights_and_profile_by_hand():
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.2, 0.6, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4]])
    relative = relative_weights(weights[None, None])
    torch.testing.assert_close(relative[0, 0, 3], torch.tensor([0.4, 0.8, 1.2, 1.6]))
    torch.testing.assert_close(distance_profile(relative)[0], torch.tensor([(1.2 + 1.8 + 1.0) / 3]))


def test_a_profile_is_over_the_queries_that_have_a_key_at_every_distance(make):
    relative = make.normal(2, 3, 8, 8)
    found = distance_profile(relative)
    for distance in (1, 2, 3):
        expected = sum(relative[:, :, i, i - distance] for i in range(3, 8)) / 5
        torch.testing.assert_close(found[:, distance - 1], expected.mean(0))


def test_fringes_are_found_with_their_period(make):
    diagnostic = InterferenceMap(InterferenceMapConfig())
    model = SimpleNamespace(layers=[0])
    records = measure(diagnostic, probe_of(model, make, {"attention": {0: patterned(make, (8, 12))}}))
    values = records[0].values
    assert values["period"][:2].tolist() == [8.0, 12.0]
    assert bool((values["strength"] > values["chance"])[:2].all())
    assert "weights repeat with distance" in diagnostic.verdict(records)


def test_noise_has_fringes_no_more_often_than_stated(make):
    diagnostic = InterferenceMap(InterferenceMapConfig(surrogates=100))
    noise = torch.rand(1, 60, 64, 64, generator=make.generator).tril()
    model = SimpleNamespace(layers=[0])
    values = measure(diagnostic, probe_of(model, make, {"attention": {0: noise}}))[0].values
    assert float(values["fringes"]) < 0.2  # 5 % expected; 0.2 is beyond five standard deviations


def test_flat_weights_have_no_fringes(make):
    assert fringe(autocorrelation(np.ones(20))) == (0.0, 0)
    diagnostic = InterferenceMap(InterferenceMapConfig())
    even = torch.ones(1, 2, 40, 40).tril()
    records = measure(diagnostic, probe_of(SimpleNamespace(layers=[0]), make, {"attention": {0: even}}))
    assert "no regular pattern" in diagnostic.verdict(records)
    assert float(records[0].values["visibility"].abs().max()) < 1e-6


def test_a_layer_that_is_not_there_is_refused():
    assert [fits_layer(-1, 4), fits_layer(2, 4)] == [3, 2]
    with pytest.raises(BadInput, match=r"diagnostics\.interference_map\.layer: expected a layer from -4 to 3, got 4"):
        fits_layer(4, 4)


# Trajectories


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x, ctx):
        return self.factor * x, {}


@pytest.mark.parametrize(
    ("factor", "told"), [(2.0, "differences grow 8-fold"), (0.5, "stable, small differences shrink"), (1.0, "neutral")]
)
def test_exponent_and_verdict_of_known_blocks(make, factor, told):
    model = SimpleNamespace(layers=[Scale(factor)] * 3)
    diagnostic = TrajectoryStability(TrajectoryConfig())
    hidden = make.normal(4, 3, 12, 16).float()
    records = measure(diagnostic, probe_of(model, make, {"hidden": hidden}))
    assert float(records[0].values["lyapunov"]) == pytest.approx(math.log(factor), abs=1e-3)
    assert float(records[0].values["stream"]) == pytest.approx(math.log(factor), abs=1e-5)
    assert told in diagnostic.verdict(records)


def test_an_exponent_is_the_mean_over_blocks_and_its_error_that_of_the_mean(make):
    model = SimpleNamespace(layers=[Scale(2.0), Scale(3.0), Scale(0.5)])
    diagnostic = TrajectoryStability(TrajectoryConfig(epsilon=0.01))
    values = measure(diagnostic, probe_of(model, make, {"hidden": make.normal(4, 3, 12, 16).float()}))[0].values
    assert float(values["lyapunov"]) == pytest.approx(math.log(3) / 3, abs=1e-3)
    assert values["growth"].tolist() == pytest.approx([math.log(2), math.log(3), -math.log(2)], abs=1e-5)
    each = values["rates"].mean(0)  # of 3 sequences in 4 directions
    torch.testing.assert_close(values["error"], each.std() / 12**0.5, rtol=1e-5, atol=0)


@pytest.mark.parametrize("padded", [False, True])
def test_a_profile_in_documents_is_the_mean_over_their_distant_pairs(make, padded):
    segments = torch.tensor([[0] * 9 + [1] * 3, [0] * 2 + [1] * 10])
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[1, 11] = padded
    ctx = with_documents(Context(segments=segments, padding=padding))
    same = (ctx.segments[:, :, None] == ctx.segments[:, None]) & ~padding[:, :, None] & ~padding[:, None]
    weights = torch.where(same[:, None], torch.rand(2, 3, 12, 12, dtype=torch.float64).tril(), 0.0)
    output = {"attention": {0: weights}}
    probe = replace(probe_of(decoder(make), make, output), batch=Batch(segments, segments), ctx=ctx)
    values = InterferenceMap(InterferenceMapConfig(layer=0, surrogates=20)).measure(probe)
    n = (10 - padded) // 2 - 1
    assert values["profile"].shape == (3, n)
    for distance in range(1, n + 1):
        found = []
        for row, start, length in ((0, 0, 9), (0, 9, 3), (1, 0, 2), (1, 2, 10 - padded)):
            for i in range(n, length):
                seen = weights[row, :, start + i, start : start + i + 1]
                found.append(weights[row, :, start + i, start + i - distance] / seen.mean(-1))
        torch.testing.assert_close(
            values["profile"][:, distance - 1].double(), torch.stack(found).mean(0), rtol=1e-5, atol=0
        )
    assert values["map"][:, 9, :9].isnan().all()
    assert not values["map"][:, :9, :9].isnan().any()


# Inference


def test_generation_with_a_cache_equals_generation_without(make, monkeypatch):
    for options in ({}, {"evolution": "pairwise", "normalize": "softmax"}):
        model = decoder(make, **options)
        prompt, step = make.ids(11, 5), torch.tensor(0)
        assert model.can_decode()
        ids, p = generate(model, prompt, 12, step=step, temperature=0, generator=make.generator)
        monkeypatch.setattr(model, "can_decode", lambda: False)
        again, q = generate(model, prompt, 12, step=step, temperature=0, generator=make.generator)
        assert torch.equal(ids, again)
        torch.testing.assert_close(p, q, atol=1e-5, rtol=1e-4)
        assert torch.equal(ids[:5], prompt)


def test_generation_ends_with_max_len(make):
    model = decoder(make)
    ids, p = generate(model, make.ids(11, 20), 30, step=torch.tensor(0), temperature=1.0, generator=make.generator)
    assert (len(ids), len(p)) == (24, 4)
    torch.testing.assert_close(p.sum(-1), torch.ones(4))


def test_names_survive_the_record():
    names = ["a", "␣", "日本", "", "wave"]
    assert unpack(pack(names)) == names
    assert token_names(SimpleNamespace(decode=lambda ids: [" ", "\n", "\0"][int(ids[0])]), [0, 1, 2]) == ["␣", "↵", "�"]


@pytest.fixture
def inference(make):
    pytest.importorskip("matplotlib")
    diagnostic = WaveInference(WaveInferenceConfig(prompt_tokens=6, new_tokens=3, candidates=4))
    return diagnostic, measure(diagnostic, probe_of(decoder(make), make))


def test_the_animation_has_a_frame_per_token(inference, tmp_path):
    from PIL import Image

    from lot_wave.diagnostics.wave_inference import HOLD

    diagnostic, records = inference
    diagnostic.animate(records, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        times = []
        for frame in range(image.n_frames):
            image.seek(frame)
            times.append(image.info["duration"])
    # Equal frames at the end may be stored as one that stays longer.
    assert sum(times) == pytest.approx((3 + HOLD) * 1000 / 3, rel=0.1)
    assert len(times) >= 3


def test_what_cannot_be_animated_gets_one_line(inference, tmp_path, monkeypatch):
    from matplotlib.animation import FFMpegWriter

    diagnostic, records = inference
    with pytest.raises(BadInput, match=r"expected a path that ends in \.gif or \.mp4, got \.png"):
        diagnostic.animate(records, tmp_path / "a.png")
    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(BadInput, match=r"ffmpeg was not found.*write a \.gif"):
        diagnostic.animate(records, tmp_path / "a.mp4")
    with pytest.raises(BadInput, match="no inference was recorded"):
        diagnostic.animate([], tmp_path / "a.gif")


def test_weights_seen_are_those_of_the_past(inference):
    _, records = inference
    assert float(records[0].values["weights"].triu(1).abs().max()) == 0.0


@pytest.mark.parametrize(("wanted", "began"), [(3, [0, 1, 2]), (4, [3, 4, 5, 6]), (9, [3, 4, 5, 6, 7])])
def test_inference_goes_on_from_one_document(make, wanted, began):
    ids = torch.arange(8)[None] + torch.tensor([[0], [1]])
    segments = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]])
    batch = Batch(ids, ids, None, segments)
    diagnostic = WaveInference(WaveInferenceConfig(prompt_tokens=wanted, new_tokens=2))
    probe = replace(probe_of(decoder(make), make), batch=batch, ctx=context(batch, torch.tensor(0)))
    values = measure(diagnostic, probe)[0].values
    assert unpack(values["names"])[:-2] == [LETTERS[i] for i in began]
    assert int(values["prompt"]) == len(began)


def test_inference_is_judged_against_token_frequencies(make):
    diagnostic = WaveInference(WaveInferenceConfig(prompt_tokens=6, new_tokens=3, temperature=0))
    model = decoder(make)
    assert float(measure(diagnostic, probe_of(model, make))[0].values["without_context"]) == pytest.approx(math.log(11))
    model.dims = replace(model.dims, token_counts=torch.tensor([8, 4, 2, 2, 0, 0, 0, 0, 0, 0, 0]))
    for scale, told in ((0.0, "context does not narrow the choice"), (1e4, "context narrows the choice")):
        with torch.no_grad():
            model.head.weight.copy_(scale * make.normal(*model.head.weight.shape))
        records = measure(diagnostic, probe_of(model, make))
        # Shares 1/2, 1/4, 1/8 and 1/8: 1.75 bits.
        assert float(records[0].values["without_context"]) == pytest.approx(1.75 * math.log(2))
        assert float(records[0].values["entropy_mean"]) == pytest.approx(0.0 if scale else math.log(11), abs=0.05)
        assert "3 new tokens" in diagnostic.verdict(records)
        assert told in diagnostic.verdict(records)
