"""Finished runs of a study or a sweep whose files are damaged: each file is named, and costs only its run, which is made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lot.errors import BadInput
from lot.runs.directory import RunDir
from lot.storage.files import read_json, temporary_name

DIVERGED = "diverged.json"
"""Beside the log of a run that diverged: why. It would diverge again."""


def problem_of(run_dir: Path, split: str) -> str | None:
    """What is wrong with the record of a finished run, in one line that names the file, or None.

    split: the one that it was to be measured on.
    """
    run = RunDir(run_dir)
    try:
        result, facts = run.result(), run.facts()
        if result is not None and (not _has(result, step=int, steps=int) or result.get("split") != split):
            return f"{run_dir / 'metrics.json'}: damaged (it lacks step, steps or the {split} split)"
        if not _is_environment(facts.get("environment")) or not isinstance(facts.get("fingerprint", {}), dict):
            return f"{run_dir / 'run.json'}: damaged (no record of an environment)"
        if result is not None and not run.rows():
            return f"{run_dir / 'metrics.jsonl'}: missing, or without a row"
        if not all(_has(row, seconds=(int, float), tokens_per_second=(int, float)) for row in run.rows("timing.jsonl")):
            return f"{run_dir / 'timing.jsonl'}: damaged (a row without times)"
    except BadInput as error:
        return str(error).partition(";")[0]
    file = run_dir / DIVERGED
    try:
        diverged = read_json(file)
    except (OSError, ValueError) as error:
        return f"{file}: damaged ({error})"
    return None if diverged is None or _has(diverged, message=str) else f"{file}: damaged (no message in it)"


def set_aside(run_dir: Path) -> Path:
    """Rename the directory of a damaged run to `.damaged-*` beside it, so that nothing of it is lost."""
    aside = temporary_name(run_dir.with_name(f"damaged-{run_dir.name}"), "")
    run_dir.rename(aside)
    return aside


def _has(table: Any, **kinds: type | tuple[type, ...]) -> bool:
    return isinstance(table, dict) and all(isinstance(table.get(key), kind) for key, kind in kinds.items())


def _is_environment(facts: Any) -> bool:
    """Whether it is what `lot.runs.environment.environment` records, or nothing."""
    if facts is None:
        return True
    if not _has(facts, python=str, system=str, torch=str, cuda=(str, type(None)), device=str, plugins=dict):
        return False
    return len(facts) == 6 and all(
        _has(plugin, version=str, commit=(str, type(None))) and len(plugin) == 2 for plugin in facts["plugins"].values()
    )
