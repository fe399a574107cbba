"""The checks of a recorder: it takes the rows of a run, goes on with a resumed one, and disturbs nothing."""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lot.contracts import Recorder, Recording
from lot.errors import BadInput
from lot.testing.case import Case, CheckFunction
from lot.testing.failure import KitFailure, NotApplicable, require
from lot.testing.generators import untouched_generators

LOG = "metrics.jsonl"
CONFIG: Mapping[str, Any] = {
    "seed": 3,
    "task": {"name": "copy_reverse", "path": None},
    "train": {"steps": 40, "clip": 1.0, "betas": [0.9, 0.98]},
    "recorders": {"tensorboard": None},
}
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c48900"
    "00000b49444154789c6360000200000500017a5eab3f0000000049454e44ae426082"
)
"""A picture of one transparent pixel."""
Row = tuple[str, int, dict[str, float]]


def _rows(first: int, last: int) -> list[Row]:
    """What a run writes at the steps from `first` to `last`, 10 apart."""
    rows: list[Row] = []
    for step in range(first, last + 1, 10):
        rows.append(("train", step, {"lr": 1e-3, "loss": 2.0 / step, "grad_norm": math.nan if step == 20 else 1.0}))
        rows.append(("speed", step, {"tokens_per_second": 1e4}))
        rows.append(("lot-lattice:order_parameter", step, {"R": 0.5, "late": 1.0} if step > 10 else {"R": 0.5}))
        rows.append(("validation", step, {"loss": 2.0, "exact_match": 0}))
    return rows


def counted(rows: list[Row]) -> int:
    """The rows of a log among them: a speed goes with the row before it."""
    return sum(group != "speed" for group, _, _ in rows)


def recorder_of(case: Case) -> Recorder:
    """The recorder. Raises NotApplicable where it refuses to be made here, as without its package."""
    try:
        recorder = case.build()
    except BadInput as error:
        raise NotApplicable(f"it cannot be made here: {error}") from None
    if not isinstance(recorder, Recorder):
        raise KitFailure("factory", expected="a lot.Recorder", got=type(recorder).__name__)
    return recorder


@dataclass
class Session:
    """What a run does with a recorder, in a folder of its own. kept: what stays between two sessions."""

    folder: Path
    kept: dict[str, Any] = field(default_factory=dict)

    def run(
        self, recorder: Recorder, rows: list[Row], state: str, *, resumed: bool = False, before: int = 0, given: int = 0
    ) -> int:
        """Open, write, and close as the engine does, in a thread; what `open` returned."""
        step = rows[0][1] - 10
        recording = Recording(
            self.folder, "kit/version_0", dict(CONFIG), False, step, resumed, before, given, self.kept
        )
        held: list[Any] = []
        failed: list[BaseException] = []

        def work() -> None:
            try:
                held.append(recorder.open(recording))
                for group, at, values in rows:
                    recorder.write(group, at, dict(values))
                recorder.flush()
                if state == "complete":
                    recorder.picture("lot-lattice:order_parameter", rows[-1][1], PNG)
                    recorder.result("test", rows[-1][1], {"loss": 2.0, "perplexity": math.nan})
                recorder.close(state)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        require(
            isinstance(held[0], int) and not isinstance(held[0], bool) and held[0] >= 0,
            "open",
            expected="the number of rows that it holds",
            got=repr(held[0]),
        )
        return int(held[0])


@contextlib.contextmanager
def _session(case: Case) -> Iterator[Session]:
    if recorder_of(case).final and not case.live:
        raise NotApplicable(
            "what it is given stays where it sends it; lot.testing.check_recorder(component, live=True) opens it"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / LOG).write_text('{"step": 10}\n')
        yield Session(folder)


def builds(case: Case) -> None:
    """The factory gives a recorder, and one that was never opened closes in silence."""
    recorder_of(case).close("failed")


def records(case: Case) -> None:
    """It takes what a run gives it, to the end, and a new run begins without any row."""
    with _session(case) as session:
        held = session.run(recorder_of(case), _rows(10, 40), "complete")
        require(held == 0, "open of a new run", expected="0 rows that are held", got=held)


def resumes(case: Case) -> None:
    """A run that was stopped goes on: it holds the rows before it, or asks for them; a final one counts what it was given."""
    with _session(case) as session:
        first, before = _rows(10, 30), counted(_rows(10, 20))
        session.run(recorder_of(case), first, "interrupted")
        recorder, given = recorder_of(case), counted(first)
        held = session.run(
            recorder, _rows(30, 40), "complete", resumed=True, before=before, given=given if recorder.final else 0
        )
        if recorder.final:
            require(
                held == given,
                "open of a resumed run",
                expected=f"recording.given, {given}, for it is final",
                got=held,
                cause="a recorder that cannot take back what came after the checkpoint, and counts anew",
            )
        else:
            require(
                held <= before,
                "open of a resumed run",
                expected=f"at most the {before} rows of the log: later ones are dropped and written again",
                got=held,
            )


def starts_again(case: Case) -> None:
    """A run that was killed before its first checkpoint begins again in its folder."""
    with _session(case) as session:
        first = _rows(10, 20)
        session.run(recorder_of(case), first, "failed")
        recorder, given = recorder_of(case), counted(first)
        held = session.run(recorder, _rows(10, 40), "complete", given=given if recorder.final else 0)
        expected = given if recorder.final else 0
        require(held == expected, "open of a run that begins again", expected=f"{expected} rows", got=held)


def harmless(case: Case) -> None:
    """It draws from no global generator, prints nothing to stdout, and leaves the log of the run alone."""
    with _session(case) as session:
        printed = io.StringIO()
        with untouched_generators("a session"), contextlib.redirect_stdout(printed):
            session.run(recorder_of(case), _rows(10, 20), "complete")
        require(
            printed.getvalue() == "",
            "stdout",
            expected="nothing, for a program may read a result from it",
            got=repr(printed.getvalue()[:80]),
        )
        left = (session.folder / LOG).read_text()
        require(left == '{"step": 10}\n', LOG, expected="as it was", got="changed")


RECORDER_CHECKS: dict[str, CheckFunction] = {
    "builds": builds,
    "records": records,
    "resumes": resumes,
    "starts again": starts_again,
    "harmless": harmless,
}
