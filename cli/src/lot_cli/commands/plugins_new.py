"""`lot plugins new`: a complete package with a component of one's own, from the templates in this package."""

from __future__ import annotations

import contextlib
import importlib.util
import keyword
import os
import re
import shutil
import string
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

import lot
from lot.errors import BadInput
from lot.plugins.catalogue import home_of
from lot.plugins.registry import registry

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


class Template(NamedTuple):
    """What differs between kinds beside the files: words of the README, and how the component is tried."""

    title: str
    implementation: str
    command: str
    test_requires: str = '"pytest>=8"'


TEMPLATES = {
    "attention": Template(
        "Attention",
        "the mechanism, on fused attention",
        "lot run --attn {name} --task copy_reverse",
    ),
    "embedding": Template(
        "A token embedding",
        "the embedding",
        "lot run --embed {name} --task copy_reverse",
    ),
    "optimizer": Template(
        "An optimizer",
        "the optimizer, a torch one",
        "lot run --optim {name} --task copy_reverse",
    ),
    "loss": Template(
        "A loss",
        "the loss, which joins cross-entropy",
        "lot run --loss {name} --task copy_reverse",
    ),
    "task": Template(
        "A task",
        "the task: its examples, its splits, its metrics",
        "lot run --task {name}",
    ),
    "diagnostic": Template(
        "A diagnostic",
        "the diagnostic: what it measures, draws and concludes",
        "lot run --task copy_reverse --set diagnostics.{name}.every=50",
        '"matplotlib>=3.8", "pytest>=8"',
    ),
}

_DISTRIBUTION = re.compile(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
"""A name that PyPI would take, and whose module can begin with a letter."""


@click.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(list(TEMPLATES)), default="attention", show_default=True)
def new(name: str, kind: str) -> None:
    """Write the package NAME (my-waves) into a new folder of that name: it installs, passes its tests, and trains."""
    package = package_name(name, kind)
    target = Path(name)
    if os.path.lexists(target):
        raise BadInput(f"{target} exists already", fix="choose another name, or another folder to work in")
    try:
        write_package(target, kind, package)
    except OSError as error:
        raise BadInput(f"{target} cannot be written ({error.strerror or error})") from None
    click.echo(f"wrote {target}, {_article(kind)} {kind} called {package}; now:")
    for line in (
        f'pip install -e "./{target}[test]"',
        f"lot plugins check {package}",
        f"pytest {target}",
        TEMPLATES[kind].command.format(name=package),
    ):
        click.echo(f"  {line}")


def package_name(name: str, kind: str) -> str:
    """The module (and component) of the distribution `name`. Raises BadInput for a name that cannot be one of each."""
    if not _DISTRIBUTION.match(name):
        raise BadInput(
            where="NAME", expected="letters, digits, dots and dashes, a letter first, such as my-waves", got=repr(name)
        )
    package = re.sub(r"[-_.]+", "_", name).lower()
    if keyword.iskeyword(package) or keyword.issoftkeyword(package) or package in sys.stdlib_module_names:
        raise BadInput(where="NAME", expected=f"a name that Python does not use: not {package}", got=repr(name))
    taken = next((item for item in registry().components(kind) if item.name == package), None)
    owner = home_of(kind, package) if taken is None else taken.distribution
    if owner is not None:
        raise BadInput(f"{_article(kind)} {kind} {package!r} exists already, in {owner}", fix="choose another name")
    if _importable(package):
        raise BadInput(f"a module {package} is installed already", fix="choose another name")
    return package


def write_package(target: Path, kind: str, package: str) -> None:
    """Write the package of a template into the folder `target`, which must not exist: all of it, or nothing."""
    template = TEMPLATES[kind]
    command = template.command.format(name=package)
    values = {
        "distribution": target.name,
        "package": package,
        "component": package,
        "class_name": "".join(part.capitalize() for part in package.split("_")),
        "kind": kind,
        "title": template.title,
        "implementation": template.implementation,
        "command": command,
        "note": " `copy_reverse` is a task of `lot-tasks`." if "copy_reverse" in command else "",
        "test_requires": template.test_requires,
        "core_version": re.match(r"[0-9.]*[0-9]", lot.__version__)[0],  # type: ignore[index]
    }
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for source in ("common", kind):
            for path, text in render(resources.files("lot_cli") / "templates" / source, values):
                file = folder / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        umask = os.umask(0)
        os.umask(umask)
        folder.chmod(0o777 & ~umask)  # mkdtemp lets nobody else in
        folder.rename(target)
    except BaseException:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
        raise


def render(root: Traversable, values: Mapping[str, str], inside: str = "") -> Iterator[tuple[str, str]]:
    """Every file below a template folder: its path in the package, and its text."""
    for entry in root.iterdir():
        path = f"{inside}{entry.name}"
        if entry.is_dir():
            yield from render(entry, values, f"{path}/")
        elif path.endswith(".tmpl"):
            name = path.removesuffix(".tmpl").replace("PACKAGE", values["package"])
            name = ".gitignore" if name == "gitignore" else name
            yield name, string.Template(entry.read_text(encoding="utf-8")).substitute(values)


def _importable(package: str) -> bool:
    """Whether a module of this name is installed; a mere folder of that name in the current directory is none."""
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None


def _article(kind: str) -> str:
    return "an" if kind[0] in "aeiou" else "a"
