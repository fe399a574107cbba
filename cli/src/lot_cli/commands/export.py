"""`lot export`: a trained model as a file for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lot_cli.terminal.echo import echo

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

    from lot.runs.load import RecordedRun

TOLERANCE = 1e-4
"""Largest difference between the logits of the exported program and of the model,
relative to the largest logit."""


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def export(run: Path, file: Path, force: bool) -> None:
    """Write the best model of RUN to FILE.

    FILE.pt2 is a program: torch.export.load(FILE).module()(ids) gives the logits,
    where ids are (B, T) int64. It runs without LOT, unless the model calls operators of a plugin:
    the command then names the module to import first. FILE.safetensors holds the weights by name,
    and the configuration as its metadata.
    """
    from lot.errors import BadInput
    from lot.runs.load import load_run
    from lot_cli.terminal.console import warn
    from lot_cli.terminal.output_file import writing_to

    writers = {".pt2": _write_program, ".safetensors": _write_weights}
    if file.suffix not in writers:
        raise BadInput(where="FILE", expected="a name that ends in .pt2 or .safetensors", got=str(file))
    if file.exists() and not force:
        raise BadInput(f"{file} exists", fix="add --force to replace it, or choose another name")
    loaded = load_run(run, device="cpu", warn=warn)
    if loaded.leak:
        warn("this model was trained to see what it is asked to predict")
    with writing_to(file, fix="choose another folder"):
        facts = _write_whole(file, lambda path: list(writers[file.suffix](loaded, path)))
    echo(f"{file}: {loaded.path}, step {loaded.step}, {file.stat().st_size / 2**20:.1f} MiB")
    for fact in facts:
        echo(f"  {fact}")


def _write_whole(file: Path, write: Callable[[Path], list[str]]) -> list[str]:
    """What `write` returns.

    It writes beside `file`, which is replaced only when all of it is there. Raises OSError.
    """
    from lot.storage.files import created_as_usual, temporary_name

    temporary = temporary_name(file, file.suffix)
    try:
        with created_as_usual(temporary):
            facts = write(temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return facts


def _write_weights(loaded: RecordedRun, path: Path) -> Iterator[str]:
    """The parameters and buffers of the model; yields the lines to print."""
    from safetensors import SafetensorError
    from safetensors.torch import save_model

    metadata = {"config": loaded.config.to_yaml(), "run": str(loaded.path), "step": str(loaded.step), "format": "pt"}
    try:
        save_model(loaded.model, str(path), metadata=metadata)
    except SafetensorError as error:  # what its writer raises for a full disk
        raise OSError(str(error)) from error
    yield f"{len(loaded.model.state_dict())} tensors; the configuration is in the metadata under 'config'"


def _write_program(loaded: RecordedRun, path: Path) -> Iterator[str]:
    """The model as an exported program, compared with the model itself; yields the lines to print.

    Raises RunFailed where the model cannot be exported, or where the program does not give its
    logits.
    """
    import torch

    from lot.random import torch_generator

    module = _logits_module(loaded)
    # Drawn, since the text may not be here; a batch of one would be taken for a constant.
    generator = torch_generator(0, "export", "ids")
    ids = torch.randint(loaded.task.vocab_size, (3, loaded.task.seq_len), generator=generator)
    program = _exported(module, ids)
    try:
        torch.export.save(program, path)
    except RuntimeError as error:  # what its writer raises for a full disk
        raise OSError(str(error).splitlines()[0]) from error
    again = torch.export.load(path)
    free = [_is_free(again, dim) for dim in range(2)]
    _check_logits(again, module, ids, free)
    batch_size = "any batch" if free[0] else f"a batch of {len(ids)}"
    lengths = f"up to {loaded.model.dims.max_len}" if free[1] else str(ids.shape[1])
    yield f"{batch_size}, {lengths} tokens; logits equal to the model's to {TOLERANCE:g} (relative)"
    if modules := _registering_modules(again, loaded):
        yield f"it calls operators of ours: import {', '.join(modules)} before loading it"


def _logits_module(loaded: RecordedRun) -> nn.Module:
    """The model as a module from ids (B, T) int64 to logits (B, T, V),
    at the step at which it was saved."""
    import torch
    from torch import nn

    from lot.contracts import Context

    class Logits(nn.Module):
        """Leaves out all that the model returns beside the logits."""

        def __init__(self) -> None:
            super().__init__()
            self.model = loaded.model
            self.step = nn.Buffer(torch.tensor(loaded.step))

        def forward(self, ids: Tensor) -> Tensor:
            logits: Tensor = self.model(ids, Context(step=self.step)).logits
            return logits

    return Logits().eval()


def _exported(module: nn.Module, ids: Tensor) -> ExportedProgram:
    """The module as a program; sizes of `ids` (B, T) stay free where the model allows it.

    Raises RunFailed.
    """
    import torch

    from lot.errors import RunFailed

    auto = torch.export.Dim.AUTO
    try:
        with torch.no_grad():
            return torch.export.export(module, (ids,), dynamic_shapes={"ids": {0: auto, 1: auto}})
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise RunFailed(f"the model cannot be exported: {lines[0].strip()}") from error


def _check_logits(program: ExportedProgram, module: nn.Module, ids: Tensor, free: list[bool]) -> None:
    """Raises RunFailed where the program and the module differ, on all of `ids` (B, T)
    or on a part of it.

    free: whether each dimension of the input may vary.
    """
    import torch

    from lot.errors import RunFailed

    smaller = [size // 2 + 1 if may_vary else size for size, may_vary in zip(ids.shape, free, strict=True)]
    for batch, length in (ids.shape, smaller):
        piece = ids[:batch, :length]
        with torch.no_grad():
            theirs, ours = program.module()(piece), module(piece)
        difference = float((theirs - ours).abs().max() / ours.abs().max())
        if not difference <= TOLERANCE:
            raise RunFailed(
                f"the exported program differs from the model by {difference:.2g} (relative) at {batch} x {length}"
            )


def _is_free(program: ExportedProgram, dim: int) -> bool:
    """Whether a dimension of the input may vary."""
    import torch

    (name,) = program.graph_signature.user_inputs
    (node,) = [node for node in program.graph.nodes if node.op == "placeholder" and node.name == name]
    return isinstance(node.meta["val"].shape[dim], torch.SymInt)


def _registering_modules(program: ExportedProgram, loaded: RecordedRun) -> list[str]:
    """The modules whose import registers the operators of a program that are not torch's own."""
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    packages = {target.namespace for target in targets if hasattr(target, "namespace")}
    modules = {type(module).__module__ for module in loaded.model.modules()}
    return sorted(module for module in modules if module.partition(".")[0] in packages)
