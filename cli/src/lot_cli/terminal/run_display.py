"""What a run shows while it works: a header, a live line, warnings, and the table at the end."""

from __future__ import annotations

import shlex
import time
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lot_cli.terminal.console import console, metrics_table, number

PLAIN_SECONDS = 5.0
"""Without a terminal, a progress line at most this often."""

PARALLEL = {"ddp": "the model copied to each (DDP)", "fsdp": "the model sharded over them (FSDP)"}


class Display:
    """Shows the events of `lot.train`; used as a context so that the live line ends cleanly."""

    def __init__(self, *, quiet_stdout: bool) -> None:
        self.console = console()
        self.quiet_stdout = quiet_stdout
        self.progress: Progress | None = None
        self.task: TaskID | None = None
        self.header: dict[str, Any] = {}
        self.latest: dict[str, Any] = {}
        self.last_plain = 0.0
        self.began: tuple[float, int] | None = None  # moment and step from which time left is judged

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress is not None:
            self.progress.stop()

    def report(self, event: str, facts: dict[str, Any]) -> None:
        """Show one event."""
        show = getattr(self, f"_{event}", None)
        if show is not None:
            show(facts)

    def _start(self, header: dict[str, Any]) -> None:
        self.header = header
        config = header["config"]
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column()
        table.add_row("run", f"{header['run']}" + (f"  (resumed at step {header['step']})" if header["step"] else ""))
        table.add_row("task", _with_options(config["task"]))
        layers = (
            " ".join(dict.fromkeys(header["attention"]))
            if len(set(header["attention"])) == 1
            else ", ".join(f"{layer}: {name}" for layer, name in enumerate(header["attention"]))
        )
        table.add_row("attention", layers + "".join(f"\n{note}" for note in header["notes"]))
        model = config["model"]
        table.add_row(
            "model",
            f"{header['parameters']:,} parameters: {model['layers']} layers x width {model['width']} x "
            f"{model['heads']} heads, {model['positions']} positions, embedding {config['embed']['name']}",
        )
        terms = [f"{name} x {table_['weight']:g}" for name, table_ in config["losses"].items() if table_ is not None]
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
        self.console.print(table)
        if header["leak"]:
            self.console.print("LEAK: a non-causal attention runs on a causal task (allow_leak)", style="bold red")
        if header["tolerance"]:
            self.console.print(f"causal up to a relative error of {header['tolerance']:g}", style="yellow")
        if self.console.is_terminal:
            self.progress = Progress(
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.progress.start()
            self.task = self.progress.add_task("train", total=header["steps"], completed=header["step"], facts="")

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
        parts = []
        if "loss" in self.latest:
            parts.append(f"loss {number(self.latest['loss'])}")
        if "validation" in self.latest:
            name, value = self.latest["validation"]
            parts.append(f"validation {name} {number(value)}")
        parts.extend(f"{name} {number(value)}" for name, value in self.latest.get("headlines", {}).items())
        if "speed" in self.latest:
            parts.append(f"{number(self.latest['speed'])} tokens/s")
        facts = "  ".join(parts)
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=step, facts=facts)
            return
        moment = time.perf_counter()
        # The first steps build kernels and fill caches: they say nothing about the later ones.
        self.began = (moment, step) if self.began is None else self.began
        if now or moment - self.last_plain >= PLAIN_SECONDS:
            self.last_plain = moment
            since, first = self.began
            left = (
                f"  {(moment - since) / (step - first) * (self.header['steps'] - step):.0f} s left"
                if step > first
                else ""
            )
            self.console.print(f"step {step:,}/{self.header['steps']:,}  {facts}{left}", soft_wrap=True)

    def _warning(self, facts: dict[str, Any]) -> None:
        self.console.print(Text.assemble(("warning: ", "yellow"), facts["text"]), soft_wrap=True)

    def _test(self, facts: dict[str, Any]) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
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


def _with_options(table: dict[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in table.items() if key != "name" and value is not None)
    return f"{table['name']}  ({options})" if options else str(table["name"])
