"""Documents that share rows: where they lie, how they are grouped, and that a module gives what it gives for each alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lot.builtin.config import VanillaConfig
from lot.builtin.token import Token
from lot.builtin.vanilla import Vanilla
from lot.contracts import Batch, Context, Dims
from lot.model.decoder import Decoder
from lot.nn import Documents, apart, context, first_rows, with_documents
from lot.nn.documents import CALL, by_cost, by_length
from lot.options.declare import NoOptions
from lot.random import initialize
from lot.testing.draws import perturb

DIMS = Dims(width=16, heads=2, max_len=32, vocab_size=11, layers=2)
SEGMENTS = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2], [5, 5, 5, 5, 5, 5, 5, 5], [0, 1, 1, 0, 0, 0, 3, 3]])
PADDING = torch.tensor([[1, 0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0]]).bool()
ALONE = [(0, [0, 1, 2]), (0, [3, 4]), (0, [5, 6, 7]), (1, range(8)), (2, [0]), (2, [1, 2]), (2, [3, 4, 5]), (2, [6, 7])]
ALONE_PADDED = [(0, [1, 2]), (0, [3]), (0, [5, 6, 7]), (1, range(6)), *ALONE[4:]]
EACH = pytest.mark.parametrize(("padding", "alone"), [(None, ALONE), (PADDING, ALONE_PADDED)], ids=["", "padding"])


def attention(causal: bool = True, **options: bool) -> Vanilla:
    module = Vanilla(VanillaConfig(causal=causal), DIMS)
    initialize(module, 0)
    perturb(module)
    return module.double().eval()


@EACH
def test_each_document_has_a_number_and_positions_from_0(padding: Tensor | None, alone: list) -> None:
    found = Documents(SEGMENTS, padding)
    numbers, positions = torch.full_like(SEGMENTS, -1), torch.zeros_like(SEGMENTS)
    for number, (row, places) in enumerate(alone):
        numbers[row, list(places)] = number
        positions[row, list(places)] = torch.arange(len(places))
    assert torch.equal(found.segments, numbers)
    assert torch.equal(found.positions, positions)
    assert found.lengths.tolist() == [len(places) for _, places in alone]


@EACH
@pytest.mark.parametrize("causal", [True, False])
def test_outputs_gradients_and_signals_are_those_of_separate_passes(
    padding: Tensor | None, alone: list, causal: bool
) -> None:
    module = attention(causal)
    module.want = frozenset({"attention"})
    x = torch.randn(3, 8, 16, dtype=torch.float64, requires_grad=True)
    y, signals = apart(module, x, Context(segments=SEGMENTS, padding=padding))
    expected, weights = torch.zeros_like(y), torch.zeros_like(signals["attention"])
    for row, places in alone:
        at = torch.tensor(list(places))
        z, own = module(x[row : row + 1, at], Context())
        expected = expected.index_put((torch.tensor(row), at), z[0])
        weights[row][:, at[:, None], at] = own["attention"][0].detach()
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(signals["attention"], weights, rtol=0, atol=1e-12)
    cotangent = torch.randn_like(y)
    parts = [x, *module.parameters()]
    found = torch.autograd.grad((y * cotangent).sum(), parts)
    for gradient, right in zip(found, torch.autograd.grad((expected * cotangent).sum(), parts), strict=True):
        torch.testing.assert_close(gradient, right, rtol=0, atol=1e-11)


def test_a_module_that_depends_on_the_length_is_given_documents_of_one_length() -> None:
    class Scaled(Vanilla):
        depends_on_length = True

        def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
            y, signals = super().forward(x, ctx)
            return y * x.shape[1], {**signals, "own": y.mean()}

    module = Scaled(VanillaConfig(), DIMS).double()
    x = torch.randn(3, 8, 16, dtype=torch.float64)
    y, signals = apart(module, x, Context(segments=SEGMENTS))
    for row, places in ALONE:
        at = list(places)
        torch.testing.assert_close(y[row, at], module(x[row : row + 1, at], Context())[0][0], rtol=0, atol=1e-12)
    assert signals == {}  # nothing tells the shape of a signal that the table does not know


@pytest.mark.parametrize("recompute", [False, True])
def test_logits_and_gradients_of_a_decoder_with_learned_positions_are_those_of_separate_passes(recompute: bool) -> None:
    model = Decoder.around(Token(NoOptions(), DIMS), [attention(), attention()], DIMS)
    initialize(model, 0)
    perturb(model)
    model.double().train().recompute = recompute
    model.set_want(frozenset({"hidden"}))
    ids = torch.randint(11, (3, 8))
    batch = Batch(ids, ids, PADDING, SEGMENTS)
    output = model(ids, context(batch, torch.tensor(3)))
    separate = [model(ids[row : row + 1, list(places)]).logits[0] for row, places in ALONE_PADDED]
    together = [output.logits[row, list(places)] for row, places in ALONE_PADDED]
    torch.testing.assert_close(together, separate, rtol=0, atol=1e-12)
    assert output.signals["hidden"].shape == (3, 3, 8, 16)
    weights = [torch.randn_like(part) for part in separate]
    parameters = list(model.parameters())

    def gradients(parts: list[Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(sum((p * w).sum() for p, w in zip(parts, weights, strict=True)), parameters)

    for found, right in zip(gradients(together), gradients(separate), strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-10)


def test_a_later_document_never_reaches_an_earlier_one_nor_the_reverse() -> None:
    x = torch.randn(3, 8, 16, dtype=torch.float64, requires_grad=True)
    y, _ = apart(attention(), x, Context(segments=SEGMENTS))
    (gradient,) = torch.autograd.grad(y[0, 3:5].sum(), x)
    reached = torch.zeros(3, 8, dtype=torch.bool)
    reached[0, 3:5] = True
    assert torch.equal(gradient.abs().amax(-1) > 0, reached)


def test_what_it_costs_is_told_of_the_modules_that_are_called() -> None:
    documents = Documents(SEGMENTS)
    lengths = [len(places) for _, places in ALONE]
    more = sum(N * L for N, L in documents.layout().shapes) / sum(lengths) - 1
    assert more > 0
    padded = f"in {len(documents.layout().shapes)} groups, with {more:.0%} more tokens as padding"
    exact = f"in {len(set(lengths))} groups of one length, without padding"
    told = "documents apart: 2.67 in a sequence, the longest 8 tokens; "
    assert documents.cost([attention()]) == f"{told}computed {padded}"
    assert documents.cost([attention(causal=False)]) == f"{told}computed {exact}"
    mixed = documents.cost([Token(NoOptions(), DIMS), attention(causal=False), attention()])
    assert mixed == f"{told}computed {padded}; where outputs depend on the length, {exact}"
    assert documents.cost([Token(NoOptions(), DIMS)]) == f"{told}the model heeds them by itself"


def test_rows_of_one_document_cost_one_call_without_padding() -> None:
    calls = []

    class Counted(Vanilla):
        def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
            calls.append((tuple(x.shape), ctx.padding))
            return super().forward(x, ctx)

    module, x = Counted(VanillaConfig(), DIMS), torch.randn(3, 8, 16)
    y, _ = apart(module, x, Context(segments=torch.zeros(3, 8, dtype=torch.int64)))
    assert torch.equal(y, module(x, Context())[0])
    assert calls == [((3, 8, 16), None)] * 2


def test_rows_of_nothing_but_padding_give_zeros_and_no_nan() -> None:
    everything = torch.ones(3, 8, dtype=torch.bool)
    y, _ = apart(attention(), torch.randn(3, 8, 16).double(), Context(segments=SEGMENTS, padding=everything))
    assert not y[1:].any()
    assert bool(y.isfinite().all())


def test_the_first_rows_of_a_context_are_those_of_a_smaller_batch() -> None:
    x = torch.randn(3, 8, 16, dtype=torch.float64)
    ctx = with_documents(Context(segments=SEGMENTS, padding=PADDING))
    module = attention()
    torch.testing.assert_close(apart(module, x[:2], first_rows(ctx, 2))[0], apart(module, x, ctx)[0][:2])


def test_groups_are_the_cheapest_ones() -> None:
    rng = np.random.default_rng()
    lengths = rng.choice([1, 2, 5, 11, 30, 80, 200], int(rng.integers(1, 40)))
    groups = by_cost(lengths)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))

    def cost(groups: list[np.ndarray]) -> float:
        return sum(len(g) * lengths[g].max() + CALL * lengths.sum() for g in groups)

    order = np.argsort(-lengths, kind="stable")
    edges = [0, *(np.flatnonzero(np.diff(lengths[order])) + 1), len(order)]
    inner = len(edges) - 2
    for chosen in range(2**inner):  # every way to cut the falling lengths where they change
        cuts = [0, *(edges[i + 1] for i in range(inner) if chosen >> i & 1), len(order)]
        other = [order[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
        assert cost(groups) <= cost(other) + 1e-9
    assert all(len(set(lengths[g])) == 1 for g in by_length(lengths))
