"""Which run is meant: the directory, the configuration recorded there, and whether the one that is given equals it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lot.config import Config
from lot.errors import BadInput
from lot.run_dir import RunDir, find_run

FREE = frozenset({"train.parallel", "train.context_parallel"})
"""Keys that may change when a run is resumed: they say how to compute, not what."""


def choose_run(
    config: Config | None, run_dir: str | Path | None, name: str | None, resume: bool
) -> tuple[Path | None, Config]:
    """The directory that the caller means (None: a fresh version) and the configuration to run there; writes nothing.

    Raises BadInput where there is nothing to run or to resume, where the directory holds a run already and `resume` is
    off, and where the run there has another configuration.
    """
    path = _find(config, run_dir, name, resume)
    recorded = RunDir(path).config() if path is not None and (path / "config.yaml").exists() else None
    if recorded is not None and config is not None:
        require_none(
            f"{path} was started with another configuration", differences(recorded.to_dict(), config.to_dict())
        )
    config = config if config is not None else recorded
    if config is None:
        raise BadInput(
            f"{path}: no run there to resume (no config.yaml)", fix="say what to run, or name another directory"
        )
    if path is not None and not resume and not RunDir(path).is_empty():
        raise BadInput(f"{path}: holds a run already", fix="add --resume to continue it, or choose another directory")
    return path, config


def require_none(what: str, differing: list[str]) -> None:
    """Raises BadInput that lists the `differences` of two configurations, if there are any."""
    if differing:
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise BadInput(
            f"{what}: {'; '.join(differing[:5])}{more}", fix="resume without options, or choose another directory"
        )


def differences(recorded: dict[str, Any], given: dict[str, Any], *, known_only: bool = False) -> list[str]:
    """Where two configurations differ: `optim.lr is 0.1, was 0.2`, by path.

    known_only: leave out what was absent when the first was recorded: options that a package has since a later version.
    """
    ours, theirs = _flat(given), _flat(recorded)
    keys = theirs.keys() if known_only else ours.keys() | theirs.keys()
    return [
        f"{key} is {ours.get(key, 'absent')!r}, was {theirs.get(key, 'absent')!r}"
        for key in sorted(keys - FREE)
        if ours.get(key, "absent") != theirs.get(key, "absent")
    ]


def _find(config: Config | None, run_dir: str | Path | None, name: str | None, resume: bool) -> Path | None:
    if run_dir is not None:
        path = Path(run_dir)
        return find_run(path) if resume and not RunDir(path).is_empty() else path
    if not resume:
        if config is None:
            raise BadInput("nothing to run", fix="give a configuration")
        return None
    if name is None and config is None:
        raise BadInput("nothing to resume", fix="name the run's directory with --run-dir")
    return find_run(Path("runs") / (name or config.title))  # type: ignore[union-attr]


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict) or not tree:
        return {path: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found.update(_flat(value, f"{path}.{key}" if path else str(key)))
    return found
