"""`lot export`: a trained model as a file for other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from lot_cli.terminal.echo import echo
from lot_cli.terminal.output_file import require_writable, writing_to

FORMATS = {".pt2": "pt2", ".onnx": "onnx", ".safetensors": "safetensors"}


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "wanted",
    type=click.Choice((*FORMATS.values(), "hf")),
    help="What to write. Default: what the name of FILE ends in.",
)
@click.option(
    "--operators",
    type=click.Choice(("torch", "native")),
    help="Operators of a .pt2. torch (the default): those that every torch has; native: the fast ones of plugins too.",
)
@click.option(
    "--signals",
    metavar="NAME",
    multiple=True,
    help="Give this signal beside the logits, such as phase. Give it more than once for more.",
)
@click.option(
    "--fixed-sizes", is_flag=True, help="Write a program also where it can take one batch size or length only."
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def export(
    run: Path,
    file: Path,
    wanted: str | None,
    operators: str | None,
    signals: tuple[str, ...],
    fixed_sizes: bool,
    force: bool,
) -> None:
    """Write the best model of RUN to FILE.

    FILE.pt2 is a program for torch, with no LOT around it: torch.export.load(FILE).module()(ids) gives the logits, where
    ids are (B, T) int64, of any batch size and any length up to that of the model. With --operators native it is faster,
    and the command names the modules to import before it is loaded. FILE.onnx is the same program for ONNX Runtime and
    others (pip install 'lot-cli[onnx]'): its input is ids, its first output logits. With --signals, a program gives a table
    of logits and signals by name; that of layer 0 is phase.0. Before a program is left in FILE, it is run at several sizes
    in a process without LOT, and must give what the model gives. FILE.safetensors holds the weights by name, and the
    configuration as its metadata.

    With --format hf, FILE is a new folder, which transformers reads after `import lot_hf.auto` (pip install
    'lot-hf[transformers]'): AutoModelForCausalLM.from_pretrained(FILE), and AutoTokenizer where the task has a tokenizer
    file. It needs LOT and the plugins of the run.
    """
    from lot.errors import BadInput

    kind = FORMATS.get(file.suffix) if wanted is None else wanted
    if kind is None:
        raise BadInput(where="FILE", expected=f"a name that ends in {', '.join(FORMATS)}, or --format", got=str(file))
    _check_flags(kind, operators, signals, fixed_sizes)
    if kind == "hf" and file.exists():
        raise BadInput(f"{file} exists", fix="choose a folder that is not there yet, which --force does not replace")
    if file.exists() and not force:
        raise BadInput(f"{file} exists", fix="add --force to replace it, or choose another name")
    require_writable(file.parent, file, fix="choose another folder")

    from lot.runs.load import load_run
    from lot_cli.export import formats
    from lot_cli.export.folder import write_folder
    from lot_cli.export.program import check_signals
    from lot_cli.terminal.console import warn

    if kind == "onnx":
        formats.require_onnx()
    loaded = load_run(run, device="cpu", warn=warn)
    if loaded.leak:
        warn("this model was trained to see what it is asked to predict")
    names = frozenset(signals)
    check_signals(loaded, names)
    writers: dict[str, Callable[[Path], list[str]]] = {
        "pt2": lambda path: formats.write_program(loaded, path, names, native=operators == "native", fixed=fixed_sizes),
        "onnx": lambda path: formats.write_onnx(loaded, path, names, fixed=fixed_sizes),
        "safetensors": lambda path: formats.write_weights(loaded, path),
        "hf": lambda path: write_folder(loaded, path),
    }
    with writing_to(file, fix="choose another folder"):
        facts = _write_folder(file, writers[kind]) if kind == "hf" else _write_whole(file, f".{kind}", writers[kind])
    size = sum(path.stat().st_size for path in (file.iterdir() if file.is_dir() else (file,)))
    echo(f"{file}: {loaded.path}, step {loaded.step}, {size / 2**20:.1f} MiB")
    for fact in facts:
        echo(f"  {fact}")


def _check_flags(kind: str, operators: str | None, signals: tuple[str, ...], fixed_sizes: bool) -> None:
    """Refuse an option that the format does not have."""
    if operators is not None and kind != "pt2":
        raise click.UsageError(f"--operators: a choice of .pt2 alone; {kind} has none")
    if kind in ("safetensors", "hf") and (signals or fixed_sizes):
        flag = "--signals" if signals else "--fixed-sizes"
        raise click.UsageError(f"{flag}: for programs (.pt2, .onnx); {kind} holds weights")


def _write_whole(file: Path, suffix: str, write: Callable[[Path], list[str]]) -> list[str]:
    """What `write` returns.

    It writes beside `file`, which is replaced only when all of it is there. Raises OSError.
    """
    from lot.storage.files import created_as_usual, temporary_name

    temporary = temporary_name(file, suffix)
    try:
        with created_as_usual(temporary):
            facts = write(temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return facts


def _write_folder(folder: Path, write: Callable[[Path], list[str]]) -> list[str]:
    """What `write` returns, which writes into a folder that gets its name when all of it is there. Raises OSError."""
    from lot.storage.folder import removed_on_failure, temporary_folder

    temporary = temporary_folder(folder)
    with removed_on_failure(temporary):
        facts = write(temporary)
        temporary.chmod(0o755)
        temporary.rename(folder)
    return facts
