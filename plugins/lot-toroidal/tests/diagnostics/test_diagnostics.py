"""What the diagnostics measure, on modules whose answer is known, and that every picture says what it should."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lot import Batch, Component, Context, Decoder, Dims, Output, Probe, Record, registry
from lot.random import initialize, torch_generator
from lot_toroidal.attention.encoding import TorusEncoding
from lot_toroidal.config import ToroidalConfig

Get = Callable[[str], Component]
T, V = 24, 11


class Task:
    """As much of a task as a diagnostic may ask for."""

    causal, vocab_size, seq_len = True, V, T


def probe_of(component: Component, needs: frozenset[str], causal: bool = True, **options: Any) -> Probe:
    """A model of two layers and one pass over random tokens."""

    def dims(layer: int) -> Dims:
        return Dims(width=32, heads=2, max_len=T, vocab_size=V, layer=layer, layers=2, causal=causal)

    attentions = [component.build(dims(layer), **options) for layer in range(2)]
    model = Decoder.around(
        registry().get("embedding", "token").build(dims(0)),
        attentions,
        dims(0),
    )
    initialize(model, 0)
    model.eval()
    model.set_want(needs)
    tokens = torch.randint(V, (3, T), generator=torch.Generator().manual_seed(0))
    ctx = Context()
    with torch.no_grad():
        output = model(tokens, ctx)
    return Probe(model, Batch(tokens, tokens), output, ctx, Task(), torch_generator(0, "test"), dict)  # type: ignore[arg-type]


def measured(instrument: Any, model: nn.Module | None = None, **signals: dict[int, torch.Tensor]) -> Any:
    """What `instrument` makes of signals given by hand."""
    tokens = torch.zeros(1, 4, dtype=torch.int64)
    output = Output(torch.zeros(0), signals)
    model = nn.Module() if model is None else model
    return instrument.measure(Probe(model, Batch(tokens, tokens), output, Context(), Task(), torch.Generator(), dict))  # type: ignore[arg-type]


@pytest.fixture
def measure(attention: Get, diagnostic: Get) -> Callable[..., tuple[Any, list[Record]]]:
    """The diagnostic and two records of it, on a model made of one attention."""

    def run(name: str, on: str = "toroidal", causal: bool = True, **options: Any) -> tuple[Any, list[Record]]:
        instrument = diagnostic(name).build()
        with torch.no_grad():
            values = instrument.measure(probe_of(attention(on), instrument.needs, causal, **options))
        return instrument, [Record(0, values), Record(50, values)]

    return run


def test_fusion_rank_tells_full_rank_from_one(measure: Callable[..., Any]) -> None:
    ranks = []
    for options in ({"rank": 1}, {"rank": 4}, {"fusion": "mean"}):
        instrument, records = measure("fusion_rank", **options)
        ranks.append(float(records[0].values["rank"]))
    assert ranks[0] == pytest.approx(1)
    assert 1.5 < ranks[1] <= 4
    assert ranks[2] == pytest.approx(1)
    assert instrument.verdict(records) == "fusion has effective rank 1.00 of 4: platters have become nearly the same"
    both = measured(instrument, platter_mixing={0: torch.eye(4), 1: torch.ones(4, 4)})
    assert float(both["rank"]) == pytest.approx(2.5)


def test_orthogonality_finds_the_worst_layer(measure: Callable[..., Any]) -> None:
    instrument, records = measure("orthogonality", depth=4)
    assert float(records[0].values["orthogonality"]) < 1e-4
    assert "bases are orthogonal" in instrument.verdict(records)
    instrument, records = measure("orthogonality", depth=4, orthogonal=False)
    assert float(records[0].values["orthogonality"]) > 0.1
    assert "not orthogonal; orthogonal=true makes them so" in instrument.verdict(records)
    layers = [
        TorusEncoding(ToroidalConfig(orthogonal=flag), 8, 4, 64, "the head width") for flag in (True, False, True)
    ]
    found = measured(instrument, nn.ModuleList(layers))
    assert float(found["orthogonality"]) == pytest.approx(layers[1].score)
    torch.testing.assert_close(found["phi"], layers[1].phi.float())


def test_shift_error_tells_integer_from_geometric_frequencies(measure: Callable[..., Any]) -> None:
    instrument, records = measure("shift_error")
    assert records[0].values["error_shift"].shape == (2, 4)
    assert float(records[0].values["shift_error"]) < 1e-5
    assert instrument.verdict(records).endswith("cyclic invariance is exact")
    instrument, records = measure("shift_error", frequencies="geometric")
    assert float(records[0].values["shift_error"]) > 1e-5
    assert records[0].values["shift_error"] == records[0].values["error_shift"].max()
    assert "broken" in instrument.verdict(records)


def test_circulant_error_is_rounding_for_positional_lags_and_more_for_content(measure: Callable[..., Any]) -> None:
    instrument, records = measure("circulant_error", "toroidal_fft")
    assert float(records[0].values["fft_error"]) < 1e-5
    assert "the FFT is exact" in instrument.verdict(records)
    _, records = measure("circulant_error", "toroidal_fft", causal=False, lags="content")
    assert records[0].values["error_position"].shape == (2, T)
    assert float(records[0].values["fft_error"]) > 1e-5
    assert records[0].values["fft_error"] == records[0].values["error_layer"].max()


def test_reach_is_that_of_even_attention_where_nothing_is_learned(measure: Callable[..., Any]) -> None:
    instrument, records = measure("toroidal_distance", lambda_distance=0.0)
    values = records[0].values
    assert float(values["reach"]) == pytest.approx(float(values["even"]), abs=2e-3)
    torch.testing.assert_close(values["mass"].sum(-1), torch.ones(2))
    torch.testing.assert_close(values["mass_even"].sum(), torch.tensor(1.0))
    assert "no nearer than even attention" in instrument.verdict(records)
    _, near = measure("toroidal_distance", window=2)
    assert float(near[0].values["mass"][:, 3:].max()) == 0
    assert float(near[0].values["reach"]) < 2 / T


def test_reach_is_the_mean_over_queries_of_the_distance_attended_to(diagnostic: Get) -> None:
    """The first token attends to itself, every other to the one before, on a ring of 4."""
    weights = torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    found = measured(diagnostic("toroidal_distance").build(), attention={2: torch.stack((weights, torch.eye(4)))[None]})
    torch.testing.assert_close(found["reach_head"], torch.tensor([[3 / 16, 0.0]]))
    assert float(found["reach"]) == pytest.approx(3 / 32)
    assert found["mass"].tolist() == [[pytest.approx(5 / 8), pytest.approx(3 / 8), 0.0]]


def test_a_layer_is_as_decided_as_its_likeliest_depth(diagnostic: Get) -> None:
    weights = {0: torch.tensor([0.2, 0.5, 0.3]), 3: torch.tensor([0.1, 0.1, 0.8])}
    found = measured(diagnostic("depth_weights").build(), depth_weights=weights)
    assert float(found["decided"]) == pytest.approx(0.65)
    assert found["layer"].tolist() == [0, 3]
    assert torch.equal(found["weights"][1], weights[3])


def test_depth_weights_start_even_and_name_the_depths(measure: Callable[..., Any]) -> None:
    instrument, records = measure("depth_weights", "toroidal_adaptive", depths=[1, 2, 8])
    assert records[0].values["depths"].tolist() == [[1, 2, 8]] * 2
    torch.testing.assert_close(records[0].values["weights"], torch.full((2, 3), 1 / 3))
    assert instrument.verdict(records).startswith("likeliest depth by layer 0: 1 (0.33)")


def test_the_torus_shows_what_the_last_position_attends_to(measure: Callable[..., Any]) -> None:
    instrument, records = measure("torus_attention", period=30)
    weights = records[0].values["weights_1"]
    assert weights.shape == (2, T, 4)
    torch.testing.assert_close(weights.sum((1, 2)), torch.ones(2))
    assert records[0].values["period"].tolist() == [30, 30]
    assert f"of {4 * T} places" in instrument.verdict(records)
    by_platter = torch.rand(2, 5, 5, 3)
    found = measured(instrument, platter_attention={1: by_platter})
    assert torch.equal(found["weights_1"], by_platter[:, -1])


PICTURES = {
    "toroidal_distance": (
        "toroidal",
        ["Distance on a ring of 24", "Profile over lags", "Where attention looks, step 50"],
    ),
    "fusion_rank": ("toroidal", ["Effective rank of the fusion", "layer 0", "layer 1"]),
    "orthogonality": ("toroidal", ["Frequency bases"]),
    "shift_error": ("toroidal", ["Shift invariance, step 50"]),
    "circulant_error": ("toroidal_fft", ["FFT against dense attention", "By position, step 50"]),
    "depth_weights": ("toroidal_adaptive", ["layer 0", "layer 1"]),
    "torus_attention": ("toroidal", ["Unrolled, step 50"]),
}


@pytest.mark.parametrize("padded", [False, True])
def test_distances_are_those_within_documents(padded: bool, diagnostic: Get) -> None:
    """Of even attention in documents of 4, 2 and, in the other row, 6 (or 5) tokens."""
    segments = torch.tensor([[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]])
    padding = torch.zeros(2, 6, dtype=torch.bool)
    padding[1, 5] = padded
    ctx = Context(segments=segments, padding=padding)
    documents = [(0, 0, 4), (0, 4, 2), (1, 0, 6 - padded)]
    weights, distances = torch.zeros(2, 1, 6, 6), []
    for row, start, length in documents:
        for i in range(length):
            weights[row, 0, start + i, start : start + i + 1] = 1 / (i + 1)
            distances.append(sum(min(d, 6 - d) for d in range(i + 1)) / (i + 1) / 6)
    tokens = torch.zeros(2, 6, dtype=torch.int64)
    output = Output(torch.zeros(0), {"attention": {0: weights}})
    asked = Probe(nn.Module(), Batch(tokens, tokens), output, ctx, Task(), torch.Generator(), dict)  # type: ignore[arg-type]
    values = diagnostic("toroidal_distance").build().measure(asked)
    expected = sum(distances) / len(distances)
    assert float(values["reach"]) == pytest.approx(expected)
    assert float(values["even"]) == pytest.approx(expected)
    torch.testing.assert_close(values["mass"][0], values["mass_even"])
    assert float(values["mass_even"].sum()) == pytest.approx(1)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_have_their_panels(name: str, measure: Callable[..., Any]) -> None:
    pytest.importorskip("matplotlib")
    on, titles = PICTURES[name]
    instrument, records = measure(name, on)
    figure = instrument.draw(records)
    figure.canvas.draw()  # lays out everything
    found = [text for axes in figure.axes for where in ("left", "center") if (text := axes.get_title(where))]
    assert [title for title in titles if title not in found] == []
    assert instrument.draw([]) is None


@pytest.mark.parametrize("name", ["orthogonality", "shift_error", "circulant_error"])
def test_a_model_without_toroidal_layers_is_told_so(name: str, diagnostic: Get) -> None:
    instrument = diagnostic(name).build()
    records = [Record(0, instrument.measure(probe_of(registry().get("attention", "vanilla"), frozenset())))]
    assert instrument.verdict(records).startswith("no toroidal")
    assert instrument.draw(records) is None
