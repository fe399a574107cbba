"""Every form of toroidal attention against the one that is written out in full."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from lot.errors import BadInput
from lot_toroidal import flex
from lot_toroidal.backend import attend, check_backend, choose
from lot_toroidal.geometry import Torus
from lot_toroidal.reference import dense_attention, dense_weights
from lot_toroidal.tiles import attend_tiles, tile_bias

MASKS = ("none", "padding", "mask", "both")


def masks(kind: str, B: int, Tq: int, Tk: int, device: str = "cpu") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(Tq)
    padding = torch.rand(B, Tk, generator=generator) < 0.4
    mask = torch.rand(B, Tq, Tk, generator=generator) < 0.6
    wanted = {"none": (), "padding": ("padding",), "mask": ("mask",), "both": ("padding", "mask")}[kind]
    return {name: {"padding": padding, "mask": mask}[name].to(device) for name in wanted}


def compare(
    fast: Callable[..., Tensor], inputs: list[Tensor], torus: Torus, tolerance: float, **hidden: Tensor
) -> None:
    """Values and gradients of `fast` against the dense form in float64."""
    wide = [x.detach().double().requires_grad_() for x in inputs]
    y, expected = fast(*inputs, torus, **hidden), dense_attention(*wide, torus, **hidden)
    torch.testing.assert_close(y.double(), expected, atol=tolerance, rtol=0)
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    found = torch.autograd.grad(y, inputs, cotangent)
    wanted = torch.autograd.grad(expected, wide, cotangent.double())
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.double(), b, atol=tolerance, rtol=0)


@pytest.mark.parametrize("hidden", MASKS)
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("causal", [True, False])
def test_tiles_equal_dense(causal: bool, window: int | None, hidden: str, draw: Callable[..., Tensor]) -> None:
    for (T, depth), chunk in itertools.product(((13, 1), (24, 2), (24, 4)), (5, 24, None)):
        torus = Torus(24, depth, 0.8, window, causal)
        inputs = [draw(2, 2, T, depth, 4, grad=True) for _ in range(3)]

        def tiles(*arguments: Tensor, chunk: int | None = chunk, **hidden: Tensor) -> Tensor:
            return attend_tiles(*arguments, chunk=chunk, **hidden)

        compare(tiles, inputs, torus, 1e-12, **masks(hidden, 2, T, T))


def test_tiles_are_good_to_1e_5_in_float32(draw: Callable[..., Tensor]) -> None:
    for causal, window, hidden in itertools.product((True, False), (None, 9), MASKS):
        torus = Torus(70, 2, 0.8, window, causal)
        inputs = [draw(2, 2, 66, 2, 8, dtype=torch.float32, grad=True) for _ in range(3)]
        compare(attend_tiles, inputs, torus, 1e-5, **masks(hidden, 2, 66, 66))


@pytest.mark.parametrize("hidden", MASKS)
def test_queries_may_be_the_last_of_the_positions(hidden: str, draw: Callable[..., Tensor]) -> None:
    for Tq, causal, window in itertools.product((1, 6), (True, False), (None, 3)):
        torus = Torus(20, 2, 0.8, window, causal)
        inputs = [draw(2, 2, T, 2, 4, grad=True) for T in (Tq, 17, 17)]
        compare(attend_tiles, inputs, torus, 1e-12, **masks(hidden, 2, Tq, 17))


def test_recomputing_changes_nothing(draw: Callable[..., Tensor]) -> None:
    torus = Torus(24, 2, 0.8)
    inputs = [draw(1, 2, 24, 2, 4, grad=True) for _ in range(3)]
    plain, again = (attend_tiles(*inputs, torus, chunk=7, recompute=flag) for flag in (False, True))
    assert torch.equal(plain, again)
    cotangent = draw(*plain.shape)
    for a, b in zip(*(torch.autograd.grad(y, inputs, cotangent) for y in (plain, again)), strict=True):
        assert torch.equal(a, b)


def test_the_bias_of_a_chunk_is_a_view_of_a_short_table() -> None:
    torus = Torus(512, 4, 0.5)
    bias = tile_bias(torus, 256, 320, 0, 320, torch.zeros(1))
    assert bias.shape == (4, 64, 320 * 4)
    assert bias.untyped_storage().nbytes() == 4 * 4 * 4 * (64 + 320 - 1)


@pytest.mark.parametrize("hidden", MASKS)
def test_dropout_keeps_the_mean(hidden: str, draw: Callable[..., Tensor]) -> None:
    torus = Torus(12, 2, 0.8)
    q, k, v = (draw(1, 1, 12, 2, 4) for _ in range(3))
    hiding = masks(hidden, 1, 12, 12)
    expected = dense_attention(q, k, v, torus, **hiding)
    torch.manual_seed(0)
    several = [attend(q, k, v, torus, dropout=0.3, chunk=5, **hiding) for _ in range(300)]
    assert not torch.equal(several[0], several[1])
    spread = torch.stack(several).std(0) / 300**0.5
    assert float(((torch.stack(several).mean(0) - expected).abs() / spread.clamp(min=1e-9)).max()) < 6


def test_weights_sum_to_one_and_hide_what_is_hidden(draw: Callable[..., Tensor]) -> None:
    torus = Torus(9, 2, 0.8)
    q, k = draw(2, 1, 9, 2, 4), draw(2, 1, 9, 2, 4)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[0, :3] = True
    weights = dense_weights(q, k, torus, padding=padding)
    torch.testing.assert_close(weights.flatten(4).sum(-1), torch.ones(2, 1, 9, 2, dtype=torch.float64))
    assert float(weights[0, :, 3:, :, :3].max()) == 0
    itself = weights[0, :, 1, :, 1].sum(-1)  # padding sees itself, and nothing else
    torch.testing.assert_close(itself, torch.ones_like(itself))


@pytest.fixture
def eager_flex(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention without its compiler, which takes half a minute a shape on a CPU."""
    monkeypatch.setattr(flex, "_compiled", lambda: flex_attention)


@pytest.mark.usefixtures("eager_flex")
@pytest.mark.parametrize(
    ("causal", "window", "hidden"),
    [(True, None, "none"), (True, 40, "both"), (False, 40, "none"), (False, None, "both"), (True, 40, "padding")],
)
def test_flex_equals_dense(causal: bool, window: int | None, hidden: str, draw: Callable[..., Tensor]) -> None:
    for Tq, Tk, depth, strength in ((150, 150, 2, 0.8), (20, 150, 1, 0.0)):
        torus = Torus(160, depth, strength, window, causal)
        q, k, v = (draw(2, 1, T, depth, 4) for T in (Tq, Tk, Tk))
        hiding = masks(hidden, 2, Tq, Tk)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it runs uncompiled is the point
            y = flex.attend_flex(q, k, v, torus, **hiding)
        torch.testing.assert_close(y, dense_attention(q, k, v, torus, **hiding), atol=1e-6, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 0, 50])
def test_block_mask_holds_the_blocks_that_have_something_to_see(causal: bool, window: int | None) -> None:
    for q_len, k_len, depth in ((300, 300, 1), (150, 150, 4), (40, 170, 2)):
        torus = Torus(300, depth, 0.0, window, causal)
        mask = flex.block_mask(torus, q_len, k_len, torch.device("cpu"))
        i, j = torch.arange(q_len * depth) // depth + k_len - q_len, torch.arange(k_len * depth) // depth
        seen = torus.visible(j - i[:, None])
        blocks = seen.split(flex.BLOCK, 0)
        for row, block_row in enumerate(blocks):
            for column, block in enumerate(block_row.split(flex.BLOCK, 1)):
                full = row_holds(mask.full_kv_num_blocks, mask.full_kv_indices, row, column)
                partial = row_holds(mask.kv_num_blocks, mask.kv_indices, row, column)
                assert (full, partial) == (bool(block.all()), bool(block.any() and not block.all()))


def row_holds(number: Tensor, indices: Tensor, row: int, column: int) -> bool:
    return column in indices[0, 0, row, : int(number[0, 0, row])].tolist()


def test_flex_refuses_to_train_on_a_cpu(draw: Callable[..., Tensor]) -> None:
    inputs = [draw(1, 1, 4, 1, 4, grad=True) for _ in range(3)]
    with pytest.raises(BadInput, match=r"attn.backend: expected auto or sdpa to train on a CPU") as caught:
        attend(*inputs, Torus(4, 1, 0.5), backend="flex")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", ["auto", "sdpa", "flash"])
@pytest.mark.parametrize(("depth", "causal"), [(1, True), (1, False), (4, False)])
def test_plain_forms_equal_dense(backend: str, depth: int, causal: bool, draw: Callable[..., Tensor]) -> None:
    torus = Torus(20, depth, 0.0, causal=causal)
    assert choose(backend, torus, "cpu", 20)[0] == ("flash" if backend == "flash" else "plain")
    for hidden in MASKS:
        inputs = [draw(2, 2, 20, depth, 8, dtype=torch.float32, grad=True) for _ in range(3)]

        def door(*arguments: Tensor, **hidden: Tensor) -> Tensor:
            return attend(*arguments, backend=backend, **hidden)

        compare(door, inputs, torus, 1e-5, **masks(hidden, 2, 20, 20))


def test_the_choice_names_its_reason() -> None:
    plain, biased = Torus(4096, 1), Torus(4096, 4, 0.1)
    assert choose("auto", plain, "cuda", 4096) == ("plain", "lambda = 0 and no window: nothing to add to a score")
    assert choose("auto", biased, "cpu", 4096)[0] == "tiles"
    form, reason = choose("auto", biased, "cuda", 4096)
    assert form == "flex"
    assert "lambda = 0.1" in reason
    assert choose("auto", biased, "cuda", 4096, dropout=0.1)[0] == "tiles"
    assert choose("auto", biased, "cuda", 16)[0] == "tiles"
    assert "causal mask over 4 platters" in choose("auto", Torus(64, 4), "cpu", 64)[1]
    assert "window = 5" in choose("sdpa", Torus(64, 1, window=5), "cpu", 64)[1]
    assert "mask of the batch" in choose("auto", plain, "cpu", 64, masked=True)[1]


@pytest.mark.parametrize(
    ("torus", "obstacle"),
    [
        (Torus(64, 1, 0.1), "lambda = 0.1"),
        (Torus(64, 1, window=3), "window = 3"),
        (Torus(64, 2), "a causal mask over 2"),
    ],
)
def test_flash_refuses_what_it_cannot_do(torus: Torus, obstacle: str) -> None:
    with pytest.raises(BadInput, match=f"backend: expected auto, sdpa or flex for {obstacle}") as caught:
        check_backend("flash", torus, 0.0)
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="cannot drop weights"):
        check_backend("flex", torus, 0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("backend", ["auto", "sdpa", "flex"])
@pytest.mark.parametrize("hidden", MASKS)
def test_backends_agree_on_a_gpu(backend: str, hidden: str, draw: Callable[..., Tensor]) -> None:
    for causal, window, depth in itertools.product((True, False), (None, 40), (1, 4)):
        torus = Torus(300, depth, 0.8, window, causal)
        inputs = [draw(2, 2, 290, depth, 16, dtype=torch.float32).cuda().requires_grad_() for _ in range(3)]

        def door(*arguments: Tensor, **hidden: Tensor) -> Tensor:
            return attend(*arguments, backend=backend, **hidden)

        compare(door, inputs, torus, 1e-5, **masks(hidden, 2, 290, 290, "cuda"))
