"""How far the trained models of an arm rely on their mechanism: `lot ablate` for each of its runs, kept beside the run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lot import BadInput, reliance
from lot.storage.files import read_json, write_json
from lot_cli.study.analysis.scores import describe
from lot_cli.study.result import Relied

Say = Callable[[str], None]


def kept_file(run_dir: Path) -> Path:
    """Where the reliance of a run is kept."""
    return run_dir.with_name(f"{run_dir.name}.reliance.json")


def unmeasured(run_dirs: Sequence[Path]) -> int:
    """How many of these runs `reliance_of` would measure."""
    return sum(_finished(run_dir) and not kept_file(run_dir).exists() for run_dir in run_dirs)


def reliance_of(run_dirs: Sequence[Path], device: str, warn: Say) -> list[Relied]:
    """What damage to each part costs on validation, over the runs of an arm, one per seed; measured where it is not kept.

    warn: told, in one line, of a run that could not be measured.
    """
    found = [_measured(run_dir, device, warn) for run_dir in run_dirs]
    rows: dict[str, dict[str, Any]] = {}
    for damages in found:
        for damage in damages:
            rows.setdefault(damage["what"], damage)
    relied = []
    for what, row in rows.items():
        changes = [next((d["change"] for d in damages if d["what"] == what), None) for damages in found]
        relied.append(
            Relied(
                what=what,
                layers=tuple(row["layers"]),
                parameters=row["parameters"],
                changes=changes,
                mean=describe(changes),
            )
        )
    return relied


def _measured(run_dir: Path, device: str, warn: Say) -> list[dict[str, Any]]:
    """The damages of a run; none where it diverged, or has lost its checkpoints."""
    if not _finished(run_dir):
        return []
    kept = read_json(kept_file(run_dir))
    if kept is None:
        try:
            found = reliance(run_dir, device=device, warn=warn)
        except BadInput as error:
            warn(f"reliance not measured: {error}")
            return []
        kept = {"damages": [dataclasses.asdict(damage) for damage in found.damages]}
        write_json(kept_file(run_dir), kept)
    damages: list[dict[str, Any]] = kept["damages"]
    return damages


def _finished(run_dir: Path) -> bool:
    """Whether the run did not diverge."""
    return read_json(run_dir / "metrics.json") is not None
