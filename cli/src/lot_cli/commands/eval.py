"""`lot eval`: the metrics of a finished run, on any checkpoint and any data."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lot_cli.terminal.echo import echo
from lot_cli.terminal.names import ComponentName


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--checkpoint", default="best", show_default=True, metavar="STEP|last|best", help="Which checkpoint.")
@click.option(
    "--split",
    type=click.Choice(["test", "validation", "train"]),
    default="test",
    show_default=True,
    help="Part of the data to evaluate on.",
)
@click.option("--task", type=ComponentName("task"), help="Another task, with the vocabulary of the model.")
@click.option(
    "--set", "overrides", multiple=True, metavar="task.OPTION=VALUE", help="Set an option of the task, as its length."
)
@click.option("--data", type=click.Path(path_type=Path), help="File to read in place of the one of the training.")
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    help="How many, from the first on; default: all, and of a training split train.eval_examples.",
)
@click.option("--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda ...")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def evaluate(
    run: Path,
    checkpoint: str,
    split: str,
    task: str | None,
    overrides: tuple[str, ...],
    data: Path | None,
    examples: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Evaluate a checkpoint of RUN: a run directory, a folder of versions, or the folder of a checkpoint.

    Metrics of the task and of the mechanism, and the loss at each position, are printed and kept in RUN/evaluations; nothing
    that the run recorded is changed. A position counts from the start of the row, or of the document where the task tells
    documents apart. For example, at four times the length: lot eval RUN --set task.seq_len=128
    """
    from lot.inspection.evaluate import evaluate as measure, for_json, record_evaluation
    from lot_cli.terminal.console import console, metrics_table, warn

    found = measure(
        run,
        split=split,  # type: ignore[arg-type]
        checkpoint=checkpoint,
        task=task,
        overrides=overrides,
        data=data,
        examples=examples,
        device=device,
        warn=warn,
    )
    try:
        path = record_evaluation(found)
    except OSError as error:
        warn(f"the result is not kept ({error})")
        path = None
    if as_json:
        echo(json.dumps(for_json(found)))
        return
    title = f"{found['split']} split, step {found['step']}, {found['run']}"
    metrics_table({**found["metrics"], **found["mechanism"]}, title, leak=found["leak"])
    where = console(stderr=False)
    for line in position_lines(found["loss_by_position"]):
        where.print(line, style="dim", soft_wrap=True)
    if path is not None:
        console().print(f"kept in {path}", style="dim", soft_wrap=True)


def position_lines(losses: list[float | None], most: int = 6) -> list[str]:
    """The mean loss in up to `most` stretches of positions, a line for each; none where the positions are not told apart."""
    scored = [(position, loss) for position, loss in enumerate(losses) if loss is not None]
    if len(scored) < 2:
        return []
    count = min(most, len(scored))
    edges = [len(scored) * index // count for index in range(count + 1)]
    parts = [scored[start:stop] for start, stop in zip(edges[:-1], edges[1:], strict=True)]
    names = [f"{part[0][0]} to {part[-1][0]}" if len(part) > 1 else str(part[0][0]) for part in parts]
    width = max(map(len, names))
    means = [sum(loss for _, loss in part) / len(part) for part in parts]
    lines = [f"  {name:>{width}}  {mean:.4g}" for name, mean in zip(names, means, strict=True)]
    return ["loss by position (nats per scored token)", *lines]
