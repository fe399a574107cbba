"""Options of commands that make many runs: how many at a time, on what, and on which machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_JOBS = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of runs side by side, each in a process of its own.",
)
_DEVICE = click.option(
    "--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda, cuda:1 ..."
)
_EXECUTOR = click.option(
    "--executor",
    type=click.Choice(["local", "slurm"]),
    default="local",
    show_default=True,
    help="Where the runs are made: on this machine, or on a Slurm cluster.",
)
_SLURM = click.option(
    "--slurm",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Setting of the cluster, as in partition=gpu; repeat for more.",
)


def many_runs(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with `--jobs` and `--device`."""
    return _JOBS(_DEVICE(command))


def on_a_cluster(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with `--executor` and `--slurm`."""
    return _EXECUTOR(_SLURM(command))


def machine_words(jobs: int, device: str) -> list[str]:
    """What repeats `--jobs` and `--device` on a command line."""
    return [*(["--jobs", str(jobs)] if jobs != 1 else []), *(["--device", device] if device != "auto" else [])]


def cluster_words(executor: str, settings: tuple[str, ...]) -> list[str]:
    """What repeats `--executor` and `--slurm` on a command line."""
    return [] if executor == "local" else ["--executor", executor, *(w for each in settings for w in ("--slurm", each))]


def cluster_settings(executor: str, settings: tuple[str, ...]) -> dict[str, Any] | None:
    """Settings of the cluster, or None where the runs are made here."""
    from lot.config.yaml import parse_yaml

    if executor == "local":
        if settings:
            raise click.UsageError("--slurm needs --executor slurm")
        return None
    found = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"expected KEY=VALUE, as in partition=gpu, got {setting!r}", param_hint="--slurm")
        found[key] = parse_yaml(text, f"--slurm {key}")
    return found
