"""What is said of a run: how far it came, what was measured and how, and how it is repeated. Imports no torch."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from statistics import median
from typing import Any

from lot.config.compare import leaves
from lot_cli.recorded.configuration import options, shown
from lot_cli.recorded.curves import course, is_drawable
from lot_cli.recorded.facts import RunFacts, at, table
from lot_cli.terminal.numbers import binary_bytes, compact, count, duration, number

STATES = {
    "complete": ("done", "The run is complete."),
    "running": ("going", "The run is still training: what follows is how far it has come."),
    "interrupted": ("stopped", "The run is unfinished: it was interrupted, and saved itself first."),
    "killed": ("stopped", "The run is unfinished: its process ended without a word."),
    "unknown": ("stopped", "The run is unfinished; its status.json is damaged, and does not say why."),
    "failed": ("stopped", "The run is unfinished: it failed."),
}
"""State -> its class in the page, and what it means."""
PROBES = {
    "passed": "A probe of the trained model found no leak: no prediction changes with a later token or another sequence.",
    "rounding": "A probe for leaks found differences as small as rounding makes them, and no leak.",
    "leak": "LEAK: a probe found that predictions change with what is to be predicted.",
    "not_causal_task": "The task is not causal: a probe found that no sequence of a batch changes the prediction of another.",
    "not_finite": "A probe for leaks could tell nothing: the logits were no numbers.",
    "not_repeatable": "A probe for leaks could tell nothing: equal passes of the model differ.",
    "not probed": "No probe for leaks was made.",
}


def title(facts: RunFacts) -> str:
    """What a run is called: the last parts of its path."""
    path = facts.path.resolve()
    return f"{path.parent.name}/{path.name}" if path.name.startswith("version_") else path.name


def summary(facts: RunFacts) -> str:
    """What was trained on what, in a line."""
    known = facts.sizes
    sizes = [] if known is None else [f"{known.layers} layers", f"{known.heads} heads", f"width {known.width}"]
    parameters, resting = facts.record.get("parameters"), facts.record.get("resting")
    if isinstance(parameters, int):
        beside = f" that train and {resting:,} that do not" if isinstance(resting, int) else ""
        sizes.append(f"{parameters:,} parameters{beside}")
    sizes += [f"seed {facts.setting('seed')}"] if facts.setting("seed") is not None else []
    where = "" if known is None or known.slots is None else f" in {_layers(known.slots)}"
    return ", ".join([f"{mechanism(facts)}{where} on {facts.setting('task', 'name') or 'an unknown task'}", *sizes])


def _layers(slots: Sequence[int]) -> str:
    """Layers in words: `layer 3`, `layers 1, 2`, `no layer`."""
    return f"layer{'s' if len(slots) > 1 else ''} {', '.join(map(str, slots))}" if slots else "no layer"


def mechanism(facts: RunFacts) -> str:
    """The names of the attentions of a run, or else that of its model."""
    others = table(facts.setting("attn", "layers")).values()
    names = [facts.setting("attn", "name"), *(at(other, "name") for other in others)]
    told = " and ".join(dict.fromkeys(str(name) for name in names if name))
    return told or str(facts.setting("model", "name") or "an unknown model")


def progress(facts: RunFacts) -> str:
    """How many steps were made, and when the run was last heard of."""
    logged = facts.rows[-1]["step"] if facts.rows else 0
    made, wanted = facts.status.get("step") or logged, facts.status.get("steps") or facts.setting("train", "steps")
    steps = f"step {made:,}" + (f" of {wanted:,}" if isinstance(wanted, int) else "")
    updated = facts.status.get("updated")
    return steps + (f", {updated.replace('T', ' ').partition('+')[0]} UTC" if updated else "")


def go_on(facts: RunFacts) -> str | None:
    """The command by which an unfinished run goes on."""
    if facts.state in ("complete", "running"):
        return None
    return f"lot run --resume --run-dir {shlex.quote(str(facts.path))}"


def measured(facts: RunFacts) -> Iterator[str]:
    """What the metrics are metrics of, and what the run found out about itself, a line each."""
    result = facts.result
    if result is not None:
        split, steps = result.get("split"), result.get("steps")
        weights = (
            f"the {result.get('weights') or 'best'} weights, of step {_plain(result.get('step'))} of {_plain(steps)}"
        )
        if split == "test":
            yield f"Measured on the test split, which nothing had read before, with {weights}; validation chose them."
        else:
            yield f"Measured on the {_plain(split)} split with {weights}. The test split was not read."
    else:
        yield "There is no final result: the metrics are those of the last validation. The test split was not read."
    if repeats := facts.record.get("repeats"):
        yield f"Its splits are not wholly apart: {repeats}."
    probe = table(facts.record.get("leak_probe")) or table((result or {}).get("leak_probe"))
    status = str(probe.get("status") or "not probed")
    line = PROBES.get(status, f"The probe for leaks says: {status}.")
    if is_drawable(probe.get("largest")) and status != "not probed":
        line += f" Largest difference {number(probe['largest'])}, relative to the largest logit; step {_plain(probe.get('step'))}."
    yield line
    if facts.leak and status != "leak":
        yield "LEAK: the run declares that its model sees what it is asked to predict."
    if facts.setting("train", "neutral") is True:
        yield "The mechanism was held neutral: attention computed what vanilla attention computes."
    parent = table(facts.record.get("parent"))
    if parent:
        yield f"It goes on from step {_plain(parent.get('step'))} of {_plain(parent.get('path'))}."
    if begun := table(facts.record.get("init_from")):
        yield f"Its initial weights come from {_plain(begun.get('path'))}."


def warnings(facts: RunFacts) -> Iterator[str]:
    """What a reader should hold against the run, a line each."""
    yield from facts.problems
    memory = facts.record.get("memory")
    if isinstance(memory, list) and memory:
        names = ", ".join(map(str, memory[:5])) + (f" and {len(memory) - 5} more" if len(memory) > 5 else "")
        yield f"The model remembers ({names}), so that a metric depends on what was seen before it."
    if table(facts.record.get("parent")).get("tested") is True:
        yield "The run that it goes on from had been tested: its test is on unseen data only if that result did not lead here."
    lost = [name for name, value in final_metrics(facts)[0].items() if value is None]
    if lost:
        yield f"{' and '.join(lost)} {'is' if len(lost) == 1 else 'are'} not finite."
    best, steps = (facts.result or {}).get("step"), (facts.result or {}).get("steps")
    if best == steps and isinstance(steps, int) and steps > 0 and facts.result is not None:
        yield "The last validation was the best one: the model was still improving, and more steps may take it further."
    unread = [row["step"] for row in facts.rows if row.get("split") == "train" and row.get("loss", 0.0) is None]
    if unread:
        yield f"The training loss was not finite in {count(len(unread), 'row')} of the log, first at step {unread[0]:,}."


def final_metrics(facts: RunFacts) -> tuple[dict[str, Any], str]:
    """The metrics to show, and what they are of: the final ones, or else those of the last validation."""
    if facts.result is not None:
        return facts.result["metrics"], str(facts.result.get("split") or "")
    rows = [row for row in facts.rows if row.get("split") == "validation"]
    if not rows:
        return {}, ""
    return {
        key: value for key, value in rows[-1].items() if key not in ("step", "split")
    }, f"validation, step {rows[-1]['step']:,}"


def commands(facts: RunFacts) -> Iterator[tuple[str, str]]:
    """What the run was started with, and what repeats it from its folder alone, as pairs of heading and command."""
    words = facts.record.get("command")
    if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
        program = PurePath(words[0])
        ours = program.name == "lot" or program.parts[-2:] == ("lot_cli", "__main__.py")
        yield "As it was started", shlex.join(["lot", *words[1:]] if ours else ["python", *words])
    again = ["lot", "run", "--config", str(facts.path / "config.yaml"), *_places(facts), "--name", "again"]
    if begun := table(facts.record.get("init_from")):
        again += ["--init-from", str(begun.get("path"))]
        only = begun.get("only")
        again += [word for part in (only if isinstance(only, list) else ()) for word in ("--only", str(part))]
    if not facts.record.get("parent"):
        yield _beginning(facts), shlex.join(again)


def _beginning(facts: RunFacts) -> str:
    """What the run needs to be made again."""
    places = [str(place) for file in _read(facts).values() if (place := at(file, "path"))]
    if begun := table(facts.record.get("init_from")):
        places.append(str(begun.get("path")))
    if places:
        return f"From this folder, and what the run read: {', '.join(dict.fromkeys(places))}"
    prints = table(facts.record.get("fingerprint"))
    needs = [
        what for what, key in (("the data of its task", "data"), ("the files of its model", "model")) if prints.get(key)
    ]
    return f"From this folder, and {' and '.join(needs)}" if needs else "From this folder alone"


def _places(facts: RunFacts) -> Iterator[str]:
    """Options that name what the run read by where it was, since a path in config.yaml is relative to where LOT is called."""
    for option, file in _read(facts).items():
        place, given = at(file, "path"), at(facts.tree, *option.split("."))
        if isinstance(place, str) and isinstance(given, str) and given != place:
            yield from ("--set", f"{option}={json.dumps(place)}")


def _read(facts: RunFacts) -> dict[str, Any]:
    """The files that the run began with, by the option that names them."""
    return table(facts.record.get("files"))


def environment(facts: RunFacts) -> Iterator[tuple[str, str]]:
    """What the run ran on, and how fast it was."""
    recorded = table(facts.record.get("environment"))
    for key in ("device", "torch", "cuda", "python", "system"):
        if recorded.get(key):
            yield key, str(recorded[key])
    for name, package in table(recorded.get("plugins")).items():
        commit = at(package, "commit")
        yield str(name), str(at(package, "version") or "?") + (f" ({commit})" if commit else "")
    prints = table(facts.record.get("fingerprint"))
    if told := {key: value for key, value in prints.items() if key not in ("torch", "device", "data")}:
        yield "bits depend on", options(leaves(told))
    for name, file in _read(facts).items():
        yield f"{'file' if at(file, 'sha256') else 'from'} {name}", _file(file)
    yield from _speed(facts)


def _file(file: Any) -> str:
    """Place, digest and size of what a run read."""
    kind = "sha256" if at(file, "sha256") else "digest"
    size, number = at(file, "bytes"), at(file, "files")
    told = [_plain(at(file, "path")), f"{kind} {_plain(at(file, kind))}"]
    told += [f"{number:,} files"] if isinstance(number, int) and number != 1 else []
    told += [f"{size:,} bytes"] if isinstance(size, int) else []
    return ", ".join(told)


def _speed(facts: RunFacts) -> Iterator[tuple[str, str]]:
    if spent := course(facts.timing, "seconds").values:
        yield "training time", duration(sum(spent))
    if rates := course(facts.timing, "tokens_per_second").values:
        yield "speed", f"{compact(median(rates))} tokens per second (median)"
    if peaks := course(facts.timing, "peak_memory_bytes").values:
        yield "peak memory", binary_bytes(max(peaks))


def asked(evaluation: dict[str, Any], usual: dict[str, Any]) -> str:
    """What `lot eval` was asked for. usual: the task of the run."""
    task = table(evaluation.get("task"))
    parts = [f"{_plain(evaluation.get('split'))}, step {_plain(evaluation.get('step'))}", str(task.get("name") or "")]
    if isinstance(task.get("seq_len"), int):
        parts.append(f"length {task['seq_len']:,}")
    if task.get("name") == usual.get("name"):
        known = dict(leaves(usual))
        parts += [
            f"{option} {shown(value)}"
            for option, value in leaves(task)
            if option != "seq_len" and known.get(option) != value
        ]
    if isinstance(evaluation.get("examples"), int):
        parts.append(f"{evaluation['examples']:,} examples")
    if isinstance(read := evaluation.get("read"), str):
        parts.append(f"data {read}")
    return ", ".join(part for part in parts if part)


def of_lm_eval(answer: dict[str, Any]) -> tuple[str, str]:
    """A task that `lot harness` asked, and how."""
    shots = answer.get("num_fewshot")
    parts = [
        f"step {_plain(answer.get('step'))}",
        f"{_plain(answer.get('examples'))} of {_plain(answer.get('of'))} examples",
    ]
    parts += [f"{_plain(shots)} in each prompt"] if shots else []
    return _plain(answer.get("task")), ", ".join(parts)


def lm_eval_metric(name: str) -> str:
    """A metric of lm_eval for people: `acc` for `acc,none`, and `exact_match (strict)` where a filter has a name."""
    name, _, filtered = name.partition(",")
    return name if filtered in ("", "none") else f"{name} ({filtered})"


def look(label: str) -> str:
    """What `lot diagnose` was asked for, out of the name of its folder."""
    found = re.fullmatch(r"step_0*(\d+)-(\w+)(-.*)?", label)
    return f"step {found[1]}, {found[2]}{', other options' if found[3] else ''}" if found else label


def _plain(value: Any) -> str:
    return "?" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
