"""Answers a question in a process of its own.

Where memory comes to lie, and what else a process begins with, makes the same code a few percent faster or slower for as long
as the process lives. Repeats in one process all have it alike, so an interval over them leaves it out; repeats in several
processes do not.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from lot.errors import BadInput, LotError, RunFailed


def ask_new_process(module: str, question: Mapping[str, Any], threads: int | None = None) -> Any:
    """What `answer(question)` of the module returns in a new process; both are of what JSON can hold.

    threads: CPU threads that libraries of the process begin with; None: what they choose.
    Raises BadInput for what the module refuses, and RunFailed where the process ends otherwise.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, module],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RunFailed(f"a process that measures ended without an answer: {said}")
    answer = json.loads(done.stdout)
    if "refused" in answer:
        raise BadInput(answer["refused"])
    return answer["found"]


def _main() -> None:
    """Answer the question on stdin; whatever the module prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    question = json.load(sys.stdin)
    try:
        answer = {"found": importlib.import_module(sys.argv[1]).answer(question)}
    except LotError as error:
        answer = {"refused": str(error)}
    with answers:
        json.dump(answer, answers)


if __name__ == "__main__":
    _main()
