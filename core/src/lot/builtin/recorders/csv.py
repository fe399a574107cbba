"""CSV: a table of each kind of row, for spreadsheets and plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from lot.contracts import Recorder, Recording
from lot.options.declare import NoOptions
from lot.storage.files import make_folder, remove_leftovers, write_atomic

FOLDER = "csv"


class Csv(Recorder):
    """`csv/GROUP.csv` of the run: a column `step`, and one for each name.

    The tables are written anew from the log when a run is resumed, so that they never hold a step twice.
    """

    def __init__(self, config: NoOptions) -> None:
        self._folder = Path()
        self._tables: dict[str, _Table] = {}

    def open(self, recording: Recording) -> int:
        """Begin with no table."""
        self._folder = make_folder(recording.path, FOLDER)
        remove_leftovers(self._folder)
        for table in self._folder.glob("*.csv"):
            table.unlink()
        return 0

    def write(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """A line of the table of the group."""
        if group not in self._tables:
            self._tables[group] = _Table(self._folder / f"{group.replace(':', '-')}.csv")
        self._tables[group].add({"step": step, **values})

    def result(self, split: str, step: int, metrics: Mapping[str, float]) -> None:
        """A table with one line, `result_SPLIT.csv`."""
        self.write(f"result_{split}", step, metrics)

    def close(self, state: str) -> None:
        """Close the files."""
        for table in self._tables.values():
            table.close()
        self._tables.clear()


class _Table:
    """A CSV file that is written line by line."""

    def __init__(self, path: Path) -> None:
        self._path, self._columns = path, list[str]()
        self._file: IO[str] | None = None

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row. A column that is new makes the file be written again, empty in earlier lines."""
        new = [name for name in row if name not in self._columns]
        if new or self._file is None:
            self._widen(new)
        assert self._file is not None
        csv.writer(self._file, lineterminator="\n").writerow([row.get(name, "") for name in self._columns])
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _widen(self, new: list[str]) -> None:
        self.close()
        earlier = self._path.read_text(encoding="utf-8").splitlines()[1:] if self._columns else []
        self._columns += new
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(self._columns)
        write_atomic(self._path, header.getvalue() + "".join(f"{line}{',' * len(new)}\n" for line in earlier))
        self._file = self._path.open("a", encoding="utf-8", newline="")
