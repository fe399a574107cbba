"""Answers a question in a process of its own.

Where memory comes to lie, and what else a process begins with, makes the same code a few percent faster or slower for as long
as the process lives. Repeats in one process all have it alike, so an interval over them leaves it out; repeats in several
processes do not.
"""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

from lot.errors import BadInput, LotError, RunFailed


def ask_new_process(module: str, question: Mapping[str, Any], threads: int | None = None) -> Any:
    """What `answer(question)` of the module returns in a new process; both are of what pickle can hold.

    threads: CPU threads that libraries of the process begin with; None: what they choose.
    Raises BadInput and RunFailed as the module does, and RunFailed where the process ends without an answer; what the process
    said is a note of them, which `lot --debug` shows.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, module, str(os.getpid())],
        input=pickle.dumps(question),
        capture_output=True,
        env=environment,
        check=False,
    )
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode or not done.stdout:
        last = (said.splitlines() if done.returncode else [])[-1:] or [f"exit code {done.returncode}"]
        failed: LotError = RunFailed(f"a process that measures ended without an answer: {last[0]}")
        failed.add_note(said)
        raise failed
    answer = pickle.loads(done.stdout)
    if "found" in answer:
        return answer["found"]
    failed = (BadInput if answer["refused"] else RunFailed)(answer["message"])
    failed.add_note(said)
    raise failed


def _main() -> None:
    """Answer the question on stdin; whatever the module prints goes to stderr."""
    _watch(int(sys.argv[2]))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    question = pickle.load(sys.stdin.buffer)
    try:
        answer = {"found": importlib.import_module(sys.argv[1]).answer(question)}
    except LotError as error:
        traceback.print_exc()
        answer = {"refused": isinstance(error, BadInput), "message": str(error)}
    with answers:
        pickle.dump(answer, answers)


def _watch(parent: int) -> None:
    """End this process when the one that asked is gone, so that nothing measures on for nobody."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    _main()
