"""`lot plugins new`: a package with a component, or another component in a package; an author starts from what works."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import click

from lot.errors import BadInput
from lot.plugins.catalogue import home_of
from lot.plugins.discovery import normalize
from lot.plugins.registry import registry
from lot_cli.scaffold.package import Package, add_component, find_package, write_package
from lot_cli.terminal.echo import echo


class Template(NamedTuple):
    """What differs between kinds beside the files: words of the README, and the command that tries the component."""

    title: str
    implementation: str
    command: str


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
    "mlp": Template(
        "An MLP",
        "the MLP",
        "lot run --mlp {name} --task copy_reverse",
    ),
    "model": Template(
        "A model",
        "the model around attention, MLP and embedding",
        "lot run --model {name} --task copy_reverse",
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
    ),
    "recorder": Template(
        "A recorder",
        "the recorder: where it takes the rows of a run",
        "lot run --task copy_reverse --record {name}",
    ),
}

_DISTRIBUTION = re.compile(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
"""A name that PyPI takes, with a letter first, as a module needs."""


@click.command()
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(list(TEMPLATES)), default="attention", show_default=True, help="Kind of the component."
)
@click.option("--into", type=click.Path(path_type=Path), help="Add the component NAME to the package in this folder.")
def new(name: str, kind: str, into: Path | None) -> None:
    """Write the package NAME (my-waves) into a new folder of that name: it installs, passes its tests, and trains.

    With --into, write the component NAME into a package that exists: its module, options, registration and tests.
    """
    if into is None:
        _new_package(name, kind)
    else:
        _new_component(name, kind, find_package(into))


def _new_package(name: str, kind: str) -> None:
    package = component_name(name, kind)
    if _importable(package):
        raise BadInput(f"a module {package} is installed already", fix="choose another name")
    target = Path(name)
    if os.path.lexists(target):
        raise BadInput(f"{target} exists already", fix="choose another name, or another folder to work in")
    template = TEMPLATES[kind]
    command = template.command.format(name=package)
    words = {
        "title": template.title,
        "implementation": template.implementation,
        "command": command,
        "note": "\n`copy_reverse` is a task of `lot-tasks`." if "copy_reverse" in command else "",
    }
    try:
        write_package(target, kind, package, words)
    except OSError as error:
        raise BadInput(f"{target} cannot be written ({error.strerror or error})") from None
    echo(f"wrote {target}, {_article(kind)} {kind} called {package}; now:")
    _say_next(f'pip install -e "./{target}[test]"', f"lot plugins check {package}", f"pytest {target}", command)


def _new_component(name: str, kind: str, package: Package) -> None:
    component = component_name(name, kind, package.distribution)
    try:
        written = add_component(package, kind, component)
    except OSError as error:
        raise BadInput(f"{package.folder} cannot be written ({error.strerror or error})") from None
    echo(f"wrote {_article(kind)} {kind} called {component} into {package.folder}:")
    for path in written:
        echo(f"  {path}")
    echo("now:")
    # Written as a path, so that pip cannot take the folder for the name of a distribution.
    folder = str(package.folder) if str(package.folder)[0] in "./" else f"./{package.folder}"
    _say_next(
        f'pip install -e "{folder}[test]"',
        f"lot plugins check {component}",
        f"pytest {shlex.quote(str(package.folder))}",
        TEMPLATES[kind].command.format(name=component),
    )


def _say_next(*commands: str) -> None:
    for command in commands:
        echo(f"  {command}")


def component_name(name: str, kind: str, distribution: str | None = None) -> str:
    """The component (and module) that `name` gives: lower case, with underscores.

    distribution: the one that it is for, where that exists. Raises BadInput for a name that cannot be a module and a
    component, or that another component of this kind has.
    """
    if not _DISTRIBUTION.match(name):
        raise BadInput(
            where="NAME", expected="letters, digits, dots and dashes, a letter first, such as my-waves", got=repr(name)
        )
    component = re.sub(r"[-_.]+", "_", name).lower()
    if keyword.iskeyword(component) or keyword.issoftkeyword(component) or component in sys.stdlib_module_names:
        raise BadInput(where="NAME", expected=f"a name that Python does not use: not {component}", got=repr(name))
    owners = [item.distribution for item in registry().components(kind) if item.name == component]
    owners += filter(None, [home_of(kind, component)])
    own = None if distribution is None else normalize(distribution)
    if owners:
        here = "in this package" if normalize(owners[0]) == own else f"in {owners[0]}"
        raise BadInput(f"{_article(kind)} {kind} {component!r} exists already, {here}", fix="choose another name")
    return component


def _importable(package: str) -> bool:
    """Whether a module of this name is installed; a mere folder of that name in the current directory is none."""
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None


def _article(kind: str) -> str:
    return "an" if kind[0] in "aeiou" or kind == "mlp" else "a"
