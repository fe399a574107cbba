"""`lot plugins check`: the test kit on what is installed, so that an author needs no test file to use it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import NamedTuple

import click

from lot.errors import BadInput
from lot.options.declare import describe
from lot.plugins.component import KINDS, Component
from lot.plugins.discovery import Plugin, normalize
from lot.plugins.registry import Registry, registry
from lot_cli.commands.check_setting import Setting, read_setting
from lot_cli.terminal.echo import echo
from lot_cli.terminal.names import ComponentName
from lot_cli.terminal.text import BAD, GOOD, WARN, wrapped


class Result(NamedTuple):
    """`ok`, `skip` or `FAIL`; the check; why it is not ok, or what it tells beside; how many checks that stands for."""

    status: str
    what: str
    why: str = ""
    checks: int = 1


STATUS = {"passed": "ok", "skipped": "skip", "failed": "FAIL"}
PARAMETERS = frozenset({"component", "skip", "dims", "device", "seed", "signals", "attention", "embedding"})
"""Names that an option cannot have when it is given by keyword."""


@click.command()
@click.argument("name", type=ComponentName())
@click.option("--kind", type=click.Choice(KINDS), help="Check only components of this kind.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Set an option, as in attn.coupling=0.5, or what is around an attention or embedding, as in dims.width=64.",
)
@click.option("--device", help="Where an attention or embedding is checked: cpu, cuda ...; default: cpu.")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Repeat the points that a failure names; default: fresh ones each time."
)
@click.pass_context
def check(
    ctx: click.Context, name: str, kind: str | None, overrides: tuple[str, ...], device: str | None, seed: int | None
) -> None:
    """Run the test kit on NAME: a component, or all components of a distribution.

    A distribution is named as pip names it (my-waves) or by its module (my_waves). The exit code is 1 when a check fails.
    With --set, the one component NAME is checked in the configuration that a study's passport shows.
    """
    reg = registry()
    whole, components = _wanted(reg, name, kind)
    setting = _setting(reg, whole, components, overrides, device)
    counts = {"ok": 0, "skip": 0, "FAIL": 0}

    def tell(results: Iterator[Result]) -> None:
        for result in results:
            counts[result.status] += result.checks
            _print_result(result)

    for plugin in whole:
        echo(click.style(f"{plugin.distribution} {plugin.version}  {plugin.module}", bold=True))
        tell(_check_plugin(plugin))
    for component in components:
        echo(click.style(f"{reg.name_of(component)}  {component.kind} of {component.distribution}", bold=True))
        tell(_check_description(component))
        if component.kind == "kernel":
            tell(_check_kernel(component))
        else:
            again = "".join(f" --set {shlex.quote(item)}" for item in overrides) + (
                f" --device {device}" if device else ""
            )
            _check_behavior(reg, component, setting, seed, lambda result: tell(iter([result])), again)
    failed = counts["FAIL"]
    summary = f"{counts['ok']} passed, {counts['skip']} skipped, {failed} failed"
    echo(click.style(summary, bold=True, fg="red" if failed else "green"))
    if failed:
        ctx.exit(1)


def _wanted(reg: Registry, name: str, kind: str | None) -> tuple[list[Plugin], list[Component]]:
    """The plugins of the distribution or module `name`, and the components to check: theirs, and those of that name."""
    wanted = normalize(name)
    whole = [
        plugin
        for plugin in reg.plugins()
        if wanted in (normalize(plugin.distribution), normalize(plugin.module.partition(".")[0]))
    ]
    found = [item for plugin in whole for item in plugin.components]
    if not whole:
        found = reg.find(name) if kind is None else [reg.get(kind, name)]
    chosen = [item for item in found if kind in (None, item.kind)]
    if kind is not None and not chosen and not any(plugin.failure for plugin in whole):
        chosen = [reg.get(kind, name)]  # says what there is of that kind
    return whole, chosen


def _setting(
    reg: Registry, whole: list[Plugin], components: list[Component], overrides: tuple[str, ...], device: str | None
) -> Setting:
    """What `--set` and `--device` say; the default where neither is given. Raises BadInput unless they are for one component."""
    if not overrides and device is None:
        return Setting()
    if whole or len(components) != 1 or components[0].kind == "kernel":
        found = ", ".join(f"{reg.name_of(item)} ({item.kind})" for item in components)
        raise BadInput(
            where="--set" if overrides else "--device",
            expected="one component that the kit checks",
            got=found or "none",
            fix="name one component, and --kind where several have that name",
        )
    return read_setting(components[0], overrides, device or "cpu")


def _check_plugin(plugin: Plugin) -> Iterator[Result]:
    """The rules for a plugin as a whole."""
    yield Result("ok", "loads") if plugin.failure is None else Result("FAIL", "loads", plugin.failure)
    if plugin.imports_torch:
        why = f"{plugin.module} imports torch; name factories as 'module:Name' instead"
        yield Result("FAIL", "imports no torch", why)
    else:
        yield Result("ok", "imports no torch")


def _check_description(component: Component) -> Iterator[Result]:
    """Whether a component says of itself what `lot show` prints."""
    missing = [name for name in ("summary", "reference") if not getattr(component, name).strip()]
    missing += [
        f"help of option {option.name}" for option in describe(component.config_class) if not option.help.strip()
    ]
    what = "description"
    yield Result("FAIL", what, f"{', '.join(missing)}: missing") if missing else Result("ok", what)


def _check_behavior(
    reg: Registry, component: Component, setting: Setting, seed: int | None, tell: Callable[[Result], None], again: str
) -> None:
    """The test kit, check by check; where one fails, also where the component is and how to repeat it.

    again: the words of the command line that say what `setting` does.
    """
    from lot.testing import CheckResult, examine

    options = describe(component.config_class)
    required = [option.name for option in options if option.required and option.name not in setting.options]
    if required:
        how = f"lot.testing.check_{component.kind}(component, {required[0]}=...)"
        if required[0] in PARAMETERS:
            how = f"lot.testing.examine(component, {{{required[0]!r}: ...}})"
        tell(Result("skip", "behavior", f"option {required[0]} has no default; from Python: {how}"))
        return
    try:
        component.configure(**setting.options)
    except BadInput as error:
        if setting.options:
            raise
        tell(Result("FAIL", "default options", str(error)))
        return

    def on_result(found: CheckResult) -> None:
        if not found.same_as:
            why = (found.why, *found.told) if found.why else found.told
            tell(Result(STATUS[found.status], found.name, "\n".join(why)))

    result = examine(component, setting.options, seed=seed, on_result=on_result, **setting.kit)
    for line, count in result.repeated.items():
        tell(Result("FAIL", line, checks=count))
    if result.failed:
        repeat = f"lot plugins check {reg.name_of(component)} --kind {component.kind}{again} --seed {result.seed}"
        place = f"{result.defined}: " if result.defined else ""
        for line in wrapped(f"{place}the same points again: {repeat}", indent=2):
            echo(line)


def _check_kernel(component: Component) -> Iterator[Result]:
    """Whether a kernel says its state in one line."""
    try:
        status = component.create(component.configure()).status()
    except BadInput as error:
        yield Result("FAIL", "status", str(error))
        return
    good = isinstance(status, str) and len(status.strip().splitlines()) == 1
    wrong = f"expected one line, got {status!r}"
    yield Result("ok", f"status: {status}") if good else Result("FAIL", "status", wrong)


def _print_result(result: Result) -> None:
    style = {"ok": GOOD, "skip": WARN, "FAIL": BAD}[result.status]
    echo(f"  {click.style(f'{result.status:4}', **style)}  {result.what}")
    for paragraph in result.why.splitlines():
        for line in wrapped(paragraph, indent=8):
            echo(line)
