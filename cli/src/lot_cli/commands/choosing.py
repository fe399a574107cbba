"""Options that choose the components of a run, for every command that composes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lot_cli.terminal.names import ComponentName

_OPTIONS = (
    click.option("--attn", type=ComponentName("attention"), help="Attention mechanism."),
    click.option("--mlp", type=ComponentName("mlp"), help="MLP, the other half of a block."),
    click.option("--model", type=ComponentName("model"), help="Model around the parts."),
    click.option("--embed", type=ComponentName("embedding"), help="Token embedding."),
    click.option("--task", type=ComponentName("task"), help="Task or dataset."),
    click.option("--optim", type=ComponentName("optimizer"), help="Optimizer."),
    click.option("--loss", "losses", type=ComponentName("loss"), multiple=True, help="Add a loss; repeat for more."),
    click.option(
        "--diagnostic",
        "diagnostics",
        type=ComponentName("diagnostic"),
        multiple=True,
        help="Measure this in training too; repeat for more.",
    ),
    click.option(
        "--record",
        "recorders",
        type=ComponentName("recorder"),
        multiple=True,
        help="Record elsewhere too, as in csv or wandb; repeat for more.",
    ),
    click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        help="YAML file of a configuration, which the other options refine.",
    ),
)


def choosing_components(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with an option for each section that holds one component, `--loss`, `--diagnostic`, `--record` and `--config`."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


def with_attention(file: Path, name: str | None) -> Any:
    """The tree in a file of a run, without what belongs to another attention than `name`; a warning says what is left out."""
    from lot.config.other_attention import without_attention
    from lot.config.yaml import read_yaml

    tree = read_yaml(file)
    if name is None:
        return tree
    tree, dropped = without_attention(tree, name)
    if dropped:
        from lot_cli.terminal.console import warn

        warn(f"--attn {name}: left out of {file}, with its attention: {', '.join(dropped)}")
    return tree
