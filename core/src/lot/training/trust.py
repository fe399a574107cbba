"""What a run may say of its model: measured at its start, at validations and before its test, and recorded.

Here it is decided when a probe is made and what follows from it; how one is made is in `probe.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from lot.errors import BadInput, RunFailed
from lot.runs.directory import RunDir
from lot.training.compose import Composition
from lot.training.finding import Finding, worst
from lot.training.module_state import ModuleState
from lot.training.parallel import Parallel
from lot.training.probe import LeakProbe

PART = 8
"""Sequences, at most, of which a probe at a validation is made."""


class Trust:
    """Whether the model of a run sees what it is asked to predict, and whether it remembers, as far as it was measured.

    Every process of a team has one, and they go in step.
    """

    def __init__(
        self, composition: Composition, parallel: Parallel, precision: str, run: RunDir, warn: Callable[[str], None]
    ) -> None:
        self.composition, self.parallel, self.team, self.run = composition, parallel, parallel.team, run
        self.config, self.task, self._warn = composition.config, composition.task, warn
        self.probe = LeakProbe(composition, parallel, precision)
        self.memory: list[str] = []
        self._asked_memory = False
        self._found: Finding | None = None
        self._written: dict[str, Any] = {}

    @property
    def leak(self) -> bool:
        """Whether the model sees what it is asked to predict: by what its attentions declare, or as measured."""
        return self.composition.leak or (self._found is not None and self._found.status == "leak")

    def facts(self) -> dict[str, Any]:
        """What run.json and metrics.json say."""
        status = {"status": "not probed"} if self._found is None else self._found.as_dict()
        return {"leak": self.leak, "leak_probe": status}

    # When

    def before_training(self, step: int, resumed: bool, last_good: Callable[[], str]) -> None:
        """Probe a full batch, every place of a cut, and the gradient.

        Raises BadInput where a run would begin with a leak, RunFailed where one was `resumed`.
        """
        if resumed:
            self._recall()
        self._judge(self._look(step, thorough=True), last_good, started=resumed)

    def at_validation(self, step: int, last_good: Callable[[], str]) -> None:
        """Probe a part of a batch, and the first time what it leaves behind in the model. Raises RunFailed for a leak."""
        size = min(PART, self.config.train.batch_size)
        batch = self.task.batch("validation", 0, size, self.team.device)
        if self._asked_memory:
            self._judge(self.probe.look(batch, step, full=False, thorough=False), last_good)
            return
        self._asked_memory = True
        found, remembered = self.probe.look_and_remember(batch, step)
        self._judge(found, last_good)
        self._tell_memory(remembered, "carried from one batch to the next")

    def before_test(self, step: int, last_good: Callable[[], str]) -> None:
        """Probe the weights that are to be tested on a full batch, as after `step`. Raises RunFailed for a leak."""
        self._judge(self._look(step, thorough=False), last_good)

    @contextlib.contextmanager
    def evaluation(self) -> Iterator[None]:
        """A context in which the model is evaluated; buffers that this changes are told, once."""
        state = None if self.memory else ModuleState(self.parallel.model)
        yield
        if state is not None:
            self._tell_memory(state.changed(buffers_only=True), "changed by an evaluation")

    # What follows

    def _look(self, step: int, *, thorough: bool) -> Finding:
        """A probe of the first batch of the training step after `step`, of which each process has its share."""
        s = self.config.train
        batch = self.task.batch("train", step * s.accumulate, s.batch_size, self.team.device)
        return self.probe.look(self.team.sequences(batch), step, full=True, thorough=thorough)

    def _judge(self, found: Finding, last_good: Callable[[], str], *, started: bool = True) -> None:
        """Take in what a probe found; stop where it may not be."""
        stops = found.status in ("leak", "not_repeatable") and not self.config.allow_leak
        if stops and not started:
            raise self._refusal(found)
        before = self._found
        self._found = found if before is None else worst([before, found])
        if self._found.calm:
            self._found = replace(self._found, step=found.step)
        self._write()
        if stops:
            raise RunFailed(f"stopped at step {found.step}: {found.text}; {last_good()}")
        news = before is None or before.status != self._found.status
        if found.text and news and not self.composition.leak:
            self._warn(found.text + ("; the run is marked as leaking" if self.leak else ""))

    def _refusal(self, found: Finding) -> BadInput:
        where = ""
        if found.layer in self.config.attentions:
            where = self.config.path_of("attn", found.layer)
        elif found.layer == "embedding":
            where = "embed"
        fix = (
            "make it causal and independent of other sequences (lot plugins check shows more), "
            "or set allow_leak=true to run it anyway, marked as leaking"
        )
        if found.status == "not_repeatable":
            fix = "let all noise come from torch's generator, or from one keyed by ctx.step; allow_leak=true runs it anyway"
        return BadInput(found.text, where=where, fix=fix)

    def _tell_memory(self, names: list[str], what: str) -> None:
        if names and not self.memory:
            self.memory = names
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            self._warn(
                f"the model remembers ({', '.join(names[:3])}{more}: {what}), "
                f"so that a metric depends on what was seen before it"
            )
            self._write()

    # What is recorded

    def record(self) -> dict[str, Any]:
        """What run.json says: `facts`, and what the model remembers."""
        return {**self.facts(), "memory": self.memory}

    def _write(self) -> None:
        """Bring run.json up to date, once it is there, where what it says has changed."""
        record = self.record()
        if self._written and record != self._written:
            self.team.lead(lambda: self.run.update_facts(record))
            self._written = record

    def recorded(self) -> None:
        """run.json was written with `record` in it, or is there from before."""
        self._written = self.record()

    def _recall(self) -> None:
        """What the run had found before it was resumed."""
        facts = self.team.lead(self.run.facts)
        self.memory = list(facts.get("memory") or [])
        earlier = facts.get("leak_probe") or {}
        if "largest" in earlier:
            self._found = Finding(**earlier)
        self.recorded()
