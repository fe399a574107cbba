"""The `lot` command: it finds the subcommand, and turns every error into a message and an exit code.

The exit code is 0 when the command is done, 1 after a bug (its traceback goes to a crash file), 2 for bad input, 3 when a
run fails, 130 after an interruption, and 143 after SIGTERM, when the run has saved itself. This module imports click and
nothing else that takes time.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Sequence

import click

from lot_cli.terminal.echo import echo
from lot_cli.terminal.group import LazyGroup

COMMANDS = {
    "run": ("lot_cli.commands.run:run", "Train a model, evaluate it and record the run."),
    "runs": ("lot_cli.commands.runs:runs", "List recorded runs: state, metrics, how to continue."),
    "eval": ("lot_cli.commands.eval:evaluate", "Evaluate a checkpoint of a run, on its data or others."),
    "harness": ("lot_cli.commands.harness:harness", "Ask a run, or the runs of a study, the tasks of lm_eval."),
    "diagnose": ("lot_cli.commands.diagnose:diagnose", "Measure and draw any diagnostic on a run, on any text."),
    "ablate": ("lot_cli.commands.ablate:ablate", "Show how far a trained model relies on its mechanism."),
    "generate": ("lot_cli.commands.generate:generate", "Continue a prompt with the best model of a run."),
    "export": ("lot_cli.commands.export:export", "Write the best model of a run as a file for other programs."),
    "plot": ("lot_cli.commands.plot:plot", "Draw a run: learning curves and diagnostics."),
    "report": ("lot_cli.commands.report:report", "Write a page of a run: result, curves, pictures, configuration."),
    "compare": ("lot_cli.commands.study:compare", "Compare attention mechanisms on a task, fairly and in pairs."),
    "study": ("lot_cli.commands.study:study", "Run a study: arms, seeds, statistics, report."),
    "sweep": ("lot_cli.commands.sweep:sweep", "Try values of options, and list them by a metric on validation."),
    "bench": ("lot_cli.commands.bench:bench", "Run benchmarks: candidate against baseline, in pairs."),
    "show": ("lot_cli.commands.show:show", "Show a component or a section of a file: options, source, notes."),
    "schema": ("lot_cli.commands.schema:schema", "Write the JSON Schema of run, study or sweep files, for editors."),
    "cache": ("lot_cli.commands.cache:cache", "List what is kept between runs and can be made again; delete it."),
    "plugins": ("lot_cli.commands.plugins:plugins", "List what is installed; write, check and build plugins."),
}
"""Name -> (where the command is, its help line). Listed in this order."""

BROKEN_PIPE = 141
"""What a shell reports for a program that wrote to a closed pipe (128 + SIGPIPE)."""


UNUSABLE = {
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EINVAL,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
}
"""What the system says of a path that the user gave and that cannot be used, wherever that shows."""


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        import lot

        echo(f"lot-core {lot.__version__}; lot plugins lists the versions of plugins")
        ctx.exit()


@click.group("lot", cls=LazyGroup, table=COMMANDS, invoke_without_command=True)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show versions.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """A test bench for physics-inspired attention.

    lot run --attn vanilla --task copy_reverse trains a model; lot plugins lists what else you can choose.
    """
    if ctx.invoked_subcommand is None:
        echo(ctx.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: that of this process); returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if instruction := os.environ.get("_LOT_COMPLETE"):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "lot", "_LOT_COMPLETE", instruction)
    _never_fail_to_encode()
    debug = False
    try:
        _refuse_other_encodings(args)
        with cli.make_context("lot", args.copy()) as ctx:
            debug = ctx.params["debug"]
            cli.invoke(ctx)
            if sys.stdout is not None:  # closed by the caller: >&-
                sys.stdout.flush()  # where the reader has gone, this fails here and not at exit
            _discard_output()  # a run goes on where nobody reads its messages
        return 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        echo("interrupted", err=True)
        return 130
    except (Exception, SystemExit) as error:  # no command of ours calls sys.exit: a plugin did
        try:
            return _report(error, args, debug)
        except BrokenPipeError:
            _discard_output()
            return BROKEN_PIPE


def _never_fail_to_encode() -> None:
    """Let a terminal whose encoding lacks a character show its escape instead: a table is worth more than its frame."""
    for stream in (sys.stdout, sys.stderr):
        encoding = getattr(stream, "encoding", None) or "utf-8"
        if isinstance(stream, io.TextIOWrapper) and encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="backslashreplace")


def _refuse_other_encodings(args: list[str]) -> None:
    """An argument that is no text can be the name of a file, but nothing could record it or print it."""
    for arg in args:
        if not arg.isascii() and any("\ud800" <= character <= "\udfff" for character in arg):
            raise click.UsageError(f"expected arguments in UTF-8, got {arg}")


def _report(error: BaseException, args: list[str], debug: bool) -> int:
    """Tell the user; returns the exit code."""
    from lot.errors import Interrupted, LotError
    from lot_cli.terminal.crash import place_in_plugin, write_crash_file

    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, click.ClickException):
        message = error.format_message()
        if isinstance(error, click.UsageError) and error.ctx is not None:
            message += f"\nsee {error.ctx.command_path} --help"
        return _say(message, 2)
    if isinstance(error, Interrupted):  # as the user wanted: no error
        echo(str(error), err=True)
        return error.exit_code
    if isinstance(error, LotError):
        return _say(str(error), error.exit_code)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        _discard_output()
        return _say("the output cannot be written: no space left on its device", 3)
    if isinstance(error, OSError) and error.errno in UNUSABLE and error.filename is not None:
        return _say(f"{error.filename}: cannot be used ({error.strerror})", 2)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    what = what if len(what) <= 300 else f"{what[:297]}..."
    what += place_in_plugin(error)
    if _is_out_of_memory(error):
        fix = "lower train.batch_size (train.accumulate makes up for it), or set model.recompute=true"
        return _say(f"out of memory: {what}\n{fix}", 3)
    if debug:
        return _say(what, 1)
    return _say(f"{what}\na bug in LOT or in a plugin; the traceback is in {write_crash_file(error, args)}", 1)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch has a class of its own for this on a GPU, and this text on a CPU."""
    by_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return by_torch or isinstance(error, MemoryError)


def _say(message: str, code: int) -> int:
    first, *rest = message.splitlines() or ["unknown"]
    echo(click.style("error: ", fg="red", bold=True) + first, err=True)
    for line in rest:
        echo(f"       {line}", err=True)
    return code


def _discard_output() -> None:
    """Send what is still buffered to nowhere, so that the interpreter does not fail on it at exit."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # closed by the caller
            continue
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            continue
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
