"""The finished small study, made once for all tests."""

from __future__ import annotations

from typing import Any

import pytest
from study_support import Made, make, small


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The small study, one run after the other."""
    pytest.importorskip("lot_tasks")
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
        if event == "fairness":
            read.clear()  # before it the kit has compared the splits with each other, for the passport of the task
        if event == "tuned":
            tuned_at.append(len(read))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CopyReverse, "batch", batch)
        result = make(small(), folder, tell=tell)
    return Made(folder, result, events, set(read[: tuned_at[-1]]), set(read[tuned_at[-1] :]))
