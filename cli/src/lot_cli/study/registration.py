"""Preregistration: what a study set out to test, frozen before it is known. Imports no torch."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from lot.errors import BadInput
from lot.files import read_json, write_json
from lot_cli.study.file import Study
from lot_cli.study.plan import digest
from lot_cli.study.wording import count

FILE = "registration.json"


def register(study: Study, folder: Path) -> str:
    """Freeze the study under a hash, which is returned. Raises BadInput where there is nothing to hold it to, or one already."""
    if not study.hypotheses or not study.metrics:
        missing = "hypotheses" if not study.hypotheses else "metrics"
        raise BadInput(where=missing, expected="to be stated before registration", got="none")
    content = study.to_dict()
    existing = read_json(folder / FILE)
    if existing is not None:
        if existing["hash"] == digest(content):
            return str(existing["hash"])
        raise BadInput(
            f"{folder / FILE}: another form of this study was registered on {existing['date']}",
            fix="run it; the report marks every deviation",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / FILE,
        {
            "hash": digest(content),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "runs_before": sum(1 for _ in (folder / "runs").glob("*/metrics.json")),
            "study": content,
        },
    )
    return digest(content)


def compare_with_registration(study: Study, folder: Path) -> dict[str, Any] | None:
    """The registration and every deviation of `study` from it, or None where none was made."""
    registered = read_json(folder / FILE)
    if registered is None:
        return None
    deviations = []
    if digest(registered["study"]) != registered["hash"]:
        deviations.append("the registration was edited after it was made: its content does not have its hash")
    if registered["runs_before"]:
        deviations.append(f"{count(registered['runs_before'], 'run')} made before the registration")
    now = study.to_dict()
    for key in sorted(now.keys() | registered["study"].keys()):
        was, is_ = registered["study"].get(key), now.get(key)
        if digest(was) != digest(is_):
            deviations.append(f"{key}: registered {_short(was)}, now {_short(is_)}")
    return {
        "hash": registered["hash"],
        "date": registered["date"],
        "hypotheses": registered["study"]["hypotheses"],
        "deviations": deviations,
    }


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
