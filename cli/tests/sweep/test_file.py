"""Sweep files: their configurations, and what is refused before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from study_support import RUN, write

from lot.errors import BadInput
from lot_cli.sweep.file import Sweep, configurations, load_sweep, short_names, sweep_from
from lot_cli.sweep.from_options import sweep_from_options
from lot_cli.sweep.points import points_of, runs_of

pytest.importorskip("lot_tasks")

GRID = {"optim.lr": [1.0e-3, 3.0e-3], "model.dropout": [0, 0.1]}


def sweep(**changes: Any) -> Sweep:
    """A sweep with top-level keys changed; None removes one."""
    content = {"base": RUN, "grid": GRID, **changes}
    return sweep_from({key: value for key, value in content.items() if value is not None}, "small")


def test_a_grid_has_every_combination_the_last_option_fastest() -> None:
    found = configurations(sweep())
    assert [tuple(values.values()) for values in found] == [(1e-3, 0), (1e-3, 0.1), (3e-3, 0), (3e-3, 0.1)]
    assert [point.label for point in points_of(sweep())][1] == "lr=0.001, dropout=0.1"


def test_more_draws_begin_with_the_earlier_ones_and_other_options_draw_by_themselves() -> None:
    random = {"optim.lr": {"log_uniform": [1e-4, 1e-2]}, "model.dropout": [0, 0.1, 0.2]}
    few = configurations(sweep(grid=None, random=random, count=4))
    many = configurations(sweep(grid=None, random=random, count=9))
    assert many[:4] == few
    alone = configurations(sweep(grid=None, random={"optim.lr": random["optim.lr"]}, count=4))
    assert [values["optim.lr"] for values in alone] == [values["optim.lr"] for values in few]
    other = configurations(sweep(grid=None, random=random, count=4, draw_seed=1))
    assert other != few


def test_what_was_drawn_before_is_left_out() -> None:
    found = configurations(sweep(grid=None, random={"model.dropout": [0, 0.1]}, count=20))
    assert sorted(values["model.dropout"] for values in found) == [0, 0.1]


def test_no_run_tests_and_every_run_has_the_key_of_its_content() -> None:
    points = points_of(sweep(seeds=2))
    runs = [run for tried in runs_of(points, [0, 1], {}) for run in tried]
    assert not any(run.config.train.test for run in runs)
    assert [run.config.seed for run in runs[:2]] == [0, 1]
    assert len({run.key for run in runs}) == 8
    again = points_of(sweep(grid={"optim.lr": [3.0e-3, 5.0e-3], "model.dropout": [0.1]}))
    keys = [run.key for (run,) in runs_of(again, [0], {})]
    assert keys[0] in {run.key for run in runs}
    assert keys[1] not in {run.key for run in runs}


def test_a_run_of_a_sweep_is_the_run_that_a_study_tunes_with() -> None:
    from lot_cli.study.design.plan import Arm, make_run

    arm = Arm(name="any", tree=RUN)
    tuned = make_run(arm, 0, {"optim.lr": 1e-3, "model.dropout": 0}, "tune", {"device": "cpu"})
    assert points_of(sweep())[0].run(0, {"device": "cpu"}).key == tuned.key


def test_a_file_that_is_written_is_read_as_the_same_sweep(tmp_path: Path) -> None:
    first = sweep(seeds=[3, 5], objective="loss", limit=9)
    assert load_sweep(write(tmp_path / "x.yaml", first.to_dict())) == first


def test_the_name_is_that_of_the_file_or_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    content = {"base": RUN, "grid": GRID}
    assert load_sweep(write(tmp_path / "rates.yaml", content)).name == "rates"
    assert load_sweep(write(tmp_path / "mine" / "sweep.yaml", content)).name == "mine"


@pytest.mark.parametrize(
    ("file", "name"),
    [("my rates.yaml", "my-rates"), ("w 2 ü/sweep.yaml", "w-2"), ("größe.yaml", "gr-e"), ("研究/sweep.yaml", "sweep")],
)
def test_a_name_that_no_folder_gets_is_made_plain(tmp_path: Path, file: str, name: str) -> None:
    from lot_cli.study.design.file import load_study

    (tmp_path / file).parent.mkdir(exist_ok=True)
    assert load_sweep(write(tmp_path / file, {"base": RUN, "grid": GRID})).name == name
    study = write(
        tmp_path / file.replace("sweep.yaml", "study.yaml"), {"base": RUN, "arms": {"vanilla": {}, "b": {}}, "seeds": 2}
    )
    assert load_study(study).name == name.replace("sweep", "study")


def test_names_are_as_short_as_tells_them_apart() -> None:
    paths = ["optim.lr", "losses.sync.weight", "losses.other.weight", "seq_len", "task.seq_len"]
    assert short_names(paths) == {
        "optim.lr": "lr",
        "losses.sync.weight": "sync.weight",
        "losses.other.weight": "other.weight",
        "seq_len": "seq_len",
        "task.seq_len": "task.seq_len",
    }


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"grid": {}}, r"^grid: expected values to try, under either grid or random, got neither"),
        ({"random": {"optim.lr": [1]}}, r"^grid: .* got both"),
        ({"grid": {"optim.lr": []}}, r"^grid\.optim\.lr: expected a list of values"),
        ({"grid": {"optim.lr": 1e-3}}, r"^grid\.optim\.lr: expected a list of values, or \{linspace"),
        (
            {"grid": {"optim.lr": {"uniform": [0, 1]}}},
            r"^grid\.optim\.lr: .* got a distribution; put the options under random",
        ),
        ({"grid": {"optim.lr": [1, 1]}}, r"^grid\.optim\.lr: expected each value once, got 1 twice"),
        (
            {"grid": {"optim.lr": [1, 1.0]}},
            r"^grid: expected configurations that differ, got lr=1 and lr=1\.0, which are one",
        ),
        ({"grid": {"optim.rate": [1, 2]}}, r"^optim\.rate: unknown option"),
        ({"grid": {"optim.lr": [1, "fast"]}}, r"^optim\.lr: expected float, got 'fast'"),
        ({"grid": {"optim.lr": [1, -1]}}, r"^optim\.lr: expected a number >= 0"),
        ({"grid": {"model.width": [15, 16]}}, r"^with width=15: model\.heads: expected a divisor of the width 15"),
        ({"grid": {"seed": [1, 2]}}, r"^seed: .* use seeds"),
        ({"grid": {"task.name": ["copy_reverse", "mqar"]}}, r"^task\.name: expected one task, got several"),
        ({"base": {**RUN, "seed": 3}}, r"^seed: .* use seeds"),
        ({"grid": {"train.test": [True, False]}}, r"^train\.test: .* never reads the test split"),
        ({"base": {**RUN, "train": {"test": True}}}, r"^train\.test: .* never reads the test split"),
        ({"base": {**RUN, "train": {"stepz": 1}}}, r"^train\.stepz: unknown option; did you mean 'steps'"),
        ({"count": 3}, r"^count: .* 3 beside a grid"),
        (
            {"grid": None, "random": {"optim.lr": {"uniform": [0, 1]}}},
            r"^count: .* which a random search needs, got none",
        ),
        ({"seeds": 0}, r"^seeds: expected from 1 to 1000 seeds, got 0"),
        ({"seeds": [1, 1]}, r"^seeds: expected different seeds"),
        ({"seeds": []}, r"^seeds: expected different seeds"),
        (
            {"limit": 7, "seeds": 2},
            r"^limit: expected at most 7 runs, got 4 configurations x 2 seeds, which are 8 runs",
        ),
        ({"grid": {f"task.x{n}": {"linspace": [0, 1, 1000]} for n in range(9)}}, r"^limit: expected at most 256 runs"),
        ({"metric": "loss"}, r"^metric: unknown option"),
        ({"name": "../up"}, r"^name: expected letters, digits"),
    ],
)
def test_what_no_sweep_can_have_is_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(BadInput, match=line):
        points_of(sweep(**changes))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (RUN, r"got the configuration of a run; lot sweep --config .*x\.yaml --set PATH=VALUE,VALUE"),
        ({"base": RUN, "arms": {"a": {}}}, "got a study; lot study takes it"),
    ],
)
def test_a_file_of_another_kind_is_told_its_command(tmp_path: Path, content: dict[str, Any], line: str) -> None:
    with pytest.raises(BadInput, match=line):
        load_sweep(write(tmp_path / "x.yaml", content))


def test_other_commands_say_that_a_sweep_is_one(tmp_path: Path) -> None:
    from lot.config.load import load_config

    with pytest.raises(BadInput, match="expected the configuration of a run, got a sweep; lot sweep takes it"):
        load_config(write(tmp_path / "x.yaml", {"base": RUN, "grid": GRID}))


# From the command line


def from_options(*overrides: str, root: Path = Path("nowhere"), **more: Any) -> Sweep:
    """The sweep of `--set` options over the small run."""
    tree = more.pop("tree", RUN)
    return sweep_from_options(tree, more.pop("select", {}), more.pop("added", {}), overrides, more, root)


def test_options_with_one_value_are_those_of_every_run() -> None:
    found = from_options("optim.lr=1e-3,3e-3", "train.steps=9", "model.dropout=0", select={"attn": "vanilla"})
    assert found.grid == {"optim.lr": [1e-3, 3e-3]}
    assert found.base["train"]["steps"] == 9
    assert found.base["train"]["batch_size"] == RUN["train"]["batch_size"]
    assert found.base["attn"] == {"name": "vanilla"}
    assert found.name == "copy_reverse-vanilla-lr"


def test_losses_and_recorders_are_added_beside_those_of_the_file() -> None:
    tree = {**RUN, "losses": {"cross_entropy": {"label_smoothing": 0.1}}}
    added = {"losses": ["cross_entropy"], "recorders": ["csv"]}
    found = from_options("optim.lr=1,2", tree=tree, added=added).base
    assert (found["losses"], found["recorders"]) == (tree["losses"], {"csv": {}})


def test_another_component_takes_the_options_of_the_former_with_it() -> None:
    tree = {**RUN, "optim": {"name": "muon", "momentum": 0.9}}
    assert from_options("optim.lr=1,2", tree=tree, select={"optim": "adamw"}).base["optim"] == {"name": "adamw"}
    assert from_options("optim.lr=1,2", "optim.name=adamw", tree=tree).base["optim"] == {"name": "adamw"}


def test_a_count_or_a_distribution_makes_a_random_search() -> None:
    drawn = from_options("optim.lr=log_uniform(1e-4,1e-2)", "model.dropout=0,0.1", count=3)
    assert (drawn.grid, drawn.count) == ({}, 3)
    assert drawn.random == {"optim.lr": {"log_uniform": [1e-4, 1e-2]}, "model.dropout": [0, 0.1]}
    assert from_options("model.dropout=0,0.1,0.2", count=2).random


def test_the_seed_of_a_run_file_is_that_of_the_sweep_unless_seeds_are_given() -> None:
    tree = {**RUN, "seed": 7, "train": {**RUN["train"], "test": True}}
    assert from_options("optim.lr=1,2", tree=tree).seed_list == [7]
    assert from_options("optim.lr=1,2", tree=tree, seeds=2).seed_list == [0, 1]
    assert tree["train"]["test"], "the tree of the caller stays as it is"


def test_a_name_is_shared_by_sweeps_of_the_same_options_alone(tmp_path: Path) -> None:
    def named(*overrides: str) -> str:
        found = from_options(*overrides, root=tmp_path)
        folder = tmp_path / found.name
        folder.mkdir(exist_ok=True)
        write(folder / "sweep.yaml", found.to_dict())
        return found.name

    assert named("optim.lr=1,2") == named("optim.lr=1,2,3") == "copy_reverse-vanilla-lr"
    assert named("optim.lr=1,2", "train.steps=7") == "copy_reverse-vanilla-lr-2"
    assert named("optim.lr=1,2", "model.dropout=0,0.1") == "copy_reverse-vanilla-lr-dropout"
    (tmp_path / "copy_reverse-vanilla-lr" / "sweep.yaml").write_text("grid: [[]]\nbase: 3\n")
    assert named("optim.lr=1,2") == "copy_reverse-vanilla-lr-3", "what is no sweep of these options keeps its folder"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ([], r"nothing to sweep: no --set has more than one value; write them as in --set optim\.lr=1e-3,3e-3"),
        (["optim.lr=[1,2]"], r"nothing to sweep: .* \(\[1e-3,3e-3\] is one value, a list\)"),
        (["optim.lr=1,2", "optim.lr=3"], r"^--set optim\.lr: expected each path once, got it twice; join its values"),
        (["optim.lr"], r"^--set: expected PATH=VALUE,VALUE as in optim\.lr=1e-3,3e-3, got 'optim\.lr'"),
    ],
)
def test_options_that_sweep_nothing_are_refused(overrides: list[str], line: str) -> None:
    with pytest.raises(BadInput, match=line):
        from_options(*overrides)
