"""From a study to its runs: arms are resolved, the vanilla one is found,
each run is addressed by its content.

Imports no torch.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import attrs

from lot.config.kept import KeptFiles
from lot.config.load import load_config
from lot.config.schema import Chosen, Config
from lot.errors import BadInput
from lot.plugins.component import Component
from lot.storage.digest import file_digest
from lot_cli.study.design.file import Study, merge

Purpose = Literal["tune", "report", "sweep"]
"""What a run is for: to choose values of a study's arm, to be reported by a study, or to be a row of a sweep."""
_SOURCE = {".py", ".c", ".cpp", ".cu", ".cuh", ".h", ".hpp"}


@attrs.frozen(kw_only=True)
class Arm:
    """An arm: its configuration as a tree, from which a run is made by adding a seed."""

    name: str
    tree: Mapping[str, Any]

    def config(self, seed: int, changes: Mapping[str, Any] | None = None, *, test: bool = True) -> Config:
        """The configuration of one run.

        changes: values by dotted path. Raises BadInput under `arms.NAME`.
        """
        try:
            return configure(self.tree, seed, changes or {}, test=test)
        except BadInput as error:
            raise error.under(f"arms.{self.name}") from None


@attrs.frozen(kw_only=True)
class Run:
    """One run of a study or of a sweep.

    arm: name of the arm, or the values that a sweep gives it. key: the name of its directory.
    """

    arm: str
    seed: int
    purpose: Purpose
    config: Config
    key: str

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.arm}, seed {self.seed}" + (" (tuning)" if self.purpose == "tune" else "")


def configure(
    tree: Mapping[str, Any], seed: int, changes: Mapping[str, Any], *, test: bool, kept: KeptFiles | None = None
) -> Config:
    """The configuration of one run: a tree, with `changes` (values by dotted path) and a seed. Raises BadInput.

    kept: what stands for the files of its model, if these are not to be read.
    """
    overrides = [f"{path}={json.dumps(value)}" for path, value in changes.items()]
    overrides += [f"seed={seed}", f"train.test={json.dumps(test)}"]
    return load_config(tree, overrides=overrides, kept=kept)


def plan_arms(study: Study) -> list[Arm]:
    """The arms in the order of the file, with their configurations checked.

    Raises BadInput for what is never fair.
    """
    arms = [Arm(name=name, tree=merge(study.base, table or {})) for name, table in study.arms.items()]
    for arm in arms:
        if "seed" in arm.tree:
            raise BadInput(where=f"arms.{arm.name}.seed", expected="no seed in an arm or in base", fix="use seeds:")
        train = arm.tree.get("train")
        if isinstance(train, dict) and "test" in train:
            raise BadInput(
                where=f"arms.{arm.name}.train.test",
                expected="not to be given",
                fix="a study tests its final runs, and never a tuning run",
            )
        arm.config(0)
        for values in study.trials():
            arm.config(0, values)
    return arms


def find_reference(study: Study, arms: list[Arm]) -> Arm:
    """The arm that all others are compared with: vanilla attention in every layer.

    Raises BadInput where there is none.
    """
    vanilla = [arm for arm in arms if is_vanilla(arm.config(0))]
    if not vanilla:
        raise BadInput(
            where="arms",
            expected="one with vanilla attention to compare with",
            got=", ".join(study.arms),
            fix="add   vanilla: {attn: {name: vanilla}}",
        )
    if study.reference is None:
        return vanilla[0]
    for arm in vanilla:
        if arm.name == study.reference:
            return arm
    raise BadInput(
        where="reference", expected=f"a vanilla arm ({', '.join(a.name for a in vanilla)})", got=repr(study.reference)
    )


def is_vanilla(config: Config) -> bool:
    """Whether every attention that the file can choose is the core's vanilla attention."""
    chosen = [attention.component for attention in config.attentions.values()]
    return all(component.name == "vanilla" and component.distribution == "lot-core" for component in chosen)


def make_run(arm: Arm, seed: int, changes: Mapping[str, Any], purpose: Purpose, numerics: Mapping[str, Any]) -> Run:
    """The run of an arm. Only a run that is reported ever sees the test split."""
    config = arm.config(seed, changes, test=purpose == "report")
    return Run(arm=arm.name, seed=seed, purpose=purpose, config=config, key=run_key(config, numerics))


def numerics(threads: int, device: str) -> dict[str, Any]:
    """What the numbers of a run depend on beside configuration and code.

    threads: CPU threads of torch. device: its type, such as cpu or cuda.
    """
    return {
        "device": device,
        "threads": threads,
        "kernels": os.environ.get("LOT_KERNELS", "auto"),
        "python": platform.python_version(),  # its help topics are a corpus
    }


def run_key(config: Config, numerics: Mapping[str, Any]) -> str:
    """The content address of a run, so that a run is made again when a mechanism or a text was
    edited.

    It covers the configuration, the content of files that it names (and not where they are), numerics,
    versions of torch and numpy, and version and source of the core and of every package whose
    components it uses.
    """
    tree = config.to_dict()
    tree.pop("recorders", None)  # where a run is recorded beside its log changes nothing in it
    content = {"config": by_content(tree), **code_of(config), "numerics": dict(numerics)}
    if named := named_content(config.components):
        content["named"] = named
    return digest(content)[:16]


def named_content(parts: Iterable[Chosen]) -> list[Any]:
    """What the options of components name beside single files, such as a folder, by its content.

    Raises BadInput where it is not there.
    """
    found = []
    for part in parts:
        try:
            said = part.component.content_of(part.options)
        except BadInput as error:
            raise error.under(part.component.kind) from None
        if said is not None:
            found.append([part.component.name, said])
    return found


def code_of(config: Config) -> dict[str, dict[str, str]]:
    """Versions of torch, numpy and the core, and of every package whose components a configuration uses, with their source."""
    packages = {"torch", "numpy", "lot-core", *(part.component.distribution for part in config.components)}
    return {
        "versions": {package: version_of(package) for package in sorted(packages)},
        "source": {module: source_digest(module) for module in sorted(_modules(config))},
    }


def sources(arms: Iterable[Arm]) -> dict[str, str]:
    """Digest of the source of the core and of every package that a component of `arms` comes from,
    by module."""
    return {module: source_digest(module) for module in sorted({m for arm in arms for m in _modules(arm.config(0))})}


def _modules(config: Config) -> set[str]:
    """Top-level modules of what a run uses."""
    factories = (part.component.factory for part in config.components)
    return {"lot", *map(_top_level, factories)}


def modules_of(component: Component) -> list[str]:
    """Top-level modules of the code of a component and of its options, sorted."""
    config = component.config if isinstance(component.config, str) else component.config.__module__
    return sorted({_top_level(component.factory), _top_level(config)})


def _top_level(place: str) -> str:
    return place.partition(".")[0].partition(":")[0]


def by_content(tree: Any) -> Any:
    """The tree with the digest of a file in place of every value that names one: what counts is not where it lies."""
    if isinstance(tree, Mapping):
        return {key: by_content(value) for key, value in tree.items()}
    path = Path(tree).expanduser() if isinstance(tree, str) and _is_file(tree) else None
    return tree if path is None else f"sha256:{file_digest(path)}"


def _is_file(text: str) -> bool:
    """Whether a value names a file."""
    return os.path.isfile(os.path.expanduser(text))


@functools.cache
def version_of(distribution: str) -> str:
    """The installed version; reading it takes 10 ms, and every run of a study asks for several."""
    return metadata.version(distribution)


@functools.cache
def source_digest(module: str) -> str:
    """SHA-256 over the source files of a top-level package or module,
    which is found but not imported."""
    found = importlib.util.find_spec(module)
    assert found is not None
    content = hashlib.sha256()
    for root in map(Path, found.submodule_search_locations or [found.origin or ""]):
        files = sorted(file for file in root.rglob("*") if file.suffix in _SOURCE) if root.is_dir() else [root]
        for file in files:
            data = file.read_bytes()
            content.update(f"{file.relative_to(root).as_posix()} {len(data)}\n".encode() + data)
    return content.hexdigest()


def digest(content: Any) -> str:
    """SHA-256 of plain data, as hexadecimal digits; the order of keys does not matter."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
