"""Toroidal attention against what it replaces: time and memory, forward and backward. Run with `lot bench`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from lot import Context, Dims
from lot_cli.bench import Case
from lot_toroidal.attention.fft import FFTAttention
from lot_toroidal.attention.toroidal import ToroidalAttention
from lot_toroidal.config import FFTConfig, ToroidalConfig
from lot_toroidal.ops.dispatch import attend
from lot_toroidal.ops.torus import Torus, toroidal_distance

LONGEST = 16384
"""Positions up to which the FFT is given a chance."""


def tensors(B: int, H: int, T: int, D: int, p: int, device: str, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    """q, k, v (B, H, T, D, p) that want gradients, and a gradient of the output."""
    generator = torch.Generator(device).manual_seed(0)
    q, k, v, g = (torch.randn(B, H, T, D, p, generator=generator, device=device, dtype=dtype) for _ in range(4))
    return [q.requires_grad_(), k.requires_grad_(), v.requires_grad_()], g


def both_ways(attention: Callable[..., Tensor], inputs: list[Tensor], g: Tensor) -> Callable[[], None]:
    """Forward and backward of `attention` over `inputs`."""

    def run() -> None:
        torch.autograd.grad(attention(*inputs), inputs, g)

    return run


def fused(causal: bool) -> Callable[..., Tensor]:
    """torch's fused attention over the same number of tokens and the same head width, without a bias."""

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        flat = (x.flatten(2, 3) for x in (q, k, v))
        return F.scaled_dot_product_attention(*flat, is_causal=causal).view(q.shape)

    return run


def full_bias(torus: Torus, T: int, device: str) -> Tensor:
    """-lambda delta and the causal mask for all pairs of tokens: (T D, T D) float32."""
    token = torch.arange(T * torus.depth, device=device)
    i, k = token // torus.depth, token % torus.depth
    delta = toroidal_distance(i[:, None], k[:, None], i, k, torus.period, torus.depth).float()
    return (-torus.strength * delta).masked_fill(i > i[:, None], -torch.inf)


def published(torus: Torus) -> Callable[..., Tensor]:
    """The published form: all distances and all weights are made and stored, in every pass."""

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        bias = full_bias(torus, q.shape[2], str(q.device))
        q, k, flat_v = (x.flatten(2, 3) for x in (q, k, v))
        score = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias
        return (score.softmax(-1) @ flat_v).view(v.shape)

    return run


def stored_bias(torus: Torus, T: int) -> Callable[..., Tensor]:
    """Fused attention that reads a bias made once and kept: the strongest form that still stores (T D)^2 numbers."""
    bias = full_bias(torus, T, "cpu")

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        flat = (x.flatten(2, 3) for x in (q, k, v))
        return F.scaled_dot_product_attention(*flat, attn_mask=bias).view(q.shape)

    return run


def toroidal(torus: Torus) -> Callable[..., Tensor]:
    """This package's form."""
    return lambda q, k, v: attend(q, k, v, torus)


def cpu_cases() -> Iterator[Case]:
    """The claims for a CPU, float32."""
    torus = Torus(8192, 1, 0.1)
    inputs, g = tensors(1, 4, 8192, 1, 64, "cpu", torch.float32)
    yield Case(
        name="memory, T = 8192, depth 1",
        candidate=both_ways(toroidal(torus), inputs, g),
        baseline=both_ways(fused(True), inputs, g),
        baseline_name="plain fused attention",
        what="memory",
        cost=2.0,
    )
    torus = Torus(2048, 4, 0.1)
    inputs, g = tensors(1, 4, 2048, 4, 16, "cpu", torch.float32)
    baselines = {
        "materialized bias, as published": published(torus),
        "materialized bias, kept, fused": stored_bias(torus, 2048),
    }
    for (name, baseline), speedup in zip(baselines.items(), (2.0, None), strict=True):
        yield Case(
            name=f"T = 2048, depth 4, against {name}",
            candidate=both_ways(toroidal(torus), inputs, g),
            baseline=both_ways(baseline, inputs, g),
            baseline_name=name,
            speedup=speedup,
        )
    window = Torus(4096, 1, 0.1, window=128)
    inputs, g = tensors(1, 4, 4096, 1, 64, "cpu", torch.float32)
    yield Case(
        name="T = 4096, depth 1, window 128",
        candidate=both_ways(toroidal(window), inputs, g),
        baseline=both_ways(fused(True), inputs, g),
        baseline_name="plain fused attention, no window",
    )


def gpu_cases() -> Iterator[Case]:
    """The claims for a GPU, bfloat16."""
    for T, depth, what, cost in ((4096, 4, "time", 1.5), (8192, 1, "memory", 2.0)):
        torus = Torus(T, depth, 0.1)
        inputs, g = tensors(4, 8, T, depth, 64, "cuda", torch.bfloat16)
        yield Case(
            name=f"{what}, T = {T}, depth {depth}, bf16",
            candidate=both_ways(toroidal(torus), inputs, g),
            baseline=both_ways(fused(True), inputs, g),
            baseline_name="plain fused attention over the same tokens",
            what=what,  # type: ignore[arg-type]
            cost=cost,
            device="cuda",
        )


def layer(kind: type, config: object, T: int, device: str) -> Callable[[], None]:
    """Forward and backward of a whole layer, width 128, 4 heads, over one sequence."""
    dims = Dims(width=128, heads=4, max_len=T, vocab_size=2)
    module = kind(config, dims).to(device)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator(device).manual_seed(0))
    x = torch.randn(1, T, 128, device=device)

    def run() -> None:
        module.zero_grad(set_to_none=True)
        module(x, Context())[0].square().sum().backward()

    return run


def fft_cases(device: str) -> Iterator[Case]:
    """The shortest T (a power of two) from which the FFT wins, found first; then that claim, there and at four times the length."""

    def pair(T: int) -> tuple[Callable[[], None], Callable[[], None]]:
        return layer(FFTAttention, FFTConfig(), T, device), layer(ToroidalAttention, ToroidalConfig(), T, device)

    T = 128
    while T < LONGEST and not _wins(*pair(T), device):
        T *= 2
    for length in (T, 4 * T):
        candidate, baseline = pair(length)
        yield Case(
            name=f"toroidal_fft, T = {length}" + (" (the first power of two at which it won)" if length == T else ""),
            candidate=candidate,
            baseline=baseline,
            baseline_name="toroidal",
            speedup=1.0,
            device=device,
        )


def _wins(candidate: Callable[[], None], baseline: Callable[[], None], device: str) -> bool:
    """Whether `candidate` is faster in the median of 7 pairs."""

    def seconds(run: Callable[[], None]) -> float:
        began = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    seconds(candidate), seconds(baseline)
    return statistics.median(seconds(baseline) / seconds(candidate) for _ in range(7)) > 1.05


def cases() -> Iterator[Case]:
    """What this machine can measure."""
    yield from cpu_cases()
    yield from fft_cases("cpu")
    if torch.cuda.is_available():
        yield from gpu_cases()
        yield from fft_cases("cuda")
