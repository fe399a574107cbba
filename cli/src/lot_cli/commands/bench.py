"""`lot bench`: run benchmark files and keep what they measured."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lot_cli.bench.harness import VERDICTS
from lot_cli.terminal import numbers
from lot_cli.terminal.echo import echo
from lot_cli.terminal.output_file import writing_to

if TYPE_CHECKING:
    from lot_cli.bench.harness import Measured


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--only", metavar="TEXT", help="Run only the cases whose name contains TEXT.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Run only the cases that work on this device.")
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=20.0, show_default=True, help="Seconds to spend per case."
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="New processes that share the seconds, one after the other. 1: in this process.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch; default: what torch chooses.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the results: a JSON file per benchmark, and a page of all. Without it nothing is written.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on stdout.")
def bench(
    files: tuple[Path, ...],
    only: str | None,
    device: str | None,
    seconds: float,
    processes: int,
    threads: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run the benchmarks in FILES, which are Python files that define cases().

    Every case compares two callables in pairs. A ratio is printed only when its 95 % interval is
    narrower than the difference that it is about. The interval is over processes: each may be a few
    percent faster or slower for as long as it lives.
    """
    import torch

    from lot.devices.device import choose_device
    from lot.errors import BadInput
    from lot.runs.environment import environment
    from lot_cli.bench.file import Chosen, cases_of, measured
    from lot_cli.terminal.console import console
    from lot_cli.terminal.progress_line import ProgressLine

    if out is not None:
        out = out.absolute()  # a benchmark may change the directory
        with writing_to(out):
            out.mkdir(parents=True, exist_ok=True)
    if threads is not None:
        torch.set_num_threads(threads)
    stderr = console()
    line_below = ProgressLine(stderr)
    names: list[str] = []
    measured_any = False
    for file in [each.absolute() for each in files]:
        chosen = Chosen(file=str(file), only=only, device=device, seconds=seconds)
        cases = cases_of(file)
        names += [case.name for case in cases]
        cases = [case for case in cases if chosen.chooses(case)]
        if not cases:
            continue
        stderr.print(file.stem, style="bold")
        document: dict[str, Any] = {
            "benchmark": file.stem,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "environment": environment(choose_device("auto")),
            "threads": torch.get_num_threads(),
        }
        line_below.begin(processes if processes > 1 else len(cases), 0)
        try:
            for done, found in enumerate(measured(cases, chosen, processes, threads), start=1):
                document["cases"] = [asdict(each) for each in found]
                if out is not None:  # as it comes: a run that is stopped leaves what was before
                    _keep(out, document)
                line_below.update(done, "processes" if processes > 1 else "cases")
                if processes == 1:
                    shown = found[-1:]  # each case as it comes
                else:
                    shown = found if done == processes else []
                for each in shown:
                    stderr.print("  " + line(each), soft_wrap=True, highlight=False)
        finally:
            line_below.end()
        if as_json:
            echo(json.dumps(document))
        measured_any = True
    if not names:
        raise BadInput(f"{', '.join(map(str, files))}: cases() gives no case")
    if not measured_any and device is not None:
        raise BadInput(f"no such case works on {device}", fix="leave out --device, or name other files")
    if not measured_any:
        raise BadInput(where="--only", expected=f"a part of one of the names {', '.join(names)}", got=only)


def _keep(folder: Path, document: dict[str, Any]) -> None:
    """Write what a benchmark has measured so far, and the page of all."""
    import torch

    from lot.storage.files import write_atomic
    from lot_cli.bench.page import PAGE, page

    kind = "gpu" if torch.cuda.is_available() else "cpu"
    write_atomic(folder / f"{document['benchmark']}-{kind}.json", json.dumps(document, indent=1) + "\n")
    write_atomic(folder / PAGE, page(folder))


def line(m: Measured) -> str:
    """One case in one line."""
    unit = numbers.binary_bytes if m.what == "memory" else numbers.seconds
    both = f"{unit(m.candidate)} against {unit(m.baseline)} ({m.baseline_name})"
    if not m.decided:
        return f"{m.name}: undecided, ratio somewhere in {m.low:.3g} to {m.high:.3g}; {both}"
    word = "of it" if not m.claim.startswith(">=") else "faster" if m.what == "time" else "less"
    pairs = f"{m.pairs} pairs" if m.processes == 1 else f"{m.pairs} pairs in {m.processes} processes"
    spread = "" if m.pairs == 1 else f" ({m.low:.3g} to {m.high:.3g}, {pairs})"
    verdict = "" if m.verdict is None else f"; claim {m.claim}: {VERDICTS[m.verdict]}"
    return f"{m.name}: {m.ratio:.3g}x {word}{spread}; {both}{verdict}" + (f"; {m.note}" if m.note else "")
