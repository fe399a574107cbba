"""Checks of what an attention and an embedding share: values, dtypes, initial values, state, determinism."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lot.errors import BadInput, PluginError
from lot.random import initialize
from lot.testing.case import Case, call, output
from lot.testing.failure import KitFailure, require, require_close, require_equal, require_finite
from lot.testing.generators import other_generators, untouched_generators

AUTOCAST_ERROR = 0.1
"""Root mean square of the error under bfloat16 autocast, relative to that of the output."""


def built(case: Case, contract: type[nn.Module]) -> nn.Module:
    """The module, of the class that its kind asks for. Raises KitFailure."""
    try:
        with _nan_in_new_memory():
            module = case.module(perturbed=False)
    except PluginError:
        raise
    except BadInput as error:
        raise KitFailure(
            f"factory refused width {case.dims.width}, {case.dims.heads} heads, length {case.dims.max_len} ({error})",
            expected="a module with default options for common dimensions",
            cause="defaults that fit one size only; the kit takes other dimensions as dims=Dims(...)",
        ) from error
    require(
        isinstance(module, contract),
        "factory",
        expected=f"a lot.{contract.__name__}",
        got=type(module).__name__,
        cause="a class that derives from nn.Module alone",
    )
    for name, p in module.named_parameters():
        require_finite(p, f"initial value of {name}", cause="a parameter that reset_parameters forgets")
    return module


@contextmanager
def _nan_in_new_memory() -> Iterator[None]:
    """torch.empty gives NaN meanwhile, so that a parameter nobody initializes shows."""
    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


def require_shapes(case: Case, lengths: tuple[tuple[int, int], ...]) -> None:
    """y is (B, T, D) for every (B, T), on the inputs' device; the inputs are left as they were."""
    module = case.module()
    for B, T in lengths:
        x = case.inputs(B, T)
        kept = x.clone()
        with torch.no_grad():
            y = output(module, x, case.context())
        expected = (B, T, case.dims.width)
        require(
            tuple(y.shape) == expected,
            f"shape of y for B = {B}, T = {T}",
            expected=str(expected),
            got=str(tuple(y.shape)),
        )
        require(y.device == x.device, "device of y", expected=str(x.device), got=str(y.device))
        require_finite(y, f"y for B = {B}, T = {T}")
        require(
            torch.equal(x, kept),
            "inputs after forward",
            expected="unchanged",
            got="other values",
            cause="an in-place operation on x",
        )
        with torch.no_grad():
            strided = output(module, x.transpose(0, 1).contiguous().transpose(0, 1), case.context())
        require_close(
            strided, y, 1e-5, "y for a non-contiguous input", cause="view() or a kernel that assumes contiguous memory"
        )


def dtypes(case: Case) -> None:
    """float32 gives float32 and float64 gives float64; bfloat16 autocast stays near float32, with phases kept wide."""
    T = min(24, case.dims.max_len)
    for dtype in (torch.float32, torch.float64):
        module = case.module(dtype=dtype)
        y = output(module, case.inputs(2, T, dtype=dtype), case.context())
        require(
            y.dtype == dtype,
            f"dtype of y for {dtype}",
            expected=str(dtype),
            got=str(y.dtype),
            cause="a constant or a cast of a fixed dtype",
        )
    module = case.module(perturbed=False)
    module.want = frozenset({"phase"}) & case.component.emits  # type: ignore[assignment]
    x = case.inputs(2, T)
    y = output(module, x, case.context())
    with torch.autocast(torch.device(case.device).type, torch.bfloat16):
        narrow, signals = call(module, x, case.context())
    require(
        narrow.dtype in (torch.bfloat16, torch.float32),
        "dtype of y under bfloat16 autocast",
        expected="bfloat16 or float32",
        got=str(narrow.dtype),
    )
    require_finite(narrow, "y under bfloat16 autocast")
    error = float(
        (narrow.double() - y.double()).detach().square().mean().sqrt()
        / y.detach().double().square().mean().sqrt().clamp(min=1e-30)
    )
    require(
        error <= AUTOCAST_ERROR,
        "error of y under bfloat16 autocast, relative",
        expected=f"at most {AUTOCAST_ERROR:g}",
        got=f"{error:.3g}",
        cause="angles, sums or exponentials in bfloat16; switch autocast off around them",
    )
    torch.autograd.backward(narrow.float().square().sum())
    for name, p in module.named_parameters():
        if p.grad is not None:
            require_finite(p.grad, f"gradient of {name} under bfloat16 autocast")
    if "phase" in signals:
        wide = signals["phase"].dtype in (torch.float32, torch.float64)
        require(
            wide,
            "dtype of the signal phase under autocast",
            expected="float32 or wider",
            got=str(signals["phase"].dtype),
        )


def determinism(case: Case) -> None:
    """Equal inputs give equal bits in both modes, whatever the global generators hold; evaluation knows no dropout."""
    T = min(9, case.dims.max_len)
    x, other = case.inputs(2, T), case.inputs(2, max(1, T - 2), "other")
    for training in (False, True):
        module = case.module(training=training)
        mode = "training" if training else "evaluation"
        with torch.no_grad():
            first = output(module, x, case.context())
            output(module, other, case.context(step=7))
            again = output(module, x, case.context())
            with untouched_generators(f"a pass in {mode} mode", torch_too=not training):
                module(x, case.context())
        require_equal(
            again,
            first,
            f"y of the same input again, another one in between ({mode} mode)",
            cause="state kept between calls, a clock, a global generator, or a reduction of undefined order",
        )
    with torch.no_grad():
        module = case.module()
        first = output(module, x, case.context())
        with other_generators(99):
            require_equal(
                module(x, case.context())[0],
                first,
                "y under another state of torch's global generator (evaluation mode)",
                cause="noise or dropout that does not end with training mode",
            )
        try:
            dropping = case.module(dropout=0.5)
        except BadInput:
            return  # a mechanism that cannot drop attention weights says so
        dropped = output(dropping, x, case.context())
    require_equal(
        dropped,
        first,
        "y in evaluation mode of a module built with dropout 0.5",
        cause="dropout that ignores self.training",
    )


def initial_values(case: Case) -> None:
    """Initial values depend on the seed and the parameter's name only; no global generator is drawn from."""
    first, again = case.module(perturbed=False, seed=3), case.module(perturbed=False, seed=3)
    values = dict(first.named_parameters())
    for name, p in again.named_parameters():
        require_equal(
            p,
            values[name],
            f"initial value of {name} for the same seed",
            cause="a value drawn elsewhere than in reset_parameters",
        )
    asked: set[str] = set()

    def generator_for(name: str) -> torch.Generator:
        asked.add(name)
        return torch.Generator().manual_seed(5)

    with untouched_generators("reset_parameters"):
        again.reset_parameters(generator_for)  # type: ignore[operator]
    unknown = sorted(asked - {name for name, _ in again.named_parameters(remove_duplicate=False)})
    require(
        not unknown,
        "names for which reset_parameters asked a generator",
        expected="full names of parameters",
        got=", ".join(unknown),
        cause="a child's reset_parameters that is not handed a prefixed generator_for",
    )
    initialize(again, 3)
    for name, p in again.named_parameters():
        require_equal(
            p,
            values[name],
            f"value of {name} after a second reset",
            cause="reset_parameters that adds to what is there",
        )


def state(case: Case) -> None:
    """The state survives safetensors: a module built from another seed continues with the same bits."""
    from safetensors.torch import load, save

    module = case.module(training=True)
    T = min(9, case.dims.max_len)
    with torch.no_grad():
        for i in range(2):  # what training moves (running statistics) must be in the state as well
            output(module, case.inputs(2, T, i), case.context(step=i))
    own = module.state_dict()
    odd = sorted(name for name, value in own.items() if not isinstance(value, Tensor))
    require(
        not odd,
        "state_dict",
        expected="tensors only",
        got=f"{', '.join(odd)} beside them",
        cause="get_extra_state: use buffers",
    )
    missing = sorted(name for name, _ in module.named_parameters() if name not in own)
    require(not missing, "state_dict", expected="every parameter", got=f"none of {', '.join(missing)}")
    stored = load(save({name: value.detach().cpu().contiguous().clone() for name, value in own.items()}))
    fresh = case.module(perturbed=False, seed=11)
    result = fresh.load_state_dict(stored, strict=False)
    problems = [*result.missing_keys, *result.unexpected_keys]
    require(not problems, "names in the state", expected="the same in every build", got=", ".join(problems))
    with torch.no_grad():
        x = case.inputs(2, T)
        before, after = output(module.eval(), x, case.context(step=3)), output(fresh, x, case.context(step=3))
    require_equal(
        after,
        before,
        "y of a fresh module that loaded the state",
        cause="a tensor that is neither parameter nor buffer, or drawn from a seed of its own",
    )
