"""The sweep that options of the command line describe; its file would say the same. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lot.config.load import load_config
from lot.config.yaml import read_yaml
from lot.errors import BadInput
from lot_cli.study.design.file import merge, set_path
from lot_cli.sweep.file import Sweep, sweep_from
from lot_cli.sweep.values import is_distribution, values_in_text

MOST_IN_A_NAME = 80
"""Characters of a name that is made of what is swept."""


def sweep_from_options(
    tree: Mapping[str, Any],
    select: Mapping[str, str],
    added: Mapping[str, Iterable[str]],
    overrides: Sequence[str],
    more: Mapping[str, Any],
    root: Path,
) -> Sweep:
    """The sweep of a run file (`tree`), as options refine it.

    select: a component by section. added: losses, diagnostics, recorders by name. overrides: `PATH=VALUE,...`; with one value,
    it is an option of every run. more: other keys of a sweep file. root: the folder of all sweeps, in which one without a name
    gets one. Raises BadInput.
    """
    fixed, tried = _parted(overrides)
    base = merge(tree, {})
    if isinstance(base.get("train"), dict):
        base["train"].pop("test", None)  # a run file may say it; no run of a sweep tests
    base = merge(base, {section: {"name": name} for section, name in select.items()})
    base = merge(base, {section: {name: {} for name in names} for section, names in added.items() if names})
    base = merge(base, fixed)
    seed = base.pop("seed", None)
    if not tried:
        raise BadInput(
            "nothing to sweep: no --set has more than one value",
            fix="write them as in --set optim.lr=1e-3,3e-3 ([1e-3,3e-3] is one value, a list)",
        )
    random = more.get("count") is not None or any(map(is_distribution, tried.values()))
    content: dict[str, Any] = {
        "base": base,
        ("random" if random else "grid"): tried,
        **({"seeds": [seed]} if seed is not None else {}),
        **{key: value for key, value in more.items() if value is not None},
    }
    if "name" not in content:
        content["name"] = _free_name(content, root)
    return sweep_from(content, "sweep")


def _parted(overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A tree of the options with one value, and the values by path of those that are swept."""
    fixed: dict[str, Any] = {}
    tried: dict[str, Any] = {}
    seen = set()
    for override in overrides:
        path, equals, text = override.partition("=")
        path = path.strip()
        if not equals or not path:
            raise BadInput(where="--set", expected="PATH=VALUE,VALUE as in optim.lr=1e-3,3e-3", got=repr(override))
        if path in seen:
            raise BadInput(where=f"--set {path}", expected="each path once", got="it twice", fix="join its values")
        seen.add(path)
        values = values_in_text(path, text)
        if isinstance(values, list) and len(values) == 1:
            set_path(fixed, path, values[0], "--set")
        else:
            tried[path] = values
    return fixed, tried


def _free_name(content: Mapping[str, Any], root: Path) -> str:
    """`TASK-ATTENTION-OPTIONS`, or that with -2 and so on where a sweep of other runs has it already.

    Other values of the same options belong in the same folder, whose runs they use.
    """
    paths = list(content.get("grid") or content["random"])
    words = [load_config(content["base"]).title, *(path.rpartition(".")[2] for path in paths)]
    name = "-".join(words)[:MOST_IN_A_NAME].rstrip("-.")

    def same_runs(file: Path) -> bool:
        try:
            other = read_yaml(file)
        except BadInput:  # damaged, or none of ours
            return False
        tables = [other.get(key) for key in ("grid", "random")] if isinstance(other, dict) else []
        swept = {path for table in tables if isinstance(table, dict) for path in table}
        return swept == set(paths) and other.get("base") == content["base"]

    for candidate in (name, *(f"{name}-{number}" for number in range(2, 10_000))):
        folder = root / candidate
        free = not os.path.lexists(folder) or (folder.is_dir() and not os.path.lexists(folder / "sweep.yaml"))
        if free or same_runs(folder / "sweep.yaml"):
            return candidate
    return name
