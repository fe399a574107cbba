"""Arms that cost alike: how many training steps each makes, counted by FLOPs or calibrated in time, once.

What was measured is kept in the folder of the study (`calibration.json`), and later calls and other machines use it:
a number of steps that changed with the load of a machine would make other runs of it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from lot.errors import BadInput
from lot.options.validate import structure, unstructure
from lot.storage.files import read_json, write_json
from lot_cli.study.analysis.cost import flops_per_token
from lot_cli.study.assemble import Checked
from lot_cli.study.design.check_fairness import Findings
from lot_cli.study.design.fairness import Paced
from lot_cli.study.design.file import merge
from lot_cli.study.design.matching import sibling_of, steps_for
from lot_cli.study.design.plan import Arm, digest, sources
from lot_cli.study.execution.calibrate import ROUNDS_EACH, Pair, Ratio, processes_for

FILE = "calibration.json"
"""What was measured, in the folder of a study."""
WIDEST = 0.03
"""The interval of a ratio may reach so far from it, relatively; steps are not set by one that is wider."""

KINDS = ("cpu", "cuda", "mps")
"""Devices whose calibration a plan looks for: it does not know where the study will run."""

Measure = Callable[[Sequence[Arm], Sequence[Pair]], dict[Pair, Ratio]]


@attrs.frozen(kw_only=True)
class Calibration:
    """The ratio of two arms as it was measured. The key of an entry says of which configurations, code and device."""

    arm: str
    against: str
    ratio: float
    low: float
    high: float
    rounds: int
    processes: int = 1  # in which the rounds were made; older files do not say it, and were measured in one
    date: str  # ISO 8601, UTC
    machine: str


def pace(checked: Checked, folder: Path, device: str, machine: str, measure: Measure) -> Checked:
    """The study with every number of steps set that follows from what a step costs, and with the siblings of its arms.

    device: its type. machine: its name, for people. measure: called once for all pairs that were not measured before.
    Raises BadInput where an interval is too wide; nothing has been made then.
    """
    budget = checked.study.matching.budget
    known = {arm.name: arm for arm in checked.arms}
    followers = [arm.name for arm in checked.arms if arm.name != checked.reference]
    pairs: list[Pair] = [(name, checked.reference) for name in followers] if budget == "time" else []
    asked = checked.asked if checked.study.equal_time else []
    pairs += [(against, arm) for arm, against in asked]
    found = _calibrated(checked, known, pairs, folder, device, machine, measure)

    findings = checked.findings
    base = known[checked.reference].config(0).train.steps
    if budget == "flops":
        counted = {name: flops_per_token(arm.config(0)) for name, arm in known.items()}
    for name in followers if budget != "steps" else []:
        if budget == "time":
            paced = _timed(found[name, checked.reference], base)
        else:
            ratio = counted[name] / counted[checked.reference]
            steps = steps_for(base, ratio)
            paced = Paced(arm=name, against=checked.reference, by="flops", ratio=ratio, steps=steps, against_steps=base)
        known[name] = with_steps(known[name], paced.steps)
        findings.paced.append(paced)
    siblings = []
    for arm, against in asked:
        paced = _timed(found[against, arm], known[arm].config(0).train.steps)
        paced = attrs.evolve(paced, arm=sibling_of((arm, against)), sibling=True)
        findings.paced.append(paced)
        siblings.append(attrs.evolve(with_steps(known[against], paced.steps), name=paced.arm))
        _vouch(findings, paced, against)
    if (budget == "time" or asked) and any(path.startswith(("attn.", "embed.")) for path in checked.study.tune):
        findings.warnings.append(
            "time was calibrated with each arm as the file has it; a tuned option of attention or embedding may change it"
        )
    return attrs.evolve(checked, arms=[*known.values(), *siblings])


def steps_so_far(checked: Checked, folder: Path) -> dict[str, int | None]:
    """Name -> steps of every arm whose number of steps is set, for a plan; None where time is still to be measured."""
    known = {arm.name: arm for arm in checked.arms}
    steps: dict[str, int | None] = {name: arm.config(0).train.steps for name, arm in known.items()}
    table, budget, reference = _read(folder), checked.study.matching.budget, checked.reference
    base = known[reference].config(0).train.steps

    def timed(first: str, second: str, of_second: int | None) -> int | None:
        keys = (_key([known[first], known[second]], [kind, checked.study.threads]) for kind in KINDS)
        row = next((table[key] for key in keys if key in table), None)
        return None if row is None or of_second is None else steps_for(of_second, row.ratio)

    followers = [name for name in known if name != reference] if budget != "steps" else []
    counted = {name: flops_per_token(arm.config(0)) for name, arm in known.items()} if budget == "flops" else {}
    for name in followers:
        ratio = counted[name] / counted[reference] if counted else 0.0
        steps[name] = steps_for(base, ratio) if counted else timed(name, reference, base)
    asked = checked.asked if checked.study.equal_time else []
    siblings = {sibling_of((arm, against)): timed(against, arm, steps[arm]) for arm, against in asked}
    return {**{name: steps[name] for name in followers}, **siblings}


def with_steps(arm: Arm, steps: int) -> Arm:
    """The arm with another number of training steps, over which its learning rate runs."""
    return attrs.evolve(arm, tree=merge(arm.tree, {"train": {"steps": steps}}))


def _calibrated(
    checked: Checked,
    arms: Mapping[str, Arm],
    pairs: Sequence[Pair],
    folder: Path,
    device: str,
    machine: str,
    measure: Measure,
) -> dict[Pair, Calibration]:
    """The calibration of each pair, measured where the folder has none. Raises BadInput where one is too wide."""
    if not pairs:
        return {}
    table = _read(folder)
    facts = [device, checked.study.threads]
    keys = {pair: _key([arms[name] for name in pair], facts) for pair in pairs}
    missing = [pair for pair in dict.fromkeys(pairs) if keys[pair] not in table]
    if missing:
        names = dict.fromkeys(name for pair in missing for name in pair)
        measured = measure([arm for arm in arms.values() if arm.name in names], missing)
        processes = processes_for(checked.study.timing_rounds)
        for pair, ratio in measured.items():
            _refuse_wide(pair, ratio, checked.study.timing_rounds)
            table[keys[pair]] = Calibration(
                arm=pair[0],
                against=pair[1],
                ratio=ratio.value,
                low=ratio.low,
                high=ratio.high,
                rounds=ROUNDS_EACH * processes,
                processes=processes,
                date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                machine=machine,
            )
        write_json(folder / FILE, {key: unstructure(each) for key, each in table.items()})
    # Names may have changed since it was measured.
    return {pair: attrs.evolve(table[keys[pair]], arm=pair[0], against=pair[1]) for pair in pairs}


def _key(arms: Sequence[Arm], facts: Sequence[Any]) -> str:
    """The address of a calibration: both configurations, the code of both, and what else a step depends on."""
    configs = [{**arm.config(0).to_dict(), "seed": None} for arm in arms]
    return digest([configs, sources(arms), list(facts)])[:16]


def _refuse_wide(pair: Pair, ratio: Ratio, rounds: int) -> None:
    off = max(ratio.high / ratio.value - 1, 1 - ratio.low / ratio.value)
    if off > WIDEST:
        raise BadInput(
            f"a step of {pair[0]} takes {ratio.value:.3g} [{ratio.low:.3g}, {ratio.high:.3g}] times that of {pair[1]}",
            where="equal time",
            expected=f"an interval within {WIDEST:.0%}",
            got=f"{off:.1%} over {ROUNDS_EACH * processes_for(rounds)} rounds in {processes_for(rounds)} processes",
            fix=f"let nothing else run on this machine, or give timing_rounds: {4 * rounds}",
        )


def _read(folder: Path) -> dict[str, Calibration]:
    """What was measured in the folder. Raises BadInput where the file is damaged."""
    path = folder / FILE
    fix = "remove it: time is then measured again, and runs of other steps are made again"
    try:
        content: dict[str, Any] = read_json(path) or {}
        return {key: structure(Calibration, each, "") for key, each in content.items()}
    except (ValueError, AttributeError, BadInput) as error:
        raise BadInput(f"{path}: damaged ({error})", fix=fix) from None


def _timed(row: Calibration, steps: int) -> Paced:
    return Paced(
        arm=row.arm,
        against=row.against,
        by="time",
        ratio=row.ratio,
        low=row.low,
        high=row.high,
        steps=steps_for(steps, row.ratio),
        against_steps=steps,
        rounds=row.rounds,
        processes=row.processes,
        machine=f"{row.machine}, {row.date[:10]}",
    )


def _vouch(findings: Findings, paced: Paced, original: str) -> None:
    """Write down of a sibling what was found of the arm that it is made of."""
    matched = next(each for each in findings.matched if each.arm == original)
    findings.matched.append(attrs.evolve(matched, arm=paced.arm))
    if original in findings.initial:  # the reference is left out
        findings.initial[paced.arm] = findings.initial[original]
    if original in findings.unfair:
        findings.unfair.add(paced.arm)
    if original in findings.leaks:
        findings.leaks.append(paced.arm)
