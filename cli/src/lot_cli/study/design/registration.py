"""The registration of a study: what it set out to test, frozen before the result is known.

Imports no torch.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import attrs

from lot.errors import BadInput
from lot.options.declare import describe
from lot.storage.files import read_json, write_json
from lot_cli.study.design.file import Study
from lot_cli.study.design.plan import digest, plan_arms, sources
from lot_cli.terminal.numbers import count

FILE = "registration.json"
"""The registration in the folder of a study."""


@attrs.frozen(kw_only=True)
class Registration:
    """A registration, and how far the study has moved away from it."""

    hash: str  # SHA-256 of the study file and of the code of its arms
    date: str  # ISO 8601, UTC
    hypotheses: list[str]  # what was expected
    deviations: list[str]  # what differs from what was registered


def register(study: Study, folder: Path) -> str:
    """Freeze the study and the code of its arms under a hash, which is returned.

    Raises BadInput where the study states nothing that it could be held to,
    or where another form of it is registered.
    """
    if not study.hypotheses or not study.metrics:
        missing = "hypotheses" if not study.hypotheses else "metrics"
        raise BadInput(where=missing, expected="to be stated before registration", got="none")
    frozen = _frozen(study)
    now = digest(frozen)
    existing = _read(folder / FILE)
    if existing is not None:
        if existing["hash"] == now:
            return now
        raise BadInput(
            f"{folder / FILE}: another form of this study was registered on {existing['date']}, or it had other code",
            fix="run it; the report marks every deviation",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / FILE,
        {
            "hash": now,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "runs_before": sum(path.is_dir() for path in (folder / "runs").glob("*")),
            **frozen,
        },
    )
    return now


def compare_with_registration(study: Study, folder: Path) -> Registration | None:
    """The registration and every deviation of `study` from it, or None where none was made."""
    registered = _read(folder / FILE)
    if registered is None:
        return None
    now = _frozen(study)
    defaults = {option.name: option.default for option in describe(Study)}  # of keys that an earlier version lacked
    deviations = []
    if digest({key: registered[key] for key in now}) != registered["hash"]:
        deviations.append("the registration was edited after it was made: its content does not have its hash")
    if registered["runs_before"]:
        deviations.append(f"{count(registered['runs_before'], 'run')} made before the registration")
    defaults = Study(name=study.name, arms={}).to_dict()
    for key in sorted(now["study"].keys() | registered["study"].keys()):
        was, is_ = (frozen["study"].get(key, defaults.get(key)) for frozen in (registered, now))
        if digest(was) != digest(is_):
            deviations.append(f"{key}: registered {_short(was)}, now {_short(is_)}")
    for module, was in registered["source"].items():
        if now["source"].get(module, was) != was:
            deviations.append(f"the code of {module} was edited after the registration")
    return Registration(
        hash=registered["hash"],
        date=registered["date"],
        hypotheses=registered["study"]["hypotheses"],
        deviations=deviations,
    )


def _read(file: Path) -> dict[str, Any] | None:
    """The registration as the file has it, or None where there is none.

    Raises BadInput for a damaged one.
    """
    keep = "bring it back from a copy; without it the study is not registered"
    try:
        content = read_json(file)
        if content is None:
            return None
        found = {key: content[key] for key in ("hash", "date", "runs_before", "study", "source")}
        _ = (found["study"]["hypotheses"], found["source"].items())
    except ValueError as error:
        raise BadInput(f"{file}: damaged, {error}", fix=keep) from None
    except KeyError as error:
        raise BadInput(f"{file}: damaged, it has no {error}", fix=keep) from None
    except (TypeError, AttributeError):
        raise BadInput(f"{file}: damaged, it is no registration", fix=keep) from None
    return found


def _frozen(study: Study) -> dict[str, Any]:
    """What a registration holds a study to."""
    return {"study": study.to_dict(), "source": sources(plan_arms(study))}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
