"""`lot run`: compose a run from the command line, train it, and show it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lot_cli.commands.choosing import choosing_components, with_attention
from lot_cli.terminal.echo import echo
from lot_cli.terminal.numbers import finite_or_null

if TYPE_CHECKING:
    from lot.config.schema import Config


class _Run(click.Command):
    """Says, for an option of a component or a section that is given as a flag, how to set it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            path = _path_of(error.option_name.lstrip("-").replace("-", "_"))
            if path is None:
                raise
            raise click.UsageError(
                f"no option {error.option_name}; set it as in --set {path}=VALUE", ctx=error.ctx
            ) from None


def _path_of(name: str) -> str | None:
    """The path of an option called `name` in a configuration: of a section, else of an installed component."""
    import attrs

    from lot.config.schema import SINGLE, TopConfig, TrainConfig
    from lot.plugins.registry import registry

    for prefix, section in (("", TopConfig), ("train.", TrainConfig)):
        if name in attrs.fields_dict(section):
            return prefix + name
    for prefix, kind in SINGLE.items():
        for component in registry().components(kind):
            if name in attrs.fields_dict(component.config_class):
                return f"{prefix}.{name}"
    return None


@click.command(cls=_Run)
@choosing_components
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Set one option, as in optim.lr=3e-4.")
@click.option("--seed", type=int, help="Seed of data, initial values and noise.")
@click.option("--name", help="Name of the run, which goes to runs/NAME/version_N.")
@click.option(
    "--run-dir", type=click.Path(path_type=Path), help="Directory of the run, in place of runs/NAME/version_N."
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run from its last checkpoint, bit for bit.")
@click.option(
    "--extend",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on from the last checkpoint of RUN in a new run; --set changes steps, learning rate, batch, logging.",
)
@click.option(
    "--init-from",
    type=click.Path(path_type=Path),
    metavar="RUN|FILE",
    help="Begin with the weights of a run, or of a safetensors file.",
)
@click.option(
    "--only", multiple=True, metavar="PART", help="With --init-from: take attn, mlp, embed, positions or head alone."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="With --resume or --extend: the text of the run, where it is no longer there.",
)
@click.option("--device", default="auto", show_default=True, help="Where to compute: auto, cpu, cuda, cuda:1 ...")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the metrics as JSON on stdout, and everything else on stderr."
)
@click.option("--print-config", is_flag=True, help="Print the resolved configuration and stop.")
def run(
    losses: tuple[str, ...],
    diagnostics: tuple[str, ...],
    recorders: tuple[str, ...],
    config_file: Path | None,
    overrides: tuple[str, ...],
    seed: int | None,
    name: str | None,
    run_dir: Path | None,
    resume: bool,
    extend: Path | None,
    init_from: Path | None,
    only: tuple[str, ...],
    data: Path | None,
    device: str,
    as_json: bool,
    print_config: bool,
    **select: str | None,
) -> None:
    """Train a model and evaluate it.

    For example: lot run --attn lattice --task copy_reverse --set train.steps=200
    """
    from lot.errors import BadInput

    if name is not None and run_dir is not None:
        raise click.UsageError("--name and --run-dir both say where the run goes; give one of them")
    if print_config and as_json:
        raise click.UsageError("--json prints metrics, and --print-config trains nothing; give one of them")
    _check_beginning(resume, extend, init_from, only)
    for flag, given, expected in (("--init-from", init_from, "a run or a file"), ("--extend", extend, "a run")):
        if given is not None and not os.path.lexists(given):
            raise BadInput(where=flag, expected=expected, got=f"{given}, which is not there")
    name = _run_name(name)
    chosen = {section: value for section, value in select.items() if value is not None}
    sets = [*([f"seed={seed}"] if seed is not None else []), *overrides]  # as with every flag, --set comes last
    recorded = run_dir or (Path("runs") / name if name is not None else None) if resume else None
    if extend is not None and config_file is not None:
        raise click.UsageError("--extend takes the configuration of its run; leave out --config")
    if resume and recorded is None and config_file is None and "task" not in chosen:
        raise click.UsageError("--resume: which run? name it, as in --run-dir runs/NAME/version_0 or --name NAME")
    added = {"losses": losses, "diagnostics": diagnostics, "recorders": recorders}
    config = _config(config_file, chosen, added, sets, extend if extend is not None else recorded)
    if print_config:
        echo(config.to_yaml(), nl=False)
        return

    from lot.config.check import check_options
    from lot.runs.choose import choose_run

    if not resume and extend is None and data is None:  # those may do without the files that the configuration names
        check_options(config)  # what can be refused is refused before torch is imported, which takes seconds
    choose_run(config, run_dir, name, resume)
    if _speaks():
        _say_what_starts(config, resume)

    from lot.training.collector import collector_resting
    from lot_cli.terminal.run_display import RunDisplay

    display = RunDisplay(quiet_stdout=as_json)
    with display:
        with collector_resting(keep=True):
            from lot.training.train import train

        result = train(
            config,
            run_dir,
            name=name,
            resume=resume,
            device=device,
            data=data,
            extend=extend,
            init_from=init_from,
            only=only,
            report=display.report,
        )
    if as_json and _speaks():
        document: dict[str, Any] = {
            "run": str(result.run_dir),
            "step": result.step,
            "best_step": result.best_step,
            "leak": result.leak,
            "metrics": finite_or_null(result.metrics),
        }
        echo(json.dumps(document))


def _speaks() -> bool:
    """Whether this is the process that speaks: under torchrun, one of them."""
    return os.environ.get("RANK", "0") == "0"


def _say_what_starts(config: Config, resume: bool) -> None:
    """A sign of life, at once: the facts of the run follow when torch is there."""
    names = dict.fromkeys(chosen.name for chosen in config.attentions.values()) or {config.model.name: None}
    text = f"{' and '.join(names)} on {config.task.name}, {config.train.steps:,} steps, seed {config.seed}"
    echo(f"{'resuming' if resume else 'starting'} {text}", err=True)


def _config(
    file: Path | None,
    chosen: dict[str, str],
    added: dict[str, Any],
    overrides: list[str],
    recorded: Path | None,
) -> Config:
    """The configuration that is asked for.

    added: losses, diagnostics and recorders by name. recorded: the run to resume or to extend, if one is named. What is given
    then refines its configuration, unless a file or a task begins another one; whether the two agree is checked where the run
    goes on.
    """
    from lot.config.load import load_config
    from lot.runs.directory import RunDir

    if file is not None and "attn" in chosen:
        tree = with_attention(file, chosen["attn"])
        return load_config(tree, select=chosen, overrides=overrides, **added)
    if recorded is None or file is not None or "task" in chosen:
        return load_config(file, select=chosen, overrides=overrides, **added)
    config = RunDir(recorded_at(recorded)).config()
    if not (chosen or overrides or any(added.values())):
        return config
    return load_config(config.to_dict(), select=chosen, overrides=overrides, kept=config.model.kept, **added)


def recorded_at(path: Path) -> Path:
    """The directory of the run that `path` names, perhaps by the folder of one of its checkpoints."""
    from lot.runs.directory import find_run

    outer = path.resolve().parent.parent
    return outer if path.name.startswith("step_") and (outer / "config.yaml").exists() else find_run(path)


def _check_beginning(resume: bool, extend: Path | None, init_from: Path | None, only: tuple[str, ...]) -> None:
    """Refuse flags that say two things about where a run begins."""
    given = [
        flag
        for flag, on in (("--resume", resume), ("--extend", extend), ("--init-from", init_from))
        if on not in (None, False)
    ]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} both say where the run begins; give one of them")
    if only and init_from is None:
        raise click.UsageError("--only is about --init-from; add it")


def _run_name(name: str | None) -> str | None:
    """The name, if it is the name of one folder and cannot lead elsewhere."""
    if name is None or (name not in ("", ".", "..") and not set(name) & set('/\\:*?"<>|')):
        return name
    raise click.BadParameter("expected a plain folder name, such as first-try", param_hint="--name")
