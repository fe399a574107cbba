"""`lot report`: a run as one page."""

from __future__ import annotations

from pathlib import Path

import click

from lot_cli.terminal.echo import echo
from lot_cli.terminal.output_file import require_writable, writing_to

FILE = "report.html"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="File to write; default: report.html in the folder of the run."
)
def report(run: Path, out: Path | None) -> None:
    """Write a page of RUN: result, learning curves, pictures of its diagnostics, configuration, environment,
    and the command that repeats it.

    The page is one file that needs no network. It is written for unfinished and failed runs too, and says how far they came.
    """
    from lot.errors import BadInput
    from lot.storage.files import write_atomic
    from lot_cli.recorded.facts import read_run
    from lot_cli.recorded.html import to_html
    from lot_cli.terminal.console import warn

    for kind in ("study", "sweep"):
        if (run / f"{kind}.json").is_file():
            raise BadInput(
                f"{run} is the folder of a {kind}, and no run",
                fix=f"lot {kind} FILE --report-only writes its report.html",
            )
    if out is not None and (out.suffix.lower() not in (".html", ".htm") or (out.exists() and not out.is_file())):
        raise BadInput(where="--out", expected="a file whose name ends in .html", got=str(out))
    facts = read_run(run)
    path = out or facts.path / FILE
    require_writable(path.parent, path, fix="choose another file with --out")
    for problem in facts.problems:
        warn(problem)
    page = to_html(facts, warn)
    with writing_to(path, fix="choose another file with --out"):
        write_atomic(path, page)
    echo(f"report: {path}")
