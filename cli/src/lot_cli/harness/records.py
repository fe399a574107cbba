"""What lm_eval measured of a run, in the folder `harness` of its directory: a summary and the examples of each question.

    harness/TASK-step_00000400-1a2b3c4d.json     what was asked, of what, with which versions; the metrics
    harness/TASK-step_00000400-1a2b3c4d.jsonl    a line for each example and filter: its hashes, answers and metrics

The last part of a name is a digest of all that the numbers depend on, so that an equal question finds its answer.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from lot.errors import BadInput
from lot.storage.files import make_folder, read_json, write_atomic, write_json

FOLDER = "harness"
FORMAT = 1
"""Of a summary: a number that grows when a key goes or changes its meaning."""
_SUMMARY: dict[str, type | tuple[type, ...]] = {
    "task": str, "metrics": dict, "stderr": dict, "higher_is_better": dict, "examples": int, "of": int, "leak": bool, "date": str,
    "num_fewshot": (int, type(None)),
}  # fmt: skip
"""What is read of a summary; one from a stranger may lack it."""
_ROW: dict[str, type | tuple[type, ...]] = {"doc_id": int, "filter": str, "doc_hash": str, "metrics": dict}
Row = dict[str, Any]
"""An example under one filter: `doc_id`, `filter`, hashes, `target`, `responses` and `metrics`."""


@attrs.frozen(kw_only=True)
class Answer:
    """What a run gave on a task: the summary and the examples that are kept, and whether they were found there."""

    summary: dict[str, Any]
    rows: list[Row]
    reused: bool


def key_of(facts: dict[str, Any]) -> str:
    """The digest of what the numbers of a question depend on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def summary_file(run: Path, task: str, step: int, key: str) -> Path:
    """Where the summary of a question is kept."""
    name = re.sub(r"[^\w.-]+", "_", task)
    return run / FOLDER / f"{name}-step_{step:08d}-{key[:8]}.json"


def save(run: Path, summary: dict[str, Any], rows: Sequence[Row]) -> Path:
    """Write examples, then the summary, whose presence says that both are whole. Raises OSError."""
    make_folder(run, FOLDER)
    path = summary_file(run, summary["task"], summary["step"], summary["key"])
    text = "".join(json.dumps(plain(row), allow_nan=False) + "\n" for row in rows)
    write_atomic(path.with_suffix(".jsonl"), text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_json(path, plain({**summary, "examples_sha256": digest}))
    return path


def find(run: Path, task: str, step: int, key: str) -> tuple[dict[str, Any], list[Row]] | None:
    """Summary and examples of an equal question that was asked before; None where there is none, or it is not whole."""
    path = summary_file(run, task, step, key)
    try:
        summary = read_json(path)
        if not isinstance(summary, dict) or (summary.get("format"), summary.get("key")) != (FORMAT, key):
            return None
        rows = _rows(path, summary)
    except (OSError, ValueError, RecursionError, BadInput):
        return None
    return (summary, rows) if _has(summary, _SUMMARY) and all(_has(row, _ROW) for row in rows) else None


def _has(table: object, kinds: dict[str, type | tuple[type, ...]]) -> bool:
    """Whether a table holds these keys, each with a value of its kind."""
    return isinstance(table, dict) and all(isinstance(table.get(key), kind) for key, kind in kinds.items())


def _rows(path: Path, summary: dict[str, Any]) -> list[Row]:
    """The examples of a summary. Raises OSError, and BadInput where they are not those that were written with it."""
    file = path.with_suffix(".jsonl")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != summary.get("examples_sha256"):
        raise BadInput(f"{file}: damaged (its checksum is not that in {path.name})")
    return [json.loads(line) for line in content.decode().splitlines()]


def plain(value: Any) -> Any:
    """A value as JSON has it: None for a number that is not finite, text for what has no form there."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    try:
        number = float(value)  # numpy's numbers too
    except (TypeError, ValueError):
        return str(value)
    return number if math.isfinite(number) else None
