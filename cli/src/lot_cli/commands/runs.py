"""`lot runs`: the recorded runs, how far each has come, and how to go on. Imports no torch."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from lot.errors import BadInput
from lot_cli.terminal.echo import echo
from lot_cli.terminal.numbers import number
from lot_cli.terminal.text import BAD, DIM, GOOD, NAME, PLAIN, WARN, columns

STATES = {
    "complete": GOOD,
    "running": NAME,
    "failed": BAD,
    "damaged": BAD,
    "unknown": BAD,
    "killed": WARN,
    "interrupted": WARN,
}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default="runs")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON on stdout.")
def runs(folder: Path, as_json: bool) -> None:
    """List the runs below FOLDER (default: runs) with state, step and metrics,
    and how to go on with unfinished ones."""
    if not folder.is_dir():
        problem = "not a folder" if folder.exists() else "no such folder"
        raise BadInput(f"{folder}: {problem}", fix="lot run makes one; or name the folder that holds your runs")
    found = [run_facts(path) for path in find_runs(folder)]
    if as_json:
        echo(json.dumps({"runs": found}, indent=2))
        return
    if not found:
        echo(f"no run in {folder}", err=True)
    for facts in found:
        (line,) = columns([(f"{facts['state']:<11}", _lines(facts))], (STATES[facts["state"]], PLAIN, DIM), indent=0)
        echo(line)


def find_runs(folder: Path) -> Iterator[Path]:
    """Every run directory at or below `folder`, by path."""
    for path, folders, files in os.walk(folder):
        # A configuration alone may be a file of the user, above or beside the runs.
        if "config.yaml" in files and {"run.json", "status.json", "metrics.json", ".lock"} & set(files):
            folders.clear()  # a run holds no other
            yield Path(path)
        folders.sort()


def run_facts(path: Path) -> dict[str, Any]:
    """A run as plain data: state, steps, final metrics or else the last ones on validation,
    whether it leaks.

    A damaged file makes the state `damaged`, and the message names the file.
    """
    from lot.runs.directory import RunDir
    from lot.storage.contained import refuse_what_leads_out

    run = RunDir(path)
    state, status, measured, metrics, leak, logged = "damaged", {}, {}, {}, False, 0
    try:
        refuse_what_leads_out(path)
        state, status = run.state(), run.status()
        message = status.get("message") or ("its status.json is damaged" if state == "unknown" else "")
        leak = bool(run.facts().get("leak"))
        if (final := run.result()) is not None:
            measured, metrics = final, final["metrics"]
        elif rows := run.rows():
            logged = rows[-1]["step"]
            if validated := [row for row in rows if row.get("split") == "validation"]:
                measured = validated[-1]
                metrics = {k: v for k, v in measured.items() if k not in ("step", "split")}
    except BadInput as error:
        state, message = "damaged", str(error)
    return {
        "run": str(path),
        "state": state,
        "step": status.get("step") or logged,
        "steps": status.get("steps"),
        "split": measured.get("split"),
        "metrics": metrics,
        "leak": leak,
        "message": message,
        "updated": status.get("updated"),
    }


def _lines(facts: dict[str, Any]) -> str:
    """A run in a few lines: where it is, how far it has come, what was measured, and what to do."""
    lines = [f"{facts['run']}  step {facts['step']:,}" + (f" of {facts['steps']:,}" if facts["steps"] else "")]
    if facts["metrics"]:
        values = ", ".join(f"{name} {number(value)}" for name, value in facts["metrics"].items())
        lines.append(f"{facts['split']}: {values}" + ("  LEAK" if facts["leak"] else ""))
    if facts["message"]:
        lines.append(facts["message"].splitlines()[0])
    if facts["state"] in ("killed", "unknown"):
        lines.append(f"continue with: lot run --resume --run-dir {shlex.quote(facts['run'])}")
    return "\n".join(lines)
