"""Floating-point operations, counted by one rule for every mechanism: what a pass does, not what its formula needs.

- A product of matrices counts 2 for each multiply-add; of complex ones, 8.
- What works element by element counts 1 for each element of its result, whatever the function: an addition, a sine, a GELU.
  Fused ones count their parts: 2 for `addcmul`.
- A reduction or a running sum counts 1 for each element that it reads.
- A softmax counts 5 for each element (maximum, difference, exponential, sum, quotient), its gradient 4; a layer norm 7, its
  gradient 14.
- Attention counts its products, and 6 for each score (scale and softmax); all pairs, also those that a causal mask hides.
  Its gradient counts 5 products, one of which forms the scores again, and 6 for each score.
- A real FFT of N points counts 2.5 N log2 N, a complex one 5 N log2 N.
- Copies, layout, indexing, comparisons and random numbers count nothing.

An operator that only a plugin knows counts what the formula says that the plugin registered with
`torch.utils.flop_counter.register_flop_formula`; without one it counts nothing, and its name is in `uncounted`.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

READS = {
    *(aten.sum, aten.mean, aten.amax, aten.amin, aten.max, aten.min, aten.prod, aten.var, aten.std, aten.logsumexp),
    *(aten.cumsum, aten.cumprod, aten.cummax, aten.logcumsumexp, aten.linalg_vector_norm, aten.norm, aten.var_mean),
}
"""What counts 1 for each element that it reads."""
PER_RESULT: dict[Any, int] = {
    aten._softmax: 5,
    aten._safe_softmax: 5,
    aten._log_softmax: 5,
    aten._softmax_backward_data: 4,
    aten._log_softmax_backward_data: 4,
    aten.native_layer_norm: 7,
    aten.native_layer_norm_backward: 14,
    aten.addcmul: 2,
    aten.addcdiv: 2,
    aten.lerp: 3,
    aten.native_dropout: 1,
    aten.native_dropout_backward: 1,
}
"""What counts more than 1, or is not known as elementwise, for each element of its first result."""
FREE = {aten.clone, aten.copy, aten.fill, aten.masked_fill, aten.where}
"""What torch calls elementwise, and computes nothing."""
SCORE = 6
"""Operations for each score of an attention, beside its products; as many in its gradient."""
BIASED = {aten.addmm, aten.baddbmm}
"""Products that are added to something."""
VECTORS = {aten.mv, aten.dot}
"""Products with a vector: of a matrix or a vector, which comes first."""
ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu,
    *(aten._scaled_dot_product_flash_attention, aten._scaled_dot_product_efficient_attention),
    *(aten._scaled_dot_product_cudnn_attention, aten._scaled_dot_product_fused_attention_overrideable),
}
ATTENTION_GRADIENT = {
    aten._scaled_dot_product_flash_attention_for_cpu_backward,
    *(aten._scaled_dot_product_flash_attention_backward, aten._scaled_dot_product_efficient_attention_backward),
    *(
        aten._scaled_dot_product_cudnn_attention_backward,
        aten._scaled_dot_product_fused_attention_overrideable_backward,
    ),
}
REAL_FFT, COMPLEX_FFT = {aten._fft_r2c, aten._fft_c2r}, {aten._fft_c2c}


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that counts the operations of what runs inside, forward and backward.

    by_operator: operations by name of the operator. uncounted: operators of plugins that no formula tells of.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_operator: Counter[str] = Counter()
        self.uncounted: set[str] = set()

    @property
    def total(self) -> int:
        """All operations so far."""
        return self.by_operator.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = _named(func)
        if packet not in flop_registry:
            with self:  # what is made of other operators is counted as those
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        count = operations(func, args, kwargs, out)
        if count is None:
            self.uncounted.add(str(packet))
        elif count:
            self.by_operator[str(packet)] += count
        return out


def operations(func: Any, args: Any, kwargs: Any, out: Any) -> int | None:
    """The operations of one call of an operator; None for an operator of a plugin that no formula tells of."""
    packet = _named(func)
    results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
    if not results or packet in FREE:
        return 0
    first = results[0]
    if packet in ATTENTION or packet in ATTENTION_GRADIENT:
        gradient = packet in ATTENTION_GRADIENT
        return _attention(*args[gradient : gradient + 3], gradient=gradient)
    if packet in REAL_FFT or packet in COMPLEX_FFT:
        return _fft(packet in REAL_FFT, args[0], first, args[1])
    if packet in flop_registry:
        products: int = flop_registry[packet](*args, **kwargs, out_val=out)
        if func.namespace == "aten" and first.is_complex():
            products *= 4
        return products + (first.numel() if packet in BIASED else 0)
    if packet in VECTORS:
        return 2 * int(args[0].numel())
    if packet in READS:
        return int(args[0].numel()) if _floating(args[0]) else 0
    if not _floating(first):
        return 0
    if packet in PER_RESULT:
        return PER_RESULT[packet] * first.numel()
    if torch.Tag.pointwise in func.tags:
        return first.numel()
    return 0 if func.namespace in ("aten", "prim", "prims") else None


def _named(func: Any) -> Any:
    """The operator of an overload; of `add_`, which works in place, `add`."""
    packet = func._overloadpacket
    name = packet.__name__
    return getattr(aten, name[:-1], packet) if func.namespace == "aten" and name.endswith("_") else packet


def _floating(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _attention(query: Tensor, key: Tensor, value: Tensor, *, gradient: bool) -> int:
    """Of query (B, H, Tq, d), key (B, H, Tk, d) and value (B, H, Tk, e), or of their gradients."""
    scores = query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2]
    d, e = query.shape[3], value.shape[3]
    # Forward: q k and w v. Gradient: q k again, its gradients in q and k, and those of w v in w and v.
    return scores * (SCORE + 2 * (3 * d + 2 * e if gradient else d + e))


def _fft(real: bool, given: Tensor, result: Tensor, dims: list[int]) -> int:
    """Transforms of N points along `dims`: of the longer of the two, since one of them may hold half a spectrum."""
    points = max(given, result, key=Tensor.numel)
    N = math.prod(points.shape[dim] for dim in dims)
    if N < 2:
        return 0
    return round((2.5 if real else 5) * points.numel() * math.log2(N))
