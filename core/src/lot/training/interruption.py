"""Being told to stop: a signal is noted, and the loop acts on it at the next step boundary.

A step of a huge batch takes minutes, and so may what comes before the first one; the handler itself runs only between two
instructions of Python. A thread therefore watches for SIGTERM too, and ends the process where the boundary does not come.
Nothing is lost by that but the steps since the last checkpoint: a run may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 10.0
"""Seconds after SIGTERM in which the loop must come to a boundary; twice the duration of a step where that is more."""


class StopSignal:
    """While active, the first SIGINT or SIGTERM is noted in `number` (else 0); a second SIGINT interrupts at once.

    give_up: called in a thread of its own before the process ends, where SIGTERM came and no boundary did; set by whoever
    has something to say.
    """

    def __init__(self) -> None:
        self.number = 0
        self.give_up: Callable[[int], None] = lambda number: None
        self._before: dict[int, Any] = {}
        self._wakeup: tuple[int, int] | None = None  # where the system writes signals, and where it did before
        self._done = threading.Event()
        self._last_step: tuple[float, float] | None = None  # when it ended, and how long it took

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
            if os.name == "posix":  # elsewhere there is no SIGTERM to wait for
                self._watch()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        if self._wakeup is not None:
            writing, before = self._wakeup
            signal.set_wakeup_fd(before)
            os.close(writing)  # ends the thread
            self._wakeup = None
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def at_boundary(self) -> int:
        """The signal that was noted, else 0; a step has ended, and what was noted is acted on now."""
        now = time.monotonic()
        self._last_step = (now, now - self._last_step[0] if self._last_step else 0.0)
        if self.number:
            self._done.set()
        return self.number

    def _note(self, number: int, _frame: object) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number

    def _watch(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        self._wakeup = (writing, signal.set_wakeup_fd(writing, warn_on_full_buffer=False))

        def watch() -> None:
            with contextlib.suppress(OSError):
                while numbers := os.read(reading, 64):
                    if signal.SIGTERM in numbers:
                        self._wait_for_boundary()
            os.close(reading)

        threading.Thread(target=watch, daemon=True, name="lot-stop").start()

    def _wait_for_boundary(self) -> None:
        step = 0.0 if self._last_step is None else self._last_step[1]
        if self._done.wait(max(PATIENCE, 2 * step)):
            return
        try:
            self.give_up(signal.SIGTERM)
        finally:
            os._exit(128 + signal.SIGTERM)
