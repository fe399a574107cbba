"""What a run keeps of its task, so that it can be used without the files that the task reads: a folder with checksums."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from lot.config.schema import SINGLE, Config
from lot.contracts import Task
from lot.errors import BadInput
from lot.model.build import rebuild_task
from lot.options.declare import text_options
from lot.runs.directory import RunDir
from lot.storage.files import read_json, write_json
from lot.storage.folder import MANIFEST, digest_of, removed_on_failure, sealed, temporary_folder

FORMAT = 1


def save_assets(run: Path, assets: Mapping[str, bytes]) -> None:
    """Write `assets` to the folder `assets` of a run, whole or not at all; nothing where there are none. Raises OSError."""
    final = run / "assets"
    shutil.rmtree(final, ignore_errors=True)  # of a start that was killed before its first checkpoint
    if not assets:
        return
    temporary = temporary_folder(final)
    with removed_on_failure(temporary):
        for name, content in assets.items():
            (temporary / name).write_bytes(content)
        manifest = {name: sealed(temporary / name) for name in assets}
        write_json(temporary / MANIFEST, {"format": FORMAT, "files": manifest})
        temporary.chmod(0o755)
        temporary.rename(final)


def read_assets(run: Path) -> dict[str, bytes]:
    """The assets of a run by file name; empty where it keeps none. Raises BadInput that names a damaged file."""
    folder = run / "assets"
    if not folder.is_dir():
        return {}
    try:
        manifest = read_json(folder / MANIFEST)
        recorded: dict[str, Any] = dict(manifest["files"])
        plain = manifest["format"] == FORMAT and all(Path(name).name == name for name in recorded)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder / MANIFEST, type(error).__name__) from None
    if not plain:
        raise _damaged(folder / MANIFEST, f"not of format {FORMAT}")
    found = {}
    for name, expected in recorded.items():
        try:
            if (folder / name).is_symlink() or digest_of(folder / name) != expected:
                raise _damaged(folder / name, "its checksum is not that of the manifest")
            found[name] = (folder / name).read_bytes()
        except OSError as error:
            raise _damaged(folder / name, error.strerror or "it cannot be read") from None
    return found


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
    own = {path: known for path, known in facts.get("files", {}).items() if path.startswith("task.")}
    there = all(_file(getattr(config.task.options, path.partition(".")[2], None)) for path in own)
    if data is None and there and _content_is_there(config):
        return None
    task = rebuild_task(config, read_assets(run), None if data is None else Path(data))
    task.length("validation")  # says now which file is not there
    trained_on = facts.get("fingerprint", {}).get("data")
    if data is not None and task.origin != trained_on:
        raise BadInput(
            where="--data",
            expected=f"the file of the training, sha256 {trained_on}",
            got=f"{data}, sha256 {task.origin}",
        )
    return task


def _content_is_there(config: Config) -> bool:
    """Whether what the task names beside single files is where it was."""
    try:
        config.task.component.content_of(config.task.options)
    except BadInput:
        return False
    return True


def _damaged(path: Path, why: str) -> BadInput:
    return BadInput(f"{path}: damaged ({why})", fix="restore it from a copy of the run")


def named_files(config: Config) -> dict[str, dict[str, Any]]:
    """The files that options of components name: by the path of the option, the absolute path, bytes and sha256."""
    found = {}
    for path, options in _tables(config):
        for name in text_options(type(options)):
            file = _file(getattr(options, name))
            if file is not None:
                found[f"{path}.{name}"] = {"path": str(file), **digest_of(file)}
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
