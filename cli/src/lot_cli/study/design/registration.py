"""What was known before a result: the registration of what it set out to test, and earlier results. Imports no torch."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from lot.errors import BadInput
from lot.storage.files import read_json, write_json
from lot_cli.study.design.file import Study
from lot_cli.study.design.plan import digest, plan_arms, sources
from lot_cli.study.report.numbers import count

FILE = "registration.json"


def register(study: Study, folder: Path) -> str:
    """Freeze the study and the code of its arms under a hash, which is returned. Raises BadInput where there is nothing to
    hold it to, or a registration of something else."""
    if not study.hypotheses or not study.metrics:
        missing = "hypotheses" if not study.hypotheses else "metrics"
        raise BadInput(where=missing, expected="to be stated before registration", got="none")
    frozen = _frozen(study)
    existing = read_json(folder / FILE)
    if existing is not None:
        if existing["hash"] == digest(frozen):
            return str(existing["hash"])
        raise BadInput(
            f"{folder / FILE}: another form of this study was registered on {existing['date']}, or it had other code",
            fix="run it; the report marks every deviation",
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / FILE,
        {
            "hash": digest(frozen),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "runs_before": sum(path.is_dir() for path in (folder / "runs").glob("*")),
            **frozen,
        },
    )
    return digest(frozen)


def compare_with_registration(study: Study, folder: Path) -> dict[str, Any] | None:
    """The registration and every deviation of `study` from it, or None where none was made."""
    registered = read_json(folder / FILE)
    if registered is None:
        return None
    now = _frozen(study)
    deviations = []
    if digest({key: registered[key] for key in now}) != registered["hash"]:
        deviations.append("the registration was edited after it was made: its content does not have its hash")
    if registered["runs_before"]:
        deviations.append(f"{count(registered['runs_before'], 'run')} made before the registration")
    for key in sorted(now["study"].keys() | registered["study"].keys()):
        was, is_ = registered["study"].get(key), now["study"].get(key)
        if digest(was) != digest(is_):
            deviations.append(f"{key}: registered {_short(was)}, now {_short(is_)}")
    for module, was in registered["source"].items():
        if now["source"].get(module, was) != was:
            deviations.append(f"the code of {module} was edited after the registration")
    return {
        "hash": registered["hash"],
        "date": registered["date"],
        "hypotheses": registered["study"]["hypotheses"],
        "deviations": deviations,
    }


def _frozen(study: Study) -> dict[str, Any]:
    """What a registration holds a study to."""
    return {"study": study.to_dict(), "source": sources(plan_arms(study))}


def earlier_results(previous: dict[str, Any] | None, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Verdicts that were given before on some of the runs of `document`, but with other seeds, arms, metrics or margins.

    Who looks, adds seeds and looks again finds a difference too often, and no p value knows of it. previous: the result
    that `document` replaces. A look that could give no verdict tempted nobody.
    """
    if previous is None or previous["format"] != document["format"] or not _keys(previous) & _keys(document):
        return []
    found: list[dict[str, Any]] = previous.get("earlier", [])
    judged = any(c["verdict"] not in ("too few pairs", "diverged") for c in previous["comparisons"])
    if judged and _asked(previous) != _asked(document):
        look = {"date": previous["date"], "seeds": len(previous["seeds"])}
        found = [*found, {**look, "arms": list(previous["arms"]), "metrics": list(previous["metrics"])}]
    return found


def _keys(document: dict[str, Any]) -> set[str]:
    return {row["key"] for row in document["runs"]}


def _asked(document: dict[str, Any]) -> str:
    """What a result was asked, as one digest."""
    study = document["study"]
    return digest([sorted(document["seeds"]), study["arms"], document["metrics"], study["equivalence"], study["alpha"]])


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
