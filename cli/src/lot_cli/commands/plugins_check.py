"""`lot plugins check`: the test kit on what is installed, so that an author needs no test file to use it."""

from __future__ import annotations

from collections.abc import Iterator

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

Result = tuple[str, str, str]
"""`ok`, `skip` or `FAIL`; the check; why, when it is not ok."""


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
@click.pass_context
def check(ctx: click.Context, name: str, kind: str | None, overrides: tuple[str, ...], device: str | None) -> None:
    """Run the test kit on NAME: a component, or all components of a distribution.

    A distribution is named as pip names it (my-waves) or by its module (my_waves). The exit code is 1 when a check fails.
    With --set, the one component NAME is checked in the configuration that a study's passport shows.
    """
    reg = registry()
    whole, components = _wanted(reg, name, kind)
    setting = _setting(reg, whole, components, overrides, device)
    counts = {"ok": 0, "skip": 0, "FAIL": 0}

    def tell(results: Iterator[Result]) -> None:
        for status, what, why in results:
            counts[status] += 1
            _print_result(status, what, why)

    for plugin in whole:
        echo(click.style(f"{plugin.distribution} {plugin.version}  {plugin.module}", bold=True))
        tell(_check_plugin(plugin))
    for component in components:
        echo(click.style(f"{reg.name_of(component)}  {component.kind} of {component.distribution}", bold=True))
        tell(_check_description(component))
        tell(_check_kernel(component) if component.kind == "kernel" else _check_behavior(component, setting))
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
    yield ("ok", "loads", "") if plugin.failure is None else ("FAIL", "loads", plugin.failure)
    if plugin.imports_torch:
        yield "FAIL", "imports no torch", f"{plugin.module} imports torch; name factories as 'module:Name' instead"
    else:
        yield "ok", "imports no torch", ""


def _check_description(component: Component) -> Iterator[Result]:
    """Whether a component says of itself what `lot show` prints."""
    missing = [name for name in ("summary", "reference") if not getattr(component, name).strip()]
    missing += [
        f"help of option {option.name}" for option in describe(component.config_class) if not option.help.strip()
    ]
    yield ("FAIL", "description", f"{', '.join(missing)}: missing") if missing else ("ok", "description", "")


def _check_behavior(component: Component, setting: Setting) -> Iterator[Result]:
    """The test kit, check by check."""
    from lot.testing import KitFailure, run_checks

    options = describe(component.config_class)
    required = [option.name for option in options if option.required and option.name not in setting.options]
    if required:
        how = f"from Python: lot.testing.check_{component.kind}(component, {required[0]}=...)"
        yield "skip", "behavior", f"option {required[0]} has no default; {how}"
        return
    try:
        component.configure(**setting.options)
    except BadInput as error:
        if setting.options:
            raise
        yield "FAIL", "default options", str(error)
        return
    for name, outcome in run_checks(component, setting.options, **setting.kit):
        if isinstance(outcome, KitFailure):
            yield "FAIL", name, str(outcome)
        elif outcome is not None:
            yield "skip", name, outcome.removeprefix("skipped: ")
        else:
            yield "ok", name, ""


def _check_kernel(component: Component) -> Iterator[Result]:
    """Whether a kernel says its state in one line."""
    try:
        status = component.create(component.configure()).status()
    except BadInput as error:
        yield "FAIL", "status", str(error)
        return
    good = isinstance(status, str) and len(status.strip().splitlines()) == 1
    yield ("ok", f"status: {status}", "") if good else ("FAIL", "status", f"expected one line, got {status!r}")


def _print_result(status: str, what: str, why: str) -> None:
    style = {"ok": GOOD, "skip": WARN, "FAIL": BAD}[status]
    echo(f"  {click.style(f'{status:4}', **style)}  {what}")
    for paragraph in why.splitlines():
        for line in wrapped(paragraph, indent=8):
            echo(line)
