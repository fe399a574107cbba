"""The results of all benchmarks of a folder as one page of Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lot_cli.bench.harness import VERDICTS
from lot_cli.terminal.numbers import ratio

PAGE = "RESULTS.md"  # no README.md: the folder may be one that has its own
INTRODUCTION = """\
Written by `lot bench --out`. A ratio is that of runs side by side, in pairs, and its 95 % interval is over processes. Where the
head of a table says "one process", the interval is over pairs: it leaves out what differs between processes, which is up to
3 % on these machines. Where the claim says "faster", the ratio is how many times faster the case is than what stands under
"against"; elsewhere it is the time of the case as a multiple of the time of the other. For a case called memory, the ratio
compares bytes in place of seconds."""


def page(folder: Path) -> str:
    """Markdown with a table for each file that `lot bench --out` left in `folder`.

    Raises BadInput for a damaged one.
    """
    return "\n".join(_lines(folder)) + "\n"


def _lines(folder: Path) -> Iterator[str]:
    yield "# Measured"
    yield ""
    yield from INTRODUCTION.splitlines()
    for file in sorted([*folder.glob("*-cpu.json"), *folder.glob("*-gpu.json")]):
        yield ""
        yield from _table(_read(file))


def _read(file: Path) -> dict[str, Any]:
    from lot.errors import BadInput

    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return {key: document[key] for key in ("benchmark", "date", "environment", "cases")}
    except (ValueError, TypeError, KeyError):
        raise BadInput(f"{file}: no result of lot bench", fix="move it to another folder") from None


def _table(document: dict[str, Any]) -> Iterator[str]:
    environment = document["environment"]
    yield f"## {document['benchmark']}"
    yield ""
    processes = max(case.get("processes", 1) for case in document["cases"])
    where = f"{environment['device']}, torch {environment['torch']}, {document['date'][:10]}"
    yield f"{where}, {'one process' if processes == 1 else f'{processes} processes'}."
    yield ""
    yield "| case | against | ratio | 95 % interval | claim | |"
    yield "|---|---|---|---|---|---|"
    for case in document["cases"]:
        memory = case["what"] == "memory"
        name = case["name"] if not memory or "memory" in case["name"] else f"{case['name']}, memory"
        interval = "" if case["pairs"] == 1 else f"{ratio(case['low'])} to {ratio(case['high'])}"
        shown = ratio(case["ratio"]) if case["decided"] else "undecided"
        claim = case["claim"].replace("faster", "less") if memory else case["claim"]
        verdict = VERDICTS[case["verdict"]] if case["verdict"] else ""
        yield "| " + " | ".join((name, case["baseline_name"], shown, interval, claim, verdict)) + " |"
