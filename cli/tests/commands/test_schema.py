"""`lot schema`: a file fits the schema exactly when it loads, but for what the schema cannot say."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings, strategies as st
from support import ROOT

from lot.config.load import load_config
from lot.config.yaml import read_yaml
from lot.errors import BadInput
from lot.plugins.component import Component
from lot.plugins.registry import registry
from lot_cli.json_schema.files import SchemaMaker
from lot_cli.study.design.file import study_from
from lot_cli.sweep.file import sweep_from
from lot_cli.sweep.points import points_of

FILES = sorted((ROOT / "experiments").rglob("*.yaml"))
STUDIES = [file for file in FILES if "arms" in read_yaml(file)]
RUNS = [file for file in FILES if file not in STUDIES]

BEYOND_THE_SCHEMA = (
    "expected a layer from 0 to",  # more layers than the model has
    "already contains",  # two losses, one within the other
    "at least one loss",
    "schedule takes a number of steps",
    "a low and a high end",  # an option's own function
    "expected at least one size",
    "expected different",
    "expected a divisor of the width",  # several options of one component
    "one channel of the MLP",
    "without rotary positions it has no effect",
    "expected an even number",
    "expected at most seq_len",
    "expected at most max_period",
    "expected more than 2 * copied",
    "where frac_noise > 0",
    "where no path is given",
    "none where path is given",
)
"""What `load_config` says of files that fit the schema (see `lot_cli.json_schema.files`)."""

BEYOND_THE_STUDY_SCHEMA = (
    "one of the arms",
    "at least two arms",
    "arms of different names",
    "seeds",
    "a margin > 0",
    "each metric once",
    "tuning reads training and validation data only",
    "no mechanism: they are compared",
    "a path that begins with",
    "a list of values to try",
    "letters, digits and",
    "to be a table",
    "two arms, as in",
    "at least one pair of arms",
    "two of the arms",
    "two different arms",
    "each pair of arms once",
    "paths under tune",
)


BEYOND_THE_SWEEP_SCHEMA = (
    *BEYOND_THE_SCHEMA,
    "task.name: required",  # base may leave to the grid what a run needs
    "each value once",
    "configurations that differ",
    "the lower one first",
    "a range above 0",
    "seeds",
    "at most",
    "letters, digits and",
    "to be a table",
    "unknown option",  # of a path
    "expected float",  # of a value under a path
    "expected a number",
    "PATH=VALUE",
)
"""What is said of sweeps that fit the schema: it knows neither paths nor what they take."""


def validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    """A validator of a schema that is one."""
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


RUN = validator(SchemaMaker(registry()).run())
STUDY = validator(SchemaMaker(registry()).study())
SWEEP = validator(SchemaMaker(registry()).sweep())


def fits(data: Any, schema: jsonschema.Draft202012Validator = RUN) -> bool:
    """Whether data fits, read as an editor reads it: all keys are text."""
    return schema.is_valid(json.loads(json.dumps(data)))


def named(file: Path) -> str:
    return str(file.relative_to(ROOT / "experiments"))


@pytest.mark.parametrize("file", RUNS, ids=named)
def test_every_run_of_the_repository_fits_and_so_does_its_record(file: Path) -> None:
    assert list(RUN.iter_errors(json.loads(json.dumps(read_yaml(file))))) == []
    assert fits(load_config(file).to_dict())


@pytest.mark.parametrize("file", STUDIES, ids=named)
def test_every_study_of_the_repository_fits(file: Path) -> None:
    assert list(STUDY.iter_errors(json.loads(json.dumps(read_yaml(file))))) == []
    assert not fits(read_yaml(file))


# What fits is what loads: mutations of files that do


SECTIONS = {"attention": "attn", "embedding": "embed", "optimizer": "optim", "task": "task"}


def with_component(component: Component) -> dict[str, Any]:
    """A run that holds a component with all its options."""
    run: dict[str, Any] = {"task": {"name": "copy_reverse"}}
    if component.kind in SECTIONS:
        run[SECTIONS[component.kind]] = {"name": registry().name_of(component)}
    elif component.kind in ("loss", "diagnostic"):
        run["losses" if component.kind == "loss" else "diagnostics"] = {registry().name_of(component): {}}
    return load_config(run).to_dict()


def bases() -> Iterator[dict[str, Any]]:
    for file in RUNS:
        yield read_yaml(file)
    for kind in ("attention", "embedding", "optimizer", "loss", "task", "diagnostic"):
        yield from map(with_component, registry().components(kind))
    yield {
        "task": {"name": "lot-tasks:copy_reverse"},
        "attn": {"name": "lattice", "layers": {0: {"coupling": 0.1}, 1: {"name": "lot-core:vanilla"}}},
        "losses": {"sync": {"weight": 0.1, "schedule": {"kind": "linear", "over": 5}}},
    }


BASES = list(bases())
VALUES = [None, True, "text", "vanilla", 1, 3, -1, 0.5, -2.5, 1e30, 10**20, [1], [0.5, 1.5], [2, "x"], {"x": 1}]


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in nested tables and lists."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def refusal(load: Callable[[Any], object], tree: Any) -> str | None:
    """Why `load` refuses a tree, or None where it does not."""
    try:
        load(tree)
    except BadInput as error:
        return str(error)
    return None


@st.composite
def mutations(draw: st.DrawFn, trees: list[dict[str, Any]]) -> Any:
    """A tree with one to three values changed, renamed, removed or added."""
    tree = copy.deepcopy(draw(st.sampled_from(trees)))
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(tree))
        if not found:
            break
        *way, last = draw(st.sampled_from(found))
        parent = tree
        for key in way:
            parent = parent[key]
        value = copy.deepcopy(draw(st.sampled_from(VALUES)))
        change = draw(st.sampled_from(["value", "rename", "remove", "add"]))
        if change == "value":
            parent[last] = value
        elif isinstance(parent, list):
            parent[last:] = [*parent[last:], value] if len(parent) == 1 else parent[last + 1 :]
        elif change == "rename" and isinstance(last, str):
            parent[draw(st.sampled_from([last + "s", last[1:], last.upper()]))] = parent.pop(last)
        elif change == "remove":
            del parent[last]
        else:
            parent[draw(st.sampled_from(["name", "every", "layers", "weight", "lr", "causal"]))] = value
    return tree


@given(mutations(BASES))
@settings(max_examples=400, deadline=None)
def test_a_run_fits_exactly_when_it_loads(tree: Any) -> None:
    refused = refusal(load_config, tree)
    if refused is None:
        assert fits(tree), next(RUN.iter_errors(json.loads(json.dumps(tree)))).message
    elif not any(told in refused for told in BEYOND_THE_SCHEMA):
        assert not fits(tree), refused


@given(mutations([read_yaml(file) for file in STUDIES]))
@settings(max_examples=300, deadline=None)
def test_a_study_that_fits_is_read(tree: Any) -> None:
    refused = refusal(lambda study: study_from(study, "study"), tree)
    if refused is not None and not any(told in refused for told in BEYOND_THE_STUDY_SCHEMA):
        assert not fits(tree, STUDY), refused


SWEEPS = [
    {
        "base": {"task": {"name": "copy_reverse"}, "attn": {"name": "lattice"}, "train": {"steps": 5}},
        "grid": {"optim.lr": [1e-3, 3e-3], "attn.coupling": {"linspace": [0, 1, 3]}},
        "seeds": 2,
    },
    {
        "base": {"task": {"name": "copy_reverse"}},
        "random": {"optim.lr": {"log_uniform": [1e-4, 1e-2]}, "model.dropout": [0, 0.1]},
        "count": 3,
        "objective": "loss",
    },
]


@given(mutations(SWEEPS))
@settings(max_examples=300, deadline=None)
def test_a_sweep_that_fits_is_read(tree: Any) -> None:
    refused = refusal(lambda sweep: points_of(sweep_from(sweep, "sweep")), tree)
    if refused is not None and not any(told in refused for told in BEYOND_THE_SWEEP_SCHEMA):
        assert not fits(tree, SWEEP), refused


# What an editor is told


def told(data: dict[str, Any], schema: jsonschema.Draft202012Validator = RUN) -> list[tuple[str, str]]:
    """Path and message of everything that is wrong."""
    errors = schema.iter_errors(json.loads(json.dumps(data)))
    return sorted((error.json_path, error.message) for error in errors)


TASK = {"task": {"name": "copy_reverse"}}


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"train": {"stepz": 3}}, "$.train", "'stepz' was unexpected"),
        ({"attn": {"name": "lattice", "couplng": 1}}, "$.attn", "'couplng' was unexpected"),
        ({"attn": {"coupling": 1}}, "$.attn", "'coupling' was unexpected"),  # vanilla has none
        ({"attn": {"name": "lattice", "dt": -1}}, "$.attn.dt", "less than or equal to the minimum of 0"),
        ({"attn": {"name": "lattice", "score": "neighbours"}}, "$.attn.score", "'neighbours' is not one of"),
        ({"attn": {"layers": {0: {"coupling": 1}}}}, "$.attn.layers['0']", "'coupling' was unexpected"),
        ({"model": {"dropout": "0.1"}}, "$.model.dropout", "'0.1' is not of type 'number'"),
        ({"model": {"tie": 1}}, "$.model.tie", "1 is not of type 'boolean'"),
        ({"losses": {"sync": {"weight": -1}}}, "$.losses.sync.weight", "-1 is less than the minimum of 0"),
        ({"diagnostics": {"gradnorm": {}}}, "$.diagnostics", "'gradnorm' does not match"),
        ({"optim": {"betas": [0.9]}}, "$.optim.betas", "is too short"),
        ({"optim": {"betas": [0.9, 1.5]}}, "$.optim.betas[1]", "1.5 is greater than or equal to the maximum of 1"),
        ({"seed": 2**63}, "$.seed", "greater than or equal to the maximum"),
        ({"task": {}}, "$.task", "'name' is a required property"),
    ],
)
def test_a_mistake_is_told_where_it_is(change: dict[str, Any], path: str, message: str) -> None:
    ((where, what),) = told({**TASK, **change})
    assert where == path
    assert message in what


def test_an_option_says_what_it_is() -> None:
    coupling = RUN.schema["$defs"]["attention.lattice"]["properties"]["coupling"]
    assert coupling["default"] == 0.5
    assert coupling["type"] == "number"
    assert coupling["description"].startswith("initial coupling strength")
    assert "lattice" in RUN.schema["properties"]["attn"]["properties"]["name"]["anyOf"][0]["enum"]


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({"base": {**TASK, "seed": 1}}, False),
        ({"base": {"train": {"test": False}}}, False),
        ({"base": {"train": {"steps": 5}}}, True),
        ({"arms": {"a": {"attn": {"coupling": 0.1}}, "b": None}}, True),  # base may name lattice
        ({"arms": {"a": {"attn": {"couplng": 0.1}}}}, False),
        ({"arms": {"a": {"attn": {"name": "lattice", "grid": {}}}}}, False),
        ({"arms": {"a": {"grid": {"attn.coupling": [1, 2]}}}}, True),
        ({"arms": {"a": {"grid": {"attn.coupling": []}}}}, False),
        ({"alpha": 1}, False),
        ({"seeds": [1, 2, 3]}, True),
        ({"seedz": 3}, False),
    ],
)
def test_a_study_holds_parts_of_runs(change: dict[str, Any], good: bool) -> None:
    assert fits({"base": TASK, "arms": {"a": {}, "b": None}, **change}, STUDY) == good


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"base": {**TASK, "seed": 1}}, False),
        ({"base": {"train": {"test": False}}}, False),
        ({"grid": {}}, False),
        ({"grid": {"optim.lr": []}}, False),
        ({"grid": {"optim.lr": [1, 1]}}, False),
        ({"grid": {"optim.lr": 1}}, False),
        ({"grid": {"optim.lr": {"linspace": [0, 1, 3]}}}, True),
        ({"grid": {"optim.lr": {"linspace": [0, 1]}}}, False),
        ({"grid": {"optim.lr": {"uniform": [0, 1]}}}, False),
        ({"count": 3}, False),
        ({"random": {"optim.lr": [1]}}, False),
        ({"grid": {}, "random": {"optim.lr": {"uniform": [0, 1]}}, "count": 2}, True),
        ({"grid": {}, "random": {"optim.lr": {"uniform": [0, 1]}}}, False),
        ({"seeds": [1, 2]}, True),
        ({"seedz": 3}, False),
    ],
)
def test_a_sweep_holds_a_part_of_a_run_and_values(change: dict[str, Any], good: bool) -> None:
    data = {"base": TASK, "grid": {"optim.lr": [1, 2]}, **change}
    assert fits(data, SWEEP) == good
    assert (refusal(lambda sweep: points_of(sweep_from(sweep, "sweep")), data) is None) == good


# The command


def test_the_command_prints_a_schema(lot: Callable) -> None:
    assert json.loads(lot("schema").out) == RUN.schema == json.loads(lot("schema", "run").out)
    assert json.loads(lot("schema", "study").out) == STUDY.schema
    assert json.loads(lot("schema", "sweep").out) == SWEEP.schema
    done = lot("schema", "studdy")
    assert (done.code, done.out) == (2, "")


def test_only_what_is_installed_is_in_it(lot: Callable, site: Path) -> None:
    schema = validator(json.loads(lot("schema").out))
    assert schema.schema["properties"]["attn"]["properties"]["name"]["anyOf"][0]["enum"] == ["calm", "vanilla"]
    run = {"task": {"name": "none"}, "attn": {"name": "calm", "seed": 3}}
    assert [path for path, _ in told(run, schema)] == ["$.task.name"]
    del run["attn"]["seed"]  # type: ignore[attr-defined]
    assert ("$.attn", "'seed' is a required property") in told(run, schema)


def test_options_that_cannot_be_read_are_a_warning(lot: Callable, site: Path) -> None:
    plugin = site / "plug_calm" / "plugin.py"
    plugin.write_text(plugin.read_text().replace("config=CalmConfig", 'config="plug_calm.gone:CalmConfig"'))
    done = lot("schema")
    assert done.code == 0
    assert done.err.startswith("warning: lot-calm: attention 'calm': plug_calm.gone:CalmConfig did not load (")
    assert "the schema allows any options there" in done.err
    run = {"losses": {}, "attn": {"name": "calm", "what": "ever"}}
    assert all(path != "$.attn" for path, _ in told(run, validator(json.loads(done.out))))


def test_one_name_in_two_distributions_is_told_with_its_distribution(lot: Callable, site: Path) -> None:
    info = site / "lot_storm2-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lot-storm2\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[lot]\nstorm2 = plug_storm2\n")
    (site / "plug_storm2.py").write_text(
        "from lot import Component, hookimpl\n@hookimpl\ndef lot_attentions():\n"
        "    return [Component(name='calm', summary='S', factory='nowhere:X')]\n"
    )
    schema = validator(json.loads(lot("schema").out))
    names = schema.schema["properties"]["attn"]["properties"]["name"]
    assert names["anyOf"][0]["enum"] == ["lot-calm:calm", "lot-storm2:calm", "vanilla"]
    for name, good in (("lot-storm2:calm", True), ("calm", False), ("lot-core:vanilla", True), ("x:calm", False)):
        wrong = [path for path, _ in told({"attn": {"name": name}}, schema) if path.startswith("$.attn")]
        assert (wrong == []) == good
