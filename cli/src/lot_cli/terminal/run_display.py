"""What `lot run` shows while it works: a header, a line that moves, warnings,
and the table of metrics at the end."""

from __future__ import annotations

import shlex
import time
from types import TracebackType
from typing import Any

from rich.table import Table

from lot.config.schedule import highest_rate
from lot_cli.terminal.console import console, metrics_table, warning_text
from lot_cli.terminal.numbers import number
from lot_cli.terminal.progress_line import ProgressLine

PLAIN_SECONDS = 5.0
"""Least seconds between two progress lines where there is no terminal."""

PARALLEL = {"ddp": "the model copied to each (DDP)", "fsdp": "the model sharded over them (FSDP)"}


class RunDisplay:
    """Shows the events of training.

    Use it as a context, so that the line that moves ends cleanly.
    """

    def __init__(self, *, quiet_stdout: bool) -> None:
        self.console = console()
        self.quiet_stdout = quiet_stdout
        self.line = ProgressLine(self.console)
        self.header: dict[str, Any] = {}
        self.latest: dict[str, Any] = {}
        self.last_plain = 0.0
        self.unread = False  # whether what reads the output has ended
        self.began: tuple[float, int] | None = None  # time and step from which the time left is estimated

    def __enter__(self) -> RunDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.unread:
            self.line.end()

    def report(self, event: str, facts: dict[str, Any]) -> None:
        """Show one event; an event that has nothing to show is passed over. Where nobody reads any more, the run goes on."""
        show = getattr(self, f"_{event}", None)
        if show is None or self.unread:
            return
        try:
            show(facts)
        except BrokenPipeError:
            self.unread = True

    def _start(self, header: dict[str, Any]) -> None:
        self.header = header
        self.console.print(_header_table(header))
        if header["leak"]:
            self.console.print("LEAK: this model sees what it is asked to predict (allow_leak)", style="bold red")
        if header["tolerance"]:
            self.console.print(f"causal up to a relative error of {header['tolerance']:g}", style="yellow")
        train = header["config"]["train"]
        if (share := highest_rate(train["warmup"], header["steps"])) < 1:
            text = (
                f"the warmup of {train['warmup']} steps is longer than the run of {header['steps']}: the learning rate "
                f"reaches {share:.0%} of its peak; lower train.warmup, or set it to null"
            )
            self.console.print(warning_text(text), soft_wrap=True)
        self.line.begin(header["steps"], header["step"])

    _resume = _start

    def _log(self, row: dict[str, Any]) -> None:
        self.latest.update(loss=row["loss"], speed=row["tokens_per_second"])
        self._show(row["step"])

    def _validation(self, row: dict[str, Any]) -> None:
        primary = self.header["primary"]
        self.latest["validation"] = (primary, row[primary])
        self._show(row["step"], now=True)

    def _diagnostic(self, row: dict[str, Any]) -> None:
        if row["headline"] is not None and row["headline"] in row:
            self.latest.setdefault("headlines", {})[row["headline"]] = row[row["headline"]]

    def _show(self, step: int, *, now: bool = False) -> None:
        if self.line.shown:
            self.line.update(step, self._facts("val"))
            return
        moment = time.perf_counter()
        # The first steps build kernels and fill caches: they say nothing about the later ones.
        self.began = (moment, step) if self.began is None else self.began
        if now or moment - self.last_plain >= PLAIN_SECONDS:
            self.last_plain = moment
            since, first = self.began
            steps = self.header["steps"]
            left = f"  {(moment - since) / (step - first) * (steps - step):.0f} s left" if step > first else ""
            self.console.print(f"step {step:,}/{steps:,}  {self._facts()}{left}", soft_wrap=True)

    def _facts(self, validation: str = "validation") -> str:
        """The latest numbers as one text, the most important ones first."""
        parts = []
        if "loss" in self.latest:
            parts.append(f"loss {_measured(self.latest['loss'])}")
        if "validation" in self.latest:
            name, value = self.latest["validation"]
            parts.append(f"{validation} {name} {_measured(value)}")
        parts.extend(f"{name} {_measured(value)}" for name, value in self.latest.get("headlines", {}).items())
        if "speed" in self.latest:
            parts.append(f"{number(self.latest['speed'])} tokens/s")
        return "  ".join(parts)

    def _warning(self, facts: dict[str, Any]) -> None:
        self.console.print(warning_text(facts["text"]), soft_wrap=True)

    def _test(self, facts: dict[str, Any]) -> None:
        self.line.end()
        metrics = {key: value for key, value in facts.items() if key not in ("step", "split")}
        title = f"{facts['split']} split, best checkpoint (step {facts['step']})"
        metrics_table(metrics, title, leak=self.header["leak"], stderr=self.quiet_stdout)

    def _end(self, facts: dict[str, Any]) -> None:
        if facts["already"]:
            self.console.print(f"{facts['run']} is complete already; nothing to do", soft_wrap=True)
            metrics_table(facts["metrics"], "recorded metrics", leak=facts["leak"], stderr=self.quiet_stdout)
            return
        self.console.print(f"\nrecorded in {facts['run']}", soft_wrap=True)
        self.console.print(f"  lot plot {shlex.quote(facts['run'])}    draws it", style="dim", soft_wrap=True)


def _header_table(header: dict[str, Any]) -> Table:
    """What is about to be trained, a line for each of task, attention, model, objective,
    optimizer, training and device."""
    config, sizes = header["config"], header["sizes"]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    table.add_row(
        "run",
        header["run"] + (f"  (resumed at step {header['step']})" if header["step"] and not header["beginning"] else ""),
    )
    if header["beginning"]:
        table.add_row("begins", header["beginning"])
    table.add_row("task", _with_options(config["task"]))
    held = " (held neutral: it computes vanilla attention)" if config["train"]["neutral"] else ""
    notes = "".join(f"\n{note}" for note in header["notes"])
    table.add_row("attention", f"{_by_layer(header['attention'])}{held}{notes}")
    parts = [
        f"{sizes['layers']} {'layer' if sizes['layers'] == 1 else 'layers'} x width {sizes['width']} x {sizes['heads']} heads",
        f"{sizes['positions']} positions",
        *([f"embedding {config['embed']['name']}"] if "embed" in config else []),
        *([f"MLP {_by_layer(header['mlp'])}"] if header["mlp"] else []),
    ]
    count = f"{header['parameters']:,} parameters"
    if header["resting"]:
        count += f" and {header['resting']:,} that do not train"
    table.add_row("model", f"{config['model']['name']}, {count}: {', '.join(parts)}")
    terms = [f"{name} x {options['weight']:g}" for name, options in config["losses"].items() if options is not None]
    table.add_row("objective", " + ".join(terms))
    table.add_row("optimizer", _with_options(config["optim"]))
    table.add_row(
        "training", f"{header['steps']:,} steps x {header['tokens_per_step']:,} tokens, seed {config['seed']}"
    )
    how = [header["precision"], "compiled" if header["compile"] else "eager"]
    if header["processes"] > 1:
        how.append(f"{header['processes']} processes, {PARALLEL[header['parallel']]}")
    if header["context_parallel"] > 1:
        how.append(f"each sequence spread over {header['context_parallel']} of them")
    table.add_row("device", f"{header['device']}, {', '.join(how)}")
    return table


def _by_layer(names: dict[int, str]) -> str:
    """`lattice`, or `0: vanilla, 1: lattice` where the layers differ; `its own` where none is chosen."""
    if len(set(names.values())) == 1:
        return next(iter(names.values()))
    return ", ".join(f"{layer}: {name}" for layer, name in names.items()) or "its own"


def _with_options(table: dict[str, Any]) -> str:
    """`copy_reverse  (vocab_size 64, seq_len 32)`."""
    options = ", ".join(f"{key} {value}" for key, value in table.items() if key != "name" and value is not None)
    return f"{table['name']}  ({options})" if options else str(table["name"])


def _measured(value: float | None) -> str:
    return number(value, absent="not finite")
