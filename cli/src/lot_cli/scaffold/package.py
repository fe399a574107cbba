"""A plugin's package on the disk: written as a whole, or given another component; in both cases all of it or nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import string
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

import lot
from lot.errors import BadInput
from lot.plugins.hookspecs import HOOKS
from lot_cli.scaffold.source import with_definition, with_registration

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


@attrs.frozen(kw_only=True)
class Package:
    """The package of a plugin. folder: with its pyproject.toml. name: of the module that is imported. source: its folder."""

    folder: Path
    distribution: str
    name: str
    source: Path
    plugin: Path

    @property
    def config(self) -> Path:
        """The module of options, which need not exist."""
        return self.source / "config.py"


def find_package(folder: Path) -> Package:
    """The package in `folder`. Raises BadInput where there is none whose plugin module can be told."""
    try:
        data = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"{folder} is no package: it has no pyproject.toml", fix="give the folder of a package with --into"
        ) from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder / 'pyproject.toml'} cannot be read ({error})") from None
    project = _table(data, "project")
    entries = {str(value) for value in _table(_table(project, "entry-points"), "lot").values()}
    if len(entries) != 1:
        raise BadInput(
            f"{folder / 'pyproject.toml'} names {len(entries) or 'no'} modules in [project.entry-points.lot]",
            fix="another component needs exactly one, such as my_waves.plugin",
        )
    (module,) = entries
    package, _, last = module.rpartition(".")
    for root in (folder / "src", folder):
        source = root.joinpath(*package.split("."))
        if package and (source / f"{last}.py").is_file():
            return Package(
                folder=folder,
                distribution=str(project.get("name", folder.resolve().name)),
                name=package,
                source=source,
                plugin=source / f"{last}.py",
            )
    raise BadInput(
        f"{folder} has no file for {module}, which its pyproject.toml names",
        fix="another component needs a package with a plugin module, as in src/my_waves/plugin.py",
    )


def _table(data: Any, key: str) -> dict[str, Any]:
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def write_package(target: Path, kind: str, package: str, words: Mapping[str, str]) -> None:
    """Write a package with one component into the folder `target`, which must not exist."""
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        values = {**_values(kind, package, package, target.name), **words}
        version = re.match(r"[0-9.]*[0-9]", lot.__version__)
        assert version is not None
        for path, text in render(_templates() / "common", {**values, "core_version": version[0]}):
            _create(folder / path, text)
        source = folder / "src" / package
        made = Package(
            folder=folder, distribution=target.name, name=package, source=source, plugin=source / "plugin.py"
        )
        add_component(made, kind, package)
        umask = os.umask(0)
        os.umask(umask)
        folder.chmod(0o777 & ~umask)  # mkdtemp lets no other user in
        folder.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
        raise


def add_component(package: Package, kind: str, component: str) -> list[Path]:
    """Write a component of `kind` into a package: its modules, its options, its registration, its tests; returns the files.

    Raises BadInput, with nothing written, where a name is taken or a module cannot be extended.
    """
    values = _values(kind, component, package.name, package.distribution)
    new: dict[Path, str] = {}
    snippets: dict[str, str] = {}
    for path, text in render(_templates() / kind, values):
        place, _, name = path.rpartition("/")
        if not place:
            snippets[name] = text
        else:
            new[(package.folder / "tests" if place == "tests" else package.source) / name] = text
    taken = [path for path in (package.source / component, *new) if os.path.lexists(path)]
    if taken:
        raise BadInput(f"{taken[0]} exists already", fix="choose another name")
    registered = with_registration(
        _read(package.plugin), HOOKS[kind], component, snippets["registration.py"], package.plugin
    )
    if os.path.lexists(package.config):
        options = _read(package.config)
    else:
        head = _templates() / "common" / "src" / "PACKAGE" / "config.py.tmpl"
        options = head.read_text(encoding="utf-8")
    configured = with_definition(options, f"{values['class_name']}Config", snippets["config.py"], package.config)
    return _write_all(new, {package.plugin: registered, package.config: configured})


def render(root: Traversable, values: Mapping[str, str], inside: str = "") -> Iterator[tuple[str, str]]:
    """Every file below a template folder: its path in the package, and its text."""
    for entry in root.iterdir():
        path = f"{inside}{entry.name}"
        if entry.is_dir():
            yield from render(entry, values, f"{path}/")
        elif path.endswith(".tmpl"):
            name = path.removesuffix(".tmpl").replace("PACKAGE", values["package"])
            name = name.replace("COMPONENT", values["component"])
            name = ".gitignore" if name == "gitignore" else name
            yield name, string.Template(entry.read_text(encoding="utf-8")).substitute(values)


def _templates() -> Traversable:
    return resources.files("lot_cli") / "templates"


def _values(kind: str, component: str, package: str, distribution: str) -> dict[str, str]:
    return {
        "distribution": distribution,
        "package": package,
        "component": component,
        "class_name": "".join(part.capitalize() for part in component.split("_")),
        "kind": kind,
    }


def _read(path: Path) -> str:
    """The text of a file with its line breaks as they are. Raises BadInput where it cannot be read."""
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read ({error})") from None


def _create(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(text.encode())


def _write_all(new: Mapping[Path, str], changed: Mapping[Path, str]) -> list[Path]:
    """Create the new files and change the others; after an error, all of them are as they were."""
    before = {path: path.read_bytes() if path.exists() else None for path in (*new, *changed)}
    folders = [path.parent for path in new if not path.parent.exists()]
    try:
        for path, text in new.items():
            _create(path, text)
        for path, text in changed.items():
            path.write_bytes(text.encode())
    except BaseException:
        for path, content in before.items():
            with contextlib.suppress(OSError):
                path.unlink() if content is None else path.write_bytes(content)
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    return list(before)
