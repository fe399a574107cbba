"""Every form of toroidal attention against the one that is written out in full.

The file is long because all forms are held against the same comparison, under the same masks.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.utils._python_dispatch import TorchDispatchMode

from lot import BadInput, Context, Dims
from lot_toroidal.ops import flex
from lot_toroidal.ops.dispatch import attend, check_backend, choose
from lot_toroidal.ops.reference import dense_attention, dense_weights
from lot_toroidal.ops.tiles import LagTable, attend_tiles
from lot_toroidal.ops.torus import Torus, toroidal_distance

compiling = pytest.mark.filterwarnings("ignore::UserWarning")
"""For tests that use torch's compiler, which warns of itself (that it reads `.grad`, runs uncompiled, or without TF32)."""
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
    """Values and gradients of `fast` against the dense form in float64; on a GPU, to the tolerance of the largest one."""
    wide = [x.detach().double().requires_grad_() for x in inputs]
    y, expected = fast(*inputs, torus, **hidden), dense_attention(*wide, torus, **hidden)
    torch.testing.assert_close(y.double(), expected, atol=tolerance, rtol=0)
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    found = torch.autograd.grad(y, inputs, cotangent)
    wanted = torch.autograd.grad(expected, wide, cotangent.double())
    for a, b in zip(found, wanted, strict=True):
        # There a sum over thousands of tokens is added up in another order, and in bfloat16 rounded to its own size.
        size = max(1.0, b.abs().max().item()) if a.is_cuda else 1.0
        torch.testing.assert_close(a.double(), b, atol=tolerance * size, rtol=0)


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


@pytest.mark.parametrize("causal", [True, False])
def test_tiles_equal_dense_whether_their_bias_is_a_view_or_written_out(
    causal: bool, draw: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    torus = Torus(24, 4, 0.8, None, causal)
    inputs = [draw(2, 2, 24, 4, 4, grad=True) for _ in range(3)]
    for numbers in (0, 1 << 18):
        monkeypatch.setattr("lot_toroidal.ops.tiles.WRITTEN_OUT", numbers)
        compare(functools.partial(attend_tiles, chunk=5), inputs, torus, 1e-12)


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


def test_the_bias_of_every_chunk_is_a_view_of_one_short_table() -> None:
    torus = Torus(512, 4, 0.5)
    starts, stops = (256, 192), (320, 256)
    seen = [torus.key_ranges(start, stop - 1, 320) for start, stop in zip(starts, stops, strict=True)]
    table = LagTable.of(torus, starts, stops, seen, torch.zeros(1))
    assert table.values.shape == (4, 64 + 320 - 1, 4)
    for start, stop in zip(starts, stops, strict=True):
        bias = table.bias(start, stop, 0, stop)
        assert bias.untyped_storage().data_ptr() == table.values.untyped_storage().data_ptr()
        i, j = torch.arange(stop - 1, start - 1, -1).repeat_interleave(4), torch.arange(stop).repeat_interleave(4)
        k, l = torch.arange(4).repeat(stop - start), torch.arange(4).repeat(stop)  # noqa: E741
        delta = toroidal_distance(i[:, None], k[:, None], j, l, 512, 4).float()
        expected = (-0.5 * delta).masked_fill(j > i[:, None], -torch.inf)
        torch.testing.assert_close(bias.transpose(0, 1).flatten(0, 1), expected)


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
    monkeypatch.setattr(flex, "_compiled", flex_attention)


@pytest.fixture
def trainable_flex(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention that differentiates on a CPU too, which only its check for the device forbids where nothing is compiled."""
    monkeypatch.setattr(flex, "_check_trainable", lambda *inputs: None)
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *inputs: None)


@compiling
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


@compiling
@pytest.mark.usefixtures("eager_flex", "trainable_flex")
@pytest.mark.parametrize(("strength", "hidden"), [(0.8, "none"), (0.3, "both")])
def test_gradients_through_flex_equal_those_of_dense(strength: float, hidden: str, draw: Callable[..., Tensor]) -> None:
    torus = Torus(160, 2, strength, 40)
    inputs = [draw(2, 1, 150, 2, 4, dtype=torch.float32, grad=True) for _ in range(3)]
    compare(flex.attend_flex, inputs, torus, 1e-5, **masks(hidden, 2, 150, 150))


@compiling
@pytest.mark.usefixtures("trainable_flex")
def test_flex_is_traced_whole_into_a_compiled_model_of_any_length_and_lambda(draw: Callable[..., Tensor]) -> None:
    traced = torch.compile(flex.attend_flex, backend="eager", fullgraph=True, dynamic=True)
    for T, strength in ((150, 0.8), (140, 0.3)):
        torus = Torus(160, 2, strength, 40)
        inputs = [draw(2, 1, T, 2, 4, dtype=torch.float32, grad=True) for _ in range(3)]
        compare(traced, inputs, torus, 1e-5, **masks("padding", 2, T, T))


@compiling
def test_flex_stays_compiled_past_the_limit_of_the_compiler(
    monkeypatch: pytest.MonkeyPatch, draw: Callable[..., Tensor]
) -> None:
    kernel = torch.compile(flex_attention, backend="eager", dynamic=False, fullgraph=True)
    monkeypatch.setattr(flex, "_kernel", lambda: kernel)
    with torch._dynamo.config.patch(recompile_limit=1):
        for T in (5, 6, 7):
            q = draw(1, 1, T, 1, 4, dtype=torch.float32)
            expected = dense_attention(q, q, q, Torus(8, 1, 0.5))
            torch.testing.assert_close(flex.attend_flex(q, q, q, Torus(8, 1, 0.5)), expected, atol=1e-6, rtol=0)


@pytest.mark.usefixtures("eager_flex")
@compiling
def test_what_flex_keeps_is_made_in_a_form_that_can_train(draw: Callable[..., Tensor]) -> None:
    q = draw(1, 1, 9, 1, 4, dtype=torch.float32)
    torus = Torus(9, 1, float(draw(1).abs()))  # never seen before
    with torch.inference_mode():
        flex.attend_flex(q, q, q, torus)
    _, blocks = flex._kept_modifications(torus, 9, 9, q.device)
    assert not blocks.kv_indices.is_inference()


def test_block_tables_lie_in_memory_as_the_kernel_reads_them() -> None:
    torus = Torus(300, 1, 0.5, 50)
    blocks = flex.block_mask(torus, 300, 300, torch.device("cpu"))
    batch = flex._with_batch_mask(blocks, torus, 300, 300, torch.zeros(3, 300, dtype=torch.bool), None)
    for mask in (blocks, batch):
        tables = [
            x for name in ("num_blocks", "indices") for x in (getattr(mask, f"kv_{name}"), getattr(mask, f"q_{name}"))
        ]
        assert all(table.is_contiguous() for table in tables)


def test_flex_refuses_to_train_on_a_cpu(draw: Callable[..., Tensor]) -> None:
    inputs = [draw(1, 1, 4, 1, 4, grad=True) for _ in range(3)]
    with pytest.raises(BadInput, match=r"attn.backend: expected auto or sdpa to train on a CPU") as caught:
        flex.attend_flex(*inputs, Torus(4, 1, 0.5))
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


def test_the_choice_names_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flex, "AVAILABLE", True)
    plain, biased = Torus(4096, 1), Torus(4096, 4, 0.1)
    assert choose("auto", plain, "cuda", 4096) == ("plain", "lambda = 0 and no window: nothing to add to a score")
    assert choose("auto", biased, "cpu", 4096)[0] == "tiles"
    form, reason = choose("auto", biased, "cuda", 4096)
    assert form == "flex"
    assert "lambda = 0.1" in reason
    assert choose("auto", biased, "cuda", 4096, dropout=0.1)[0] == "tiles"
    assert choose("auto", biased, "cuda", 16)[0] == "tiles"
    assert choose("flex", biased, "cuda", 16) == ("flex", "asked for")
    assert choose("flex", plain, "cpu", 16)[0] == "tiles"
    monkeypatch.setattr(flex, "AVAILABLE", False)
    assert choose("auto", biased, "cuda", 4096)[0] == "tiles"
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


class LiveBytes(TorchDispatchMode):
    """The most bytes alive at once in what was computed under it, and the most in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.peak = self.largest = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = function(*arguments, **(options or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor) and (key := id(storage := tensor.untyped_storage())) not in self.alive:
                self.alive[key] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, key)
                self.peak = max(self.peak, sum(self.alive.values()))
                self.largest = max(self.largest, storage.nbytes())
        return result


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("padded", [False, True])
def test_memory_is_linear_in_the_length(padded: bool, depth: int, draw: Callable[..., Tensor]) -> None:
    peaks = []
    for T in (512, 1024):
        # Strided as the projections leave them: (B, T, 3, H, D p) in memory.
        qkv = draw(1, T, 3, 2, depth, 4, dtype=torch.float32, grad=True)
        padding = torch.zeros(1, T, dtype=torch.bool) if padded else None
        with LiveBytes() as live:
            q, k, v = qkv.permute(2, 0, 3, 1, 4, 5).unbind(0)
            attend_tiles(q, k, v, Torus(T, depth, 0.5), padding=padding, chunk=32).sum().backward()
        peaks.append(live.peak)
        assert live.largest < (T * depth) ** 2
    assert peaks[1] < 2.2 * peaks[0]


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
TORI = [Torus(300, 4, 0.8), Torus(300, 1, 0.8, 40), Torus(300, 4, 0.8, 40, causal=False), Torus(300, 2, 0.0)]


def on_gpu(torus: Torus, T: int, width: int, draw: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
    return [draw(2, 2, T, torus.depth, width, dtype=dtype).cuda().requires_grad_() for _ in range(3)]


@compiling
@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("backend", ["sdpa", "flex"])
@pytest.mark.parametrize("hidden", MASKS)
@pytest.mark.parametrize("torus", TORI, ids=str)
def test_backends_agree_on_a_gpu(torus: Torus, hidden: str, backend: str, draw: Callable[..., Tensor]) -> None:
    # 290 positions: no whole number of blocks of the mask.
    inputs = on_gpu(torus, 290, 16, draw, torch.float32)
    compare(functools.partial(attend, backend=backend), inputs, torus, 1e-5, **masks(hidden, 2, 290, 290, "cuda"))


@compiling
@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("width", [4, 24, 64])
def test_flex_takes_every_platter_width_on_a_gpu(width: int, draw: Callable[..., Tensor]) -> None:
    torus = Torus(256, 2, 0.8)
    compare(functools.partial(attend, backend="flex"), on_gpu(torus, 256, width, draw, torch.float32), torus, 1e-5)


@compiling
@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("backend", ["sdpa", "flex"])
def test_bfloat16_on_a_gpu_is_good_to_its_rounding(backend: str, draw: Callable[..., Tensor]) -> None:
    torus = Torus(512, 4, 1.0)
    inputs = on_gpu(torus, 512, 64, draw, torch.bfloat16)
    compare(functools.partial(attend, backend=backend), inputs, torus, 3e-2, **masks("padding", 2, 512, 512, "cuda"))


@compiling
@pytest.mark.gpu
@needs_gpu
def test_auto_runs_flex_on_a_gpu_in_linear_memory(draw: Callable[..., Tensor]) -> None:
    torus = Torus(8192, 1, 0.5)
    assert choose("auto", torus, "cuda", 8192)[0] == "flex"
    q, k, v = (draw(1, 2, 8192, 1, 32, dtype=torch.float32).cuda().requires_grad_() for _ in range(3))
    attend(q, k, v, torus).sum().backward()  # compiles, and keeps its tables
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    attend(q, k, v, torus).sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 20 * q.numel() * 4 < 8192**2 * 4


@compiling
@pytest.mark.gpu
@needs_gpu
def test_a_compiled_model_equals_itself_uncompiled_on_a_gpu(attention: Callable[[str], Any]) -> None:
    dims = Dims(width=64, heads=2, max_len=1024, vocab_size=8)
    for strength in (0.1, 0.7):  # a second model of the same code
        module = attention("toroidal").build(dims, lambda_distance=strength).cuda()
        with torch.no_grad():
            module.heads.qkv.weight.mul_(6.0)
        x = torch.randn(2, 1024, 64, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
        padding = torch.zeros(2, 1024, dtype=torch.bool, device="cuda")
        padding[1, :7] = True
        for ctx in (Context(), Context(padding=padding)):
            results = []
            for form in (module, torch.compile(module)):
                module.zero_grad()
                y, _ = form(x, ctx)
                y.square().sum().backward()
                results.append([y.detach(), *(p.grad.clone() for p in module.parameters())])
            for a, b in zip(*results, strict=True):
                torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
