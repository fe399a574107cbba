"""Loss by position, against sums over single targets."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lot.builtin.loss_by_position import LossByPosition
from lot.contracts import IGNORED, Batch, Context, Output, Probe, Record
from lot.nn import context
from lot.options.declare import NoOptions


def measure(logits, targets, ctx=None):
    output, batch = Output(logits, {}), Batch(targets.clamp(min=0), targets)
    probe = Probe(nn.Module(), batch, output, ctx or Context(), None, torch.Generator(), dict)
    return LossByPosition(NoOptions()).measure(probe)


def test_documents_that_share_a_row_are_sequences_with_positions_of_their_own():
    lengths = [[3, 1, 7], [11], [5, 6]]
    logits, targets = drawn(3, 11, share=0.2)
    segments = torch.tensor([[n for n, length in enumerate(row) for _ in range(length)] for row in lengths])
    packed = measure(logits, targets, context(Batch(targets, targets, None, segments), torch.tensor(0)))
    pieces = [(b, sum(row[:n]), length) for b, row in enumerate(lengths) for n, length in enumerate(row)]
    alone_logits, alone = torch.zeros(len(pieces), 11, 7), torch.full((len(pieces), 11), IGNORED)
    for row, (b, start, length) in enumerate(pieces):
        alone_logits[row, :length], alone[row, :length] = (x[b, start : start + length] for x in (logits, targets))
    unpacked = measure(alone_logits, alone)
    assert packed.keys() == unpacked.keys()
    for name, value in unpacked.items():
        torch.testing.assert_close(packed[name], value, equal_nan=True)


def single(logits, targets):
    """{(sequence, position): nats} of every scored target."""
    return {
        (b, t): -math.log(float(logits[b, t].double().softmax(-1)[targets[b, t]]))
        for b in range(len(targets))
        for t in range(targets.shape[1])
        if targets[b, t] != IGNORED
    }


def drawn(B, T, V=7, share=0.0):
    logits, targets = 3 * torch.randn(B, T, V), torch.randint(V, (B, T))
    return logits, targets.masked_fill(torch.rand(B, T) < share, IGNORED)


@pytest.mark.parametrize(("B", "T", "share"), [(5, 50, 0.3), (3, 8, 0.0), (4, 33, 0.6), (2, 1, 0.0)])
def test_every_mean_is_that_of_the_targets_it_covers(B, T, share):
    logits, targets = drawn(B, T, share=share)
    values, nats = measure(logits, targets), single(logits, targets)
    begin = 0
    assert int(values["ends"][-1]) == T
    for end, mean in zip(values["ends"].tolist(), values["loss"].tolist(), strict=True):
        inside = [value for (_, t), value in nats.items() if begin <= t < end]
        assert end > begin
        assert mean == pytest.approx(sum(inside) / len(inside), rel=1e-5, abs=1e-6) if inside else math.isnan(mean)
        begin = end
    asked = sorted({t for _, t in nats})
    if len(asked) > 1:
        middle = asked[len(asked) // 2]
        early = [value for (_, t), value in nats.items() if t < middle]
        late = [value for (_, t), value in nats.items() if t >= middle]
        assert float(values["early"]) == pytest.approx(sum(early) / len(early), rel=1e-5)
        assert float(values["late"]) == pytest.approx(sum(late) / len(late), rel=1e-5)
        assert float(values["gain"]) == pytest.approx(float(values["early"] - values["late"]))
    else:
        assert "gain" not in values


def test_standard_errors_cover_what_fresh_sequences_give():
    values = [measure(*drawn(24, 12, share=0.4)) for _ in range(300)]
    for name, error in (("loss", "error"), ("gain", "gain_error")):
        spread = torch.stack([each[name].double() for each in values]).std(0)
        told = torch.stack([each[error].double() for each in values]).mean(0)
        torch.testing.assert_close(told, spread, rtol=0.2, atol=0.0)


def test_what_cannot_be_told_is_left_out():
    logits, targets = drawn(3, 20)
    values = measure(logits, torch.full_like(targets, IGNORED))
    assert set(values) == {"ends", "loss", "error"}
    assert values["loss"].isnan().all()
    assert set(measure(logits[:1], targets[:1])) == {"ends", "loss", "error", "early", "late", "gain"}
    diagnostic = LossByPosition(NoOptions())
    assert diagnostic.verdict([]) is None
    assert diagnostic.verdict([Record(3, values)]) is None


def test_it_draws_and_tells_the_last_record():
    pytest.importorskip("matplotlib")
    diagnostic = LossByPosition(NoOptions())
    records = [Record(step, measure(*drawn(6, 40))) for step in (0, 50, 100)]
    place, training = diagnostic.draw(records).axes
    assert place.get_title(loc="left") == "Loss by position, step 100"
    torch.testing.assert_close(torch.tensor(place.lines[0].get_ydata()), records[-1].values["loss"])
    early, late = training.lines
    assert [line.get_label() for line in (early, late)] == ["early half", "late half"]
    assert list(late.get_ydata()) == pytest.approx([float(record.values["late"]) for record in records])
    last = records[-1].values
    assert f"difference {float(last['gain']):+.3f} ± {float(last['gain_error']):.3f}" in diagnostic.verdict(records)
