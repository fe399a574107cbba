"""The files that a run began with: recorded by path and digest, and its task when they are elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from lot.config.schema import SINGLE, Config
from lot.contracts import Task
from lot.errors import BadInput
from lot.model.build import rebuild_task
from lot.options.declare import text_options
from lot.runs.directory import RunDir
from lot.runs.environment import model_origin
from lot.runs.kept_model import kept_files
from lot.storage.assets import read_assets
from lot.storage.folder import digest_of


def task_elsewhere(config: Config, run: Path | None, data: str | Path | None) -> Task | None:
    """The task of a run that goes on where its files are not, reading `data` or its files by their absolute paths.

    None where they are where they were, and where there is no run yet. Raises BadInput for `data` that are not those of the
    training, and where the files are nowhere.
    """
    if run is None or not (run / "run.json").exists():
        if data is not None:
            raise BadInput("is for a run that goes on", where="--data", fix="name the file by an option of the task")
        return None
    facts = RunDir(run).facts()
    recorded = facts.get("files", {})
    own = [path for path, known in recorded.items() if path.startswith("task.") and "sha256" in known]
    there = all(_file(getattr(config.task.options, path.partition(".")[2], None)) for path in own)
    if data is None and there and _content_is_there(config):
        return None
    task = rebuild_task(config, read_assets(run), None if data is None else Path(data))
    task.length("validation")  # says now which file is not there
    trained_on = facts.get("fingerprint", {}).get("data")
    if data is not None and task.origin != trained_on:
        raise BadInput(
            where="--data",
            expected=f"the data of the training, digest {trained_on}",
            got=f"{data}, digest {task.origin}",
        )
    return task


def _content_is_there(config: Config) -> bool:
    """Whether what the task names beside single files is where it was."""
    try:
        config.task.component.content_of(config.task.options)
    except BadInput:
        return False
    return True


def named_files(config: Config, task: Task) -> dict[str, dict[str, Any]]:
    """What a run begins with: by the path of the option that names it, the absolute path, bytes and sha256 of a file; what a
    task reads beside single files, as it says itself; the place and the digest of what a model is made from.
    """
    found = {f"task.{option}": dict(source) for option, source in task.sources().items()}
    for path, options in _tables(config):
        for name in text_options(type(options)):
            file = _file(getattr(options, name))
            if file is not None:
                found.setdefault(f"{path}.{name}", {}).update({"path": str(file), **digest_of(file)})
    kept = kept_files(config.model, model_origin(config))
    if kept is not None:
        for option, place in kept.places.items():
            found.setdefault(f"model.{option}", {"path": place, "digest": kept.origin})
    return found


def _tables(config: Config) -> list[tuple[str, Any]]:
    """The options of every component, and where they are."""
    single = {name: chosen for name in SINGLE if (chosen := getattr(config, name)) is not None}
    layers = {
        f"{name}.layers.{layer}": chosen
        for name, own in (("attn", config.attn_layers), ("mlp", config.mlp_layers))
        for layer, chosen in own.items()
    }
    losses = {f"losses.{name}": chosen for name, chosen in config.losses.items()}
    diagnostics = {f"diagnostics.{name}": chosen for name, chosen in config.diagnostics.items()}
    every = {**single, **layers, **losses, **diagnostics}
    return [(path, chosen.options) for path, chosen in every.items() if attrs.has(type(chosen.options))]


def _file(value: Any) -> Path | None:
    """The file that an option names, made absolute; None where it names none."""
    try:
        path = Path(value).expanduser() if isinstance(value, str) else None
        return path.absolute() if path is not None and path.is_file() else None
    except (ValueError, RuntimeError, OSError):  # a NUL in it, a home that is not known, a name that is too long
        return None
