"""Continuing prompts token by token: with the attention's caches where it has them, by full passes otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lot.contracts import Context, Model, Task
from lot.errors import BadInput, first_line


class Drawn(NamedTuple):
    """One step of generation: the new token of each sequence (B,) int64, and the model's distribution (B, V) float32.

    The distribution is that of the model itself, before temperature and truncation.
    """

    ids: Tensor
    probability: Tensor


@torch.no_grad()
def generate(
    model: Model,
    prompt: Tensor,
    new_tokens: int,
    *,
    generator: torch.Generator,
    step: Tensor | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[Drawn]:
    """The next `new_tokens` tokens of each prompt (B, n) int64, one step at a time.

    model: in evaluation mode. step: () int64 optimizer step that the modules are told. temperature: divides the logits; 0
    takes the likeliest token. top_k: only the k likeliest tokens can be drawn. top_p: only the likeliest tokens that
    together have this probability (Holtzman et al., 2020). Beyond the model's `max_len` it sees the last `max_len` tokens,
    by a full pass per token. Raises BadInput for an empty prompt, one longer than `max_len`, and for options out of their bounds.
    """
    for name, holds, expected, got in (
        ("temperature", 0 <= temperature < math.inf, "a finite number >= 0", temperature),
        ("top_k", top_k is None or top_k >= 1, "a number >= 1", top_k),
        ("top_p", top_p is None or 0 < top_p <= 1, "a number > 0 and <= 1", top_p),
    ):
        if not holds:
            raise BadInput(where=name, expected=expected, got=got)
    longest = model.dims.max_len
    if not 1 <= prompt.shape[1] <= longest:
        raise BadInput(where="prompt", expected=f"1 to {longest} tokens", got=f"{prompt.shape[1]}")
    next_logits = _next_logits(model, prompt, step)
    ids = prompt
    for _ in range(new_tokens):
        logits = next_logits(ids[:, -longest:], ids.shape[1])
        drawn = draw(logits, generator=generator, temperature=temperature, top_k=top_k, top_p=top_p)
        yield Drawn(drawn, logits.softmax(-1))
        ids = torch.cat((ids, drawn[:, None]), dim=1)


def _next_logits(model: Model, prompt: Tensor, step: Tensor | None) -> Callable[[Tensor, int], Tensor]:
    """A function of (the window (B, w) of the last tokens, their number in all) that gives the logits (B, V) after them.

    It is called once for each token that joins.
    """
    step = torch.zeros((), dtype=torch.int64, device=prompt.device) if step is None else step
    caches = None
    if model.can_decode():
        dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
        caches = model.init_cache(prompt.shape[0], prompt.device, dtype)
    taken = 0

    def following(window: Tensor, count: int) -> Tensor:
        nonlocal taken, caches
        if caches is None or count > model.dims.max_len:  # a cache cannot forget its first token
            logits: Tensor = model(window, Context(step=step)).logits
        else:
            logits, caches = model.extend(window[:, taken:], Context(step=step, start=taken), caches)
            taken = count
        return logits[:, -1].float()

    return following


def draw(
    logits: Tensor,
    *,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """A token (B,) int64 for each row of logits (B, V), as `generate` says."""
    if temperature < torch.finfo(torch.float32).tiny:  # below, dividing by it would give NaN
        return logits.argmax(-1)
    logits = (logits - logits.amax(-1, keepdim=True)) / temperature  # the largest is 0: none overflows
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p is not None:
        ordered, order = logits.softmax(-1).sort(dim=-1, descending=True)
        left_out = ordered.cumsum(-1) - ordered >= top_p  # what is likelier makes up top_p already
        left_out[:, 0] = False  # a top_p that float32 takes for 0 still leaves the likeliest
        logits = logits.masked_fill(torch.zeros_like(left_out).scatter(-1, order, left_out), -torch.inf)
    # Drawn where the generator lives, so that a GPU and a CPU draw the same.
    drawn: Tensor = torch.multinomial(logits.softmax(-1).to(generator.device), 1, generator=generator)[:, 0]
    return drawn.to(logits.device)


def encode_prompt(task: Task, prompt: str) -> list[int]:
    """The tokens of a prompt. Raises BadInput for what the task cannot read."""
    try:
        return list(task.encode(prompt))
    except ValueError as error:  # what a plugin may raise, as int() does
        raise BadInput(f"the task cannot read it: {first_line(error)}", where="--prompt") from error
