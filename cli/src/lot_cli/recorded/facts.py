"""What the directory of a run says, read once: each part that is damaged costs itself alone. Imports no torch.

Everything may come from a stranger, from another version of LOT, or from a run that was killed: a value of another kind than
ours is taken for absent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs

from lot.config.yaml import read_yaml
from lot.errors import BadInput, LotError
from lot.plugins.sizes import Sizes
from lot.runs.directory import RunDir, find_run
from lot.runs.kept_model import read_model
from lot.storage.files import read_json

_T = TypeVar("_T")
MOST_EVALUATIONS = 50


@attrs.frozen(kw_only=True)
class RunFacts:
    """What is known of a run.

    path: its directory. tree: its configuration. sizes: those of its model, where they can be told here. state, status: see
    `RunDir`.
    record: run.json. result: metrics.json, or None for a run that is not complete. rows, timing: its logs. evaluations: what
    `lot eval` measured later. harness: what `lot harness` did. problems: what cannot be read, a line each.
    """

    path: Path
    tree: dict[str, Any]
    sizes: Sizes | None
    state: str
    status: dict[str, Any]
    record: dict[str, Any]
    result: dict[str, Any] | None
    rows: list[dict[str, Any]]
    timing: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    harness: list[dict[str, Any]]
    problems: list[str]

    @property
    def leak(self) -> bool:
        """Whether its model sees what it is asked to predict, as declared or as measured."""
        return bool(self.record.get("leak") or (self.result or {}).get("leak"))

    def setting(self, *keys: str) -> Any:
        """A value of the configuration, or None: `setting("attn", "name")`."""
        return at(self.tree, *keys)


def read_run(run: Path) -> RunFacts:
    """What the run at `run` (a run directory, or a folder of versions: the newest is taken) says.

    Raises BadInput where there is none, where a link leads out of it, or where its configuration cannot be read.
    """
    path = find_run(run)
    tree = table(read_yaml(path / "config.yaml"))
    directory, problems = RunDir(path), []

    def part(read: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return read()
        except BadInput as error:
            problems.append(str(error).partition(";")[0])
            return otherwise

    result = part(directory.result, None)
    return RunFacts(
        path=path,
        tree=tree,
        sizes=_sizes(directory, tree),
        state=directory.state(),
        status=directory.status(),
        record=part(directory.facts, {}),
        result=result,
        rows=part(directory.rows, []),
        timing=part(lambda: directory.rows("timing.jsonl"), []),
        evaluations=_evaluations(path / "evaluations", problems),
        harness=_evaluations(path / "harness", problems),
        problems=problems,
    )


def _sizes(directory: RunDir, tree: dict[str, Any]) -> Sizes | None:
    """The sizes of the model; None where they cannot be told from the run alone."""
    try:
        return None if reads_elsewhere(directory.path, tree) else directory.config().sizes
    except LotError:  # a component that is not installed, or an option of another version
        return None


def reads_elsewhere(run: Path, tree: dict[str, Any]) -> bool:
    """Whether options of the model can only be read with files outside the run, which a page must not ask for."""
    from lot.plugins.registry import registry

    name = at(tree, "model", "name")
    options = registry().get("model", name).config_class if isinstance(name, str) else None
    return hasattr(options, "without_files") and at(tree, "model", "facts") is None and read_model(run) is None


def _evaluations(folder: Path, problems: list[str]) -> list[dict[str, Any]]:
    found = []
    for file in sorted(folder.glob("*.json"))[:MOST_EVALUATIONS]:
        try:
            found.append(table(read_json(file)))
        except (OSError, ValueError) as error:
            problems.append(f"{file}: damaged ({error})")
    return [evaluation for evaluation in found if table(evaluation.get("metrics"))]


def table(value: object) -> dict[str, Any]:
    """`value` where it is a table, else an empty one."""
    return value if isinstance(value, dict) else {}


def at(tree: object, *keys: str) -> Any:
    """The value under these keys in tables within each other, or None."""
    for key in keys:
        tree = table(tree).get(key)
    return tree
