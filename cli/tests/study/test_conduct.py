"""Whole studies: nothing but the file decides the numbers, test data stay out of tuning, and no seed is lost silently."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from study_support import RUN, SMALL, silent, small, write

from lot.errors import BadInput, Interrupted, RunFailed
from lot.runs.directory import RunDir
from lot.storage.files import read_json
from lot_cli.study.conduct import conduct
from lot_cli.study.design.file import Study
from lot_cli.study.execution.worker import Order, execute

pytest.importorskip("lot_tasks")


class Made(NamedTuple):
    """A finished study: its folder, result, the events in order, and the splits read until tuning was over, and after."""

    folder: Path
    document: dict[str, Any]
    events: list[str]
    while_tuning: set[str]
    after: set[str]


def make(study: Study, folder: Path, jobs: int = 1, tell: Any = silent) -> dict[str, Any]:
    """The result of a study."""
    folder.mkdir(exist_ok=True)
    return conduct(study, folder, jobs=jobs, device="cpu", command="lot study small.yaml", tell=tell)


def numbers(document: dict[str, Any]) -> dict[str, Any]:
    """All of a result that must not depend on how it came about; arms by name."""
    arms = {
        name: {key: arm[key] for key in ("config", "scores", "summary", "curves", "tuned")}
        for name, arm in document["arms"].items()
    }
    comparisons = {(c["arm"], c["metric"]): c for c in document["comparisons"]}
    runs = {(row["arm"], row["seed"]): row for row in document["runs"]}
    return {"arms": arms, "comparisons": comparisons, "runs": runs, "claims": document["claims"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The small study, one run after the other."""
    from lot_tasks.synthetic.copy_reverse import CopyReverse

    folder = tmp_path_factory.mktemp("small")
    read: list[str] = []
    events: list[str] = []
    tuned_at: list[int] = []
    original = CopyReverse.batch

    def batch(self: Any, split: str, *arguments: Any) -> Any:
        read.append(split)
        return original(self, split, *arguments)

    def tell(event: str, facts: dict[str, Any]) -> None:
        events.append(event)
        if event == "tuned":
            tuned_at.append(len(read))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CopyReverse, "batch", batch)
        document = make(small(), folder, tell=tell)
    return Made(folder, document, events, set(read[: tuned_at[-1]]), set(read[tuned_at[-1] :]))


def test_test_data_are_not_read_before_tuning_is_over(made: Made) -> None:
    assert made.while_tuning == {"train", "validation"}
    assert made.after == {"train", "validation", "test"}


def test_a_tuning_run_that_would_test_is_refused(tmp_path: Path) -> None:
    from lot_cli.study.design.plan import make_run, plan_arms

    config = make_run(plan_arms(small())[0], 0, {}, "report", {}).config
    with pytest.raises(BadInput, match="a tuning run must not read the test split"):
        Order(
            key="k",
            label="vanilla, seed 0",
            config=config.to_dict(),
            run_dir=tmp_path / "k",
            may_test=False,
            threads=1,
            device="cpu",
        )


def test_every_arm_has_every_seed_and_an_equal_budget(made: Made) -> None:
    rows = made.document["runs"]
    assert [(row["arm"], row["seed"]) for row in rows] == [(arm, seed) for seed in range(3) for arm in SMALL["arms"]]
    assert {row["state"] for row in rows} == {"complete"}
    assert {row["steps"] for row in rows} == {6}
    for arm in made.document["arms"].values():
        assert len(arm["tuned"]["trials"]) == 2
        assert sum(trial["chosen"] for trial in arm["tuned"]["trials"]) == 1
        assert arm["config"]["optim"]["lr"] == arm["tuned"]["values"]["optim.lr"]


def test_tuning_goes_by_the_main_metric_on_validation(made: Made) -> None:
    for arm in made.document["arms"].values():
        for trial in arm["tuned"]["trials"]:
            (key,) = trial["runs"]
            document = json.loads((made.folder / "runs" / key / "metrics.json").read_text())
            assert document["split"] == "validation"
            assert trial["score"] == document["metrics"]["token_accuracy"]


def test_scores_are_those_of_the_runs_own_test_metrics(made: Made) -> None:
    for row in made.document["runs"]:
        document = json.loads((made.folder / "runs" / row["key"] / "metrics.json").read_text())
        assert document["split"] == "test"
        for metric in ("token_accuracy", "loss"):
            assert made.document["arms"][row["arm"]]["scores"][metric][row["seed"]] == document["metrics"][metric]


def test_a_run_of_a_study_equals_a_bare_run(made: Made, tmp_path: Path) -> None:
    from lot.config.load import load_config
    from lot.training.train import train

    row = made.document["runs"][1]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = train(load_config(made.folder / "runs" / row["key"] / "config.yaml"), tmp_path / "bare")
    finally:
        torch.set_num_threads(before)
    assert result.metrics["loss"] == made.document["arms"][row["arm"]]["scores"]["loss"][row["seed"]]


def test_costs(made: Made) -> None:
    for arm in made.document["arms"].values():
        cost = arm["cost"]
        width, hidden, positions, vocabulary = 16, 64, 8, 8
        products = 4 * width * width + 2 * width * hidden + width * vocabulary + 2 * positions * width
        assert cost["flops_per_token"] == pytest.approx(3 * 2 * products, rel=0.15)  # backward costs twice the forward
        assert cost["seconds_per_step"] * cost["tokens_per_second"] == pytest.approx(32)
        assert 0.5 * 6 * cost["seconds_per_step"] < cost["seconds_per_run"]  # six steps, the first of them slower
        assert cost["peak_bytes"] > 4 * 4 * 8 * hidden  # the MLP's hidden activations alone


def test_what_has_run_is_not_run_again(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a run was repeated")

    monkeypatch.setattr(sys.modules["lot.training.train"], "train", refuse)
    again = make(small(), made.folder)
    assert numbers(again) == numbers(made.document)
    assert again["arms"]["smooth"]["cost"] == made.document["arms"]["smooth"]["cost"]


def test_order_of_arms_and_interruption_change_no_number(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped = small(arms=dict(reversed(SMALL["arms"].items())), reference="vanilla")
    module = sys.modules["lot.training.train"]
    original = module.train
    count = 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        """Every third run gets a SIGINT after its second step."""
        nonlocal count
        count += 1

        def stop(event: str, facts: dict[str, Any]) -> None:
            if event == "log" and facts["step"] == 2:
                os.kill(os.getpid(), signal.SIGINT)

        return original(*arguments, **options, **({"report": stop} if count % 3 == 0 else {}))

    monkeypatch.setattr(module, "train", interrupted)
    for _ in range(4):  # ten runs; every third call is interrupted, and goes on in the next one
        with pytest.raises(Interrupted, match="the same command goes on from there") as raised:
            make(swapped, tmp_path)
        assert raised.value.exit_code == 130
    document = make(swapped, tmp_path)
    assert numbers(document) == numbers(made.document)
    assert [row["arm"] for row in document["runs"]][:2] == ["smooth", "vanilla"]


def test_processes_side_by_side_change_no_number(made: Made, tmp_path: Path) -> None:
    document = make(small(), tmp_path, jobs=2)
    assert numbers(document) == numbers(made.document)
    assert "times were measured with up to 2 runs side by side" in document["warnings"]


def test_a_process_that_dies_costs_its_run_and_says_so() -> None:
    from lot_cli.study.execution.runner import _Worker

    worker = _Worker(1, None)
    order = Order(
        key="k", label="x", config={"train": {"test": True}}, run_dir=Path("k"), may_test=True, threads=1, device="cpu"
    )
    worker.give(order)
    assert worker.process is not None
    worker.process.kill()
    outcome = worker.take()
    worker.close()
    assert (outcome.state, outcome.message) == ("failed", "its process died (exit code -9)")


def test_a_killed_study_leaves_no_run_that_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    config = {**RUN, "train": {**RUN["train"], "steps": 100_000, "eval_every": 100_000, "save_every": 100_000}}
    file.write_text(json.dumps(config))
    # __main__ guards what a spawned process imports again.
    script = tmp_path / "study.py"
    script.write_text(
        "import json, sys, time\nfrom pathlib import Path\nfrom lot import load_config\n"
        "from lot_cli.study.execution.runner import _Worker\nfrom lot_cli.study.execution.worker import Order\n"
        "if __name__ == '__main__':\n"
        "    config = load_config(json.loads(Path(sys.argv[1]).read_text())).to_dict()\n"
        "    order = Order(key='k', label='x', config=config, run_dir=Path(sys.argv[2]), may_test=True, threads=1,"
        " device='cpu')\n"
        "    _Worker(1, None).give(order)\n"
        "    time.sleep(600)\n"
    )
    run = RunDir(tmp_path / "run")
    study = subprocess.Popen([sys.executable, str(script), str(file), str(run.path)])
    try:
        _wait(lambda: bool(run.rows()))
    finally:
        study.kill()
        study.wait()
    _wait(lambda: (read_json(run.path / "status.json") or {}).get("state") == "interrupted")
    assert [path.name for path in (run.path / "checkpoints").iterdir()]  # it saved itself first


def _wait(until: Callable[[], bool]) -> None:
    for _ in range(600):
        if until():
            return
        time.sleep(0.1)
    raise AssertionError("waited for a minute in vain")


def test_divergence_is_a_result_that_is_shown_and_not_repeated(tmp_path: Path) -> None:
    arms = {"vanilla": {}, "wild": {"optim": {"lr": 1.0e30}}}
    study = small(arms=arms, differs={"optim.lr": "planted"}, tune=None, claims=None, seeds=2)
    document = make(study, tmp_path)
    states = [(row["arm"], row["state"]) for row in document["runs"]]
    assert states == [("vanilla", "complete"), ("wild", "diverged")] * 2
    assert document["arms"]["wild"]["scores"]["loss"] == [None, None]
    assert {c["verdict"] for c in document["comparisons"]} == {"diverged"}
    assert [c["asked"] for c in document["comparisons"]] == [["optim.lr"]] * len(document["comparisons"])
    assert "wild diverged in 2 of 2 seeds (0, 1)" in document["warnings"]
    assert "not finite" in document["runs"][1]["message"]
    seen: list[dict[str, Any]] = []
    again = make(study, tmp_path, tell=lambda event, facts: seen.append(facts) if event == "run" else None)
    assert numbers(again) == numbers(document)
    assert seen == []


def test_what_a_reader_should_hold_against_a_result_is_told(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    from lot_cli.study import conduct as module

    assert not [line for line in made.document["warnings"] if "edited" in line or "finite" in line]
    real, read = module.run_key, module.read_scores
    monkeypatch.setattr(module, "run_key", lambda config, numerics: real(config, numerics)[::-1])
    monkeypatch.setattr(module, "read_scores", lambda run, metrics: {**read(run, metrics), "loss": None})
    warnings = make(small(), made.folder)["warnings"]
    make_again = [line for line in warnings if line not in made.document["warnings"]]
    assert "code, or a file it reads, was edited while the study ran: some runs may have used either form" in make_again
    assert "vanilla, loss: not finite in 3 of 3 seeds" in make_again


def test_a_choice_at_the_edge_of_what_was_tried_is_told() -> None:
    from lot_cli.study.conduct import at_the_edge

    study = small(tune={"optim.lr": [1e-3, 1e-1, 1e-2], "train.decay": ["a", "b", "c"], "train.clip": [1, 2]})
    chosen = {"train.decay": "a", "train.clip": 2}
    assert at_the_edge(study, {"optim.lr": 1e-2, **chosen}) == []
    assert at_the_edge(study, {"optim.lr": 1e-1, **chosen}) == [
        "tuning chose the largest optim.lr that was tried, 0.1; the best may lie beyond"
    ]
    assert at_the_edge(study, {"optim.lr": 1e-3, **chosen})[0].startswith("tuning chose the least optim.lr")


def test_a_run_that_fails_otherwise_leaves_no_result_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small(tune=None, claims=None, seeds=2)
    original = sys.modules["lot.training.train"].train
    broken = True

    def train(config: Any, *arguments: Any, **options: Any) -> Any:
        if broken and config.seed == 1 and config.losses["cross_entropy"].options.label_smoothing:
            seen.append(1)
            if len(seen) == 1:
                raise RuntimeError("a plugin's mistake")
            if len(seen) == 2:
                raise RunFailed("storage failed") from OSError("no space")
            raise RunFailed("no compiled kernels")
        return original(config, *arguments, **options)

    seen: list[int] = []
    monkeypatch.setattr(sys.modules["lot.training.train"], "train", train)
    with pytest.raises(
        RunFailed, match="1 of 4 runs failed, so there is no result; smooth, seed 1: RuntimeError: a plugin"
    ):
        make(study, tmp_path)
    with pytest.raises(RunFailed, match="smooth, seed 1: storage failed"):
        make(study, tmp_path)
    with pytest.raises(RunFailed, match="smooth, seed 1: no compiled kernels"):  # which is no divergence
        make(study, tmp_path)
    assert not (tmp_path / "study.json").exists()
    broken = False
    assert len(make(study, tmp_path)["runs"]) == 4


def test_the_threads_of_a_run_are_those_of_the_study_whatever_the_process_has(tmp_path: Path, made: Made) -> None:
    config = made.document["arms"]["vanilla"]["config"]
    order = Order(key="k", label="x", config=config, run_dir=tmp_path / "k", may_test=True, threads=1, device="cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert execute(order).state == "complete"
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    facts = json.loads((tmp_path / "k" / "run.json").read_text())
    assert facts["fingerprint"]["threads"] == 1


# The commands


@pytest.fixture
def placed(made: Made, lot: Callable, tmp_path: Path) -> Path:
    """The file of the finished study, in a working folder that has its result."""
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "small").symlink_to(made.folder)
    return write(tmp_path / "small.yaml", SMALL)


def test_a_finished_study_is_reported_again_without_torch_or_scipy(placed: Path) -> None:
    code = (
        "import sys; from lot_cli.main import main; code = main(['study', 'small.yaml', '--report-only']);"
        "print(code, sorted({'torch', 'scipy', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=placed.parent, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "against vanilla" in done.stdout
    assert (placed.parent / "studies" / "small" / "report.html").exists()


def test_json_is_all_that_stdout_gets(placed: Path, lot: Callable, made: Made) -> None:
    done = lot("study", str(placed), "--report-only", "--json")
    assert json.loads(done.out) == json.loads((made.folder / "study.json").read_text())
    assert "against vanilla" in done.err


def test_a_changed_file_is_not_reported_from_an_old_result(placed: Path, lot: Callable) -> None:
    done = lot("study", str(write(placed, {**SMALL, "seeds": 4})), "--report-only")
    assert done.code == 2
    assert "the study file has changed since its result; run it without --report-only" in done.err


def test_an_unfinished_study_has_no_report(lot: Callable, tmp_path: Path) -> None:
    done = lot("study", str(write(tmp_path / "new.yaml", SMALL)), "--report-only")
    assert done.code == 2
    assert "no finished study there" in done.err


def test_a_study_belongs_to_one_process(lot: Callable, tmp_path: Path) -> None:
    from lot_cli.study.folder import held

    file = write(tmp_path / "small.yaml", SMALL)
    with held(tmp_path / "studies" / "small"):
        done = lot("study", str(file))
    assert done.code == 2
    assert "is in use by another process" in done.err


def test_compare_from_the_command_line_and_again_from_its_file(lot: Callable, tmp_path: Path) -> None:
    pytest.importorskip("lot_lattice")
    options = ["--attn", "vanilla,lattice", "--task", "copy_reverse", "--seeds", "2", "--metrics", "loss"]
    for section in ("task", "model", "train"):
        table = SMALL["base"][section]
        options += [w for k, v in table.items() if k != "name" for w in ("--set", f"{section}.{k}={v}")]
    options += ["--set", "model.heads=4", "--set", "model.layers=2"]
    done = lot("compare", *options, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["name"] == "copy_reverse-vanilla-lattice"
    assert document["command"].startswith(
        "lot compare --attn vanilla,lattice --task copy_reverse --seeds 2 --metrics loss"
    )
    assert [c["verdict"] for c in document["comparisons"]] == ["too few pairs"]
    again = lot("study", "studies/copy_reverse-vanilla-lattice/study.yaml", "--report-only", "--json")
    assert json.loads(again.out) == document
    options[options.index("--seeds") + 1] = "3"
    done = lot("compare", *options, "--json")  # more seeds go on from the runs there are
    more = json.loads(done.out)
    assert more["name"] == document["name"]
    assert more["arms"]["lattice"]["scores"]["loss"][:2] == document["arms"]["lattice"]["scores"]["loss"]
    assert "lattice, seed 2" in done.err
    assert "lattice, seed 1" not in done.err
    assert json.loads(lot("compare", *options, "--json", "--set", "optim.lr=0.002").out)["name"].endswith("-2")
    refused = lot("compare", *options, "--set", "optim.lr=fast")
    assert refused.code == 2
    assert "optim.lr: expected" in refused.err


# Registration


def test_registration_marks_every_deviation(placed: Path, lot: Callable, tmp_path: Path, made: Made) -> None:
    from lot_cli.study.design.registration import compare_with_registration, register

    study = small(hypotheses=["smoothing lowers the loss"])
    folder = tmp_path / "registered"
    assert compare_with_registration(study, folder) is None
    assert register(study, folder) == register(study, folder)
    found = compare_with_registration(study, folder)
    assert found is not None
    assert (found["hypotheses"], found["deviations"]) == (["smoothing lowers the loss"], [])

    changed = small(hypotheses=["smoothing lowers the loss"], seeds=4, metrics=["loss"])
    deviations = compare_with_registration(changed, folder)["deviations"]  # type: ignore[index]
    assert deviations == ["metrics: registered ['token_accuracy', 'loss'], now ['loss']", "seeds: registered 3, now 4"]
    with pytest.raises(BadInput, match="another form of this study was registered"):
        register(changed, folder)

    edited = json.loads((folder / "registration.json").read_text())
    edited["study"]["seeds"] = 4
    (folder / "registration.json").write_text(json.dumps(edited))
    assert compare_with_registration(study, folder)["deviations"][0].startswith("the registration was edited")  # type: ignore[index]


def test_registration_holds_the_code_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lot_cli.study.design import plan
    from lot_cli.study.design.registration import compare_with_registration, register

    study = small(hypotheses=["x"])
    register(study, tmp_path)
    assert compare_with_registration(study, tmp_path)["deviations"] == []  # type: ignore[index]
    real = plan.source_digest
    monkeypatch.setattr(plan, "source_digest", lambda name: "0" if name == "lot_tasks" else real(name))
    found = compare_with_registration(study, tmp_path)
    assert found is not None
    assert found["deviations"] == ["the code of lot_tasks was edited after the registration"]


def test_a_second_look_at_the_same_runs_is_told(tmp_path: Path) -> None:
    """Seeds that are added because a first result was not enough make errors more frequent than p says."""
    quick: dict[str, Any] = {"tune": None, "claims": None, "equivalence": {"loss": 1e6}, "metrics": ["loss"]}
    two = make(small(**quick, seeds=2), tmp_path)
    assert two["earlier"] == []
    five = make(small(**quick, seeds=5), tmp_path)
    assert five["earlier"] == []  # two seeds gave no verdict
    assert {c["verdict"] for c in five["comparisons"]} == {"equivalent"}
    again = make(small(**quick, seeds=5, question="or so?"), tmp_path)
    assert again["earlier"] == []  # the same look
    six = make(small(**quick, seeds=6), tmp_path)
    assert [(look["seeds"], look["metrics"]) for look in six["earlier"]] == [(5, ["loss"])]
    (line,) = [line for line in six["warnings"] if "judged" in line]
    assert line.startswith("some of these runs were judged in 1 earlier result, the last on 2")
    assert line.endswith("with 5 seeds of vanilla, smooth in loss: p allows for one look only")
    assert make(small(**quick, seeds=6), tmp_path)["earlier"] == six["earlier"]
    assert len(make(small(**{**quick, "metrics": ["token_accuracy", "loss"]}, seeds=6), tmp_path)["earlier"]) == 2
    assert make(small(**quick, seeds=[90, 91]), tmp_path)["earlier"] == []  # fresh runs


def test_registration_after_the_fact_is_told(lot: Callable, tmp_path: Path) -> None:
    from lot_cli.study.design.registration import compare_with_registration, register

    (tmp_path / "runs" / "a").mkdir(parents=True)  # begun is enough: its validation could be seen
    (tmp_path / "runs" / "side_by_side.json").write_text("1")
    study = small(hypotheses=["x"])
    register(study, tmp_path)
    found = compare_with_registration(study, tmp_path)
    assert found is not None
    assert found["deviations"] == ["1 run made before the registration"]


def test_registering_runs_nothing_and_wants_hypotheses(lot: Callable, tmp_path: Path) -> None:
    refused = lot("study", str(write(tmp_path / "a.yaml", SMALL)), "--register")
    assert refused.code == 2
    assert "hypotheses: expected to be stated before registration" in refused.err
    done = lot("study", str(write(tmp_path / "a.yaml", {**SMALL, "hypotheses": ["x"]})), "--register")
    assert done.code == 0
    assert sorted(path.name for path in (tmp_path / "studies" / "a").iterdir()) == ["registration.json"]


@pytest.mark.parametrize(
    ("fingerprints", "differ"),
    [
        ([{"torch": "2", "kernels": {}}, {"torch": "2", "kernels": {"lattice": "avx2"}}], False),
        ([{"torch": "2", "kernels": {"lattice": "PyTorch"}}, {"torch": "2", "kernels": {"lattice": "avx2"}}], True),
        ([{"torch": "2", "kernels": {}}, {"torch": "3", "kernels": {}}], True),
    ],
)
def test_numerics_differ_where_one_kernel_ran_in_two_forms_not_where_arms_have_other_kernels(
    fingerprints: list[dict[str, Any]], differ: bool
) -> None:
    from lot_cli.study.conduct import _differ

    assert _differ(fingerprints) is differ
