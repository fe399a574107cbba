"""What diagnostics measured: one safetensors file per measurement, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lot.contracts import Record
from lot.errors import BadInput
from lot.storage.files import created_as_usual, temporary_name


def snapshot_path(folder: Path, name: str, step: int) -> Path:
    """Where the measurement of the diagnostic `name` at `step` lies; `folder` holds all snapshots of a run."""
    return folder / name / f"step_{step:08d}.safetensors"


def save_snapshot(folder: Path, name: str, step: int, values: dict[str, Tensor]) -> None:
    """Write what a diagnostic measured to `folder/name/step_N.safetensors`, whole or not at all. Raises OSError."""
    from safetensors.torch import save_file

    final = snapshot_path(folder, name, step)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(final)
    try:
        with created_as_usual(temporary):
            save_file({key: value.contiguous().clone() for key, value in values.items()}, temporary)
        temporary.replace(final)
    except Exception as error:
        temporary.unlink(missing_ok=True)
        raise OSError(str(error)) from error


def load_records(run: Path, name: str) -> list[Record]:
    """All that the diagnostic `name` measured in a run, oldest first. Raises BadInput for a snapshot that is damaged."""
    return records_in(run / "snapshots", name)


def records_in(folder: Path, name: str) -> list[Record]:
    """All that the diagnostic `name` measured, in a folder of snapshots. Raises BadInput for one that is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    records = []
    for path in sorted((folder / name).glob("step_*.safetensors")):
        try:
            records.append(Record(int(path.stem.removeprefix("step_")), load_file(path)))
        except (SafetensorError, OSError, ValueError) as error:
            raise BadInput(f"{path}: damaged ({error})", fix="restore it, or remove it to go on without it") from None
    return records
