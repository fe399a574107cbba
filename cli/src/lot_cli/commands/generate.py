"""`lot generate`: a trained model continues a prompt, or answers an example of its task."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lot_cli.terminal.echo import echo

if TYPE_CHECKING:
    from torch import Tensor

    from lot.contracts import Task
    from lot.model.generate import Drawn
    from lot.runs.load import RecordedRun


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--prompt", metavar="TEXT", help="Text to continue; default: the beginning of a test example.")
@click.option("--example", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the test example.")
@click.option(
    "--tokens", type=click.IntRange(min=1), help="Number of new tokens; default: up to the end of the task's sequence."
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of continuations, drawn side by side.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    help="Number that divides the logits; 0 takes the likeliest token. Default: 0 where the example has an answer, else 1.",
)
@click.option("--top-k", type=click.IntRange(min=1), help="Draw from the k likeliest tokens only.")
@click.option(
    "--top-p",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Draw from the likeliest tokens that make up the share p.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draws.")
@click.option("--data", type=click.Path(path_type=Path), help="Text for --example, in place of that of the training.")
@click.option("--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda ...")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout.")
def generate(
    run: Path,
    prompt: str | None,
    example: int,
    tokens: int | None,
    samples: int,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    data: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Continue a prompt with the best model of RUN.

    For example: lot generate runs/char_lm-vanilla --prompt "The " --tokens 200 --temperature 0.8
    """
    ctx = click.get_current_context()
    given = {name for name in ctx.params if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT}
    if prompt is not None and "example" in given:
        raise click.UsageError("--prompt and --example both say what to continue; give one of them")
    for flag, number in (("--temperature", temperature), ("--top-p", top_p)):
        if number is not None and not math.isfinite(number):  # NaN passes every bound
            raise click.BadParameter(f"expected a finite number, got {number}", param_hint=flag)

    import torch

    from lot.model.generate import encode_prompt, generate as continue_prompt
    from lot.random import torch_generator
    from lot.runs.load import load_run
    from lot_cli.terminal.console import warn

    loaded = load_run(run, device=device, data=data, warn=warn)
    task, model = loaded.task, loaded.model
    answer: list[int] | None = None
    if prompt is None:
        ids, answer = _question(task, example)
        loaded.check_data(warn)
    else:
        ids = encode_prompt(task, prompt)
    if temperature is None:
        temperature = 1.0 if answer is None else 0.0
    _check_draws(temperature, given)
    if tokens is None:
        tokens = max(1, task.seq_len - len(ids)) if answer is None else len(answer)
    where = next(model.parameters()).device
    steps = continue_prompt(
        model,
        torch.tensor([ids] * samples, dtype=torch.int64, device=where).view(samples, len(ids)),
        tokens,
        generator=torch_generator(seed, "generate"),
        step=torch.tensor(loaded.step, device=where),
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
    )
    if as_json:
        drawn = torch.stack([step.ids.cpu() for step in steps], dim=1)  # (samples, tokens)
        echo(json.dumps(_document(loaded, task, ids, answer, drawn)))
        return
    _show(loaded, task, ids, answer, steps, samples)


def _show(
    loaded: RecordedRun, task: Task, ids: list[int], answer: list[int] | None, steps: Iterator[Drawn], samples: int
) -> None:
    """Print one continuation token by token, or several one below the other,
    and how much of an answer is right."""
    from lot_cli.terminal.console import console

    stderr = console()
    stderr.print(f"{loaded.path}, step {loaded.step}", style="dim", soft_wrap=True)
    if loaded.leak:
        stderr.print("LEAK: this model was trained to see what it is asked to predict", style="red bold")
    continuations: list[list[int]] = [[] for _ in range(samples)]
    write = _writer(task, ids) if samples == 1 else None
    for step in steps:
        for new, token in zip(continuations, step.ids.tolist(), strict=True):
            new.append(token)
        if write is not None:
            write(continuations[0])
    for number, new in enumerate(continuations, 1):
        if write is None:
            echo(click.style(f"sample {number}  ", dim=True) + _styled(task, ids, new))
        else:
            echo("")
        if answer is not None:
            right = sum(a == b for a, b in zip(answer, new, strict=False))
            verdict = f"{right} of {len(answer)} right" + ("" if new == answer else f"; answer: {task.decode(answer)}")
            stderr.print(verdict, style="green" if new == answer else "yellow", highlight=False, soft_wrap=True)


def _check_draws(temperature: float, given: set[str]) -> None:
    """Refuse an option about draws where nothing is drawn, since it would change nothing."""
    if temperature == 0 and (idle := [name for name in ("samples", "top_k", "top_p", "seed") if name in given]):
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise click.UsageError(
            f"{flags}: nothing is drawn at temperature 0, which takes the likeliest token; add --temperature 1"
        )


def _question(task: Task, example: int) -> tuple[list[int], list[int] | None]:
    """A test example's prompt, and its answer where the task asks for one.

    The prompt goes to the first position that is scored, and the answer on from there as long as
    each of its tokens is the next input. Where the first position is scored (language modeling)
    the prompt is half of the sequence, without answer.
    """
    from lot.contracts import IGNORED
    from lot.errors import BadInput

    count = task.length("test")
    assert count is not None, "test splits are finite"
    if example >= count:
        raise BadInput(where="--example", expected=f"a test example from 0 to {count - 1}", got=example)
    batch = task.batch("test", example, 1)
    inputs, targets = batch.inputs[0].tolist(), batch.targets[0].tolist()
    first = next((t for t, target in enumerate(targets) if target != IGNORED), 0)
    if first == 0:
        return inputs[: max(1, len(inputs) // 2)], None
    end = first + 1
    while end < len(targets) and targets[end] != IGNORED and inputs[end] == targets[end - 1]:
        end += 1
    return inputs[: first + 1], targets[first:end]


def _after(task: Task, prompt: list[int], new: list[int]) -> str:
    """What the new tokens add to the text of the prompt."""
    return task.decode(prompt + new)[len(task.decode(prompt)) :]


def _styled(task: Task, prompt: list[int], new: list[int]) -> str:
    """Prompt and continuation, told apart by color."""
    return click.style(task.decode(prompt), fg="cyan") + _after(task, prompt, new)


def _writer(task: Task, prompt: list[int]) -> Callable[[list[int]], None]:
    """A function that writes, at each call, the text that has become certain since;
    the prompt is written at once."""
    echo(click.style(task.decode(prompt), fg="cyan"), nl=False)
    written = 0

    def write(new: list[int]) -> None:
        nonlocal written
        text = _after(task, prompt, new)
        if text.endswith("\N{REPLACEMENT CHARACTER}"):  # a character of several bytes, not all of which are there
            return
        echo(text[written:], nl=False)
        written = len(text)

    return write


def _document(
    loaded: RecordedRun, task: Task, prompt: list[int], answer: list[int] | None, drawn: Tensor
) -> dict[str, Any]:
    return {
        "run": str(loaded.path),
        "step": loaded.step,
        "checkpoint": str(loaded.checkpoint),
        "leak": loaded.leak,
        "prompt": {"text": task.decode(prompt), "ids": prompt},
        "answer": None if answer is None else {"text": task.decode(answer), "ids": answer},
        "samples": [{"text": task.decode(row), "ids": row} for row in drawn.tolist()],
    }
