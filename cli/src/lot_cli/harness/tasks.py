"""Tasks of lm_eval: found by name or in files, and loaded; what is wrong with one is told in a line before anything runs."""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from lot.errors import BadInput, first_line
from lot_cli.harness.network import hub, unreachable
from lot_cli.harness.packages import Overheard, missing_for

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

_YAML = (".yaml", ".yml")


@attrs.frozen(kw_only=True)
class Opened:
    """Tasks that are ready to be asked, by name, and the groups that they were asked for in."""

    tasks: dict[str, Task]
    groups: dict[str, Group]


def open_tasks(
    asked: Sequence[str],
    include: Sequence[Path],
    *,
    seed: int,
    num_fewshot: int | None,
    metadata: dict[str, Any],
    warn: Callable[[str], None],
) -> Opened:
    """The tasks `asked` for: names, groups or patterns of lm_eval or of the folders `include`, YAML files, or folders of them.

    Nothing is fetched for data that are files of this machine. seed: of what a task draws for itself while it is loaded.
    Raises BadInput for a name that is unknown, for a file that cannot be read, and where packages or data are missing.
    """
    words = [word.strip() for one in asked for word in one.split(",") if word.strip()]
    paths = [Path(word).expanduser() for word in words if _is_path(word)]
    for path in (*include, *paths):
        if not path.exists():
            raise BadInput(f"{path}: no such file or folder", fix="name a YAML file of a task, or a folder of them")
    folders = [*include, *(path for path in paths if path.is_dir())]
    broken = [line for folder in folders for line in _broken(folder)]
    for line in broken:
        warn(f"left out: {line}")
    names, manager = _names(words, folders, metadata, broken)
    tasks: dict[str, Task] = {}
    groups: dict[str, Group] = {}
    for name in names:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        loaded = _load(manager, name)
        for title, task in loaded["tasks"].items():
            if title in tasks and _source(task) != _source(tasks[title]):
                raise BadInput(
                    f"two tasks are called {title!r}: {_source(tasks[title])} and {_source(task)}",
                    fix="rename one (its key task), or ask them by two calls",
                )
        tasks.update(loaded["tasks"])
        groups.update(loaded["groups"])
    for name, task in tasks.items():
        _prepare(name, task, num_fewshot, warn)
    return Opened(tasks=tasks, groups=groups)


def _source(task: Task) -> str:
    """The file of a task, where lm_eval tells it."""
    found = (task.get_config("metadata") or {}).get("config_source")
    return "a task of lm_eval" if found is None else str(Path(found).resolve())


def _is_path(word: str) -> bool:
    """Whether a word names a file or a folder, and no task: one without a slash does where it has task files in it."""
    return word.endswith(_YAML) or "/" in word or any(Path(word).glob("**/*.yaml"))


def _broken(folder: Path) -> list[str]:
    """The YAML files of a folder that cannot be read, and why; lm_eval leaves them out without a word."""
    from lm_eval.tasks._yaml_loader import load_yaml

    found = []
    for file in sorted(folder.glob("**/*.yaml")):
        try:
            load_yaml(file, resolve_func=False, recursive=True)
        except Exception as error:  # of the YAML library, and of lm_eval's own reader
            found.append(f"{file}: {_told(error)}")
    return found


def _names(
    words: Sequence[str], folders: Sequence[Path], metadata: dict[str, Any], broken: Sequence[str]
) -> tuple[list[str], TaskManager]:
    """What the words mean, as names and files that the manager loads. Its own 14,000 tasks are listed only where needed."""
    from lm_eval.tasks import TaskManager

    def manager(*, own: bool) -> TaskManager:
        return TaskManager(include_path=list(folders), include_defaults=own, metadata=metadata)

    chosen = manager(own=False)
    if any(not _is_path(word) and word not in chosen.all_tasks for word in words):
        chosen = manager(own=True)
    names: list[str] = []
    for word in words:
        path = Path(word).expanduser()
        if _is_path(word) and path.is_dir():
            found = TaskManager(include_path=path, include_defaults=False).all_subtasks
            if not found:
                raise _none_in(path, broken)
            names += found
        elif _is_path(word):
            names.append(str(path.resolve()))
        elif "*" in word or "?" in word:
            matching = chosen.match_tasks([word])
            if not matching:
                raise BadInput(f"no task matches {word!r}", fix="quote a pattern, as in 'blimp_*'")
            names += matching
        elif word in chosen.all_tasks:
            names.append(word)
        elif path.is_dir():
            raise _none_in(path, broken)
        else:
            raise BadInput(f"lm_eval has no task {word!r}{_closest(word, chosen.all_tasks)}", fix=_fix(broken))
    return list(dict.fromkeys(names)), chosen


def _none_in(folder: Path, broken: Sequence[str]) -> BadInput:
    return BadInput(f"{folder}: no task there ({broken[0] if broken else 'no YAML file with a key task'})")


def _closest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _fix(broken: Sequence[str]) -> str:
    if broken:
        return f"it may be in a file that cannot be read: {broken[0]}"
    return "name a task of lm_eval, or the folder of your own with --include FOLDER"


def _load(manager: TaskManager, name: str) -> Any:
    """The tasks of a name or file, their data at hand; the hub is asked only where data are not on this machine."""
    title = Path(name).name if name.endswith(_YAML) else name
    with Overheard() as said:
        try:
            with hub(asked=False):
                return manager.load([name])
        except Exception as error:  # of lm_eval, of the code of a task, of the libraries for data
            if not _wants_hub(error):
                raise _refused(title, error, said.lines) from error
            missing = error
        if (why := unreachable()) is not None:
            raise BadInput(
                f"{title}: its data are not on this machine, and {why}",
                fix="fetch them where there is a network, into the same HF_HOME; or name files of yours in a task file",
            ) from missing
        try:
            with hub(asked=True):
                return manager.load([name])
        except Exception as error:
            raise _refused(title, error, said.lines) from error


def _wants_hub(error: BaseException) -> bool:
    """Whether an error says that the hub was not to be asked."""
    while True:
        if isinstance(error, ConnectionError) or type(error).__name__ in (
            "OfflineModeIsEnabled",
            "LocalEntryNotFoundError",
        ):
            return True
        cause = error.__cause__ or error.__context__
        if cause is None:
            return False
        error = cause


def _refused(title: str, error: Exception, said: Sequence[str]) -> BadInput:
    if isinstance(error, BadInput):
        return error
    if isinstance(error, ImportError):
        return missing_for(title, error)
    if isinstance(error, IndexError):
        return BadInput(f"{title}: its data have no example ({_told(error)})")
    fix = "a path in data_files counts from the current folder" if isinstance(error, FileNotFoundError) else ""
    told = "; ".join(dict.fromkeys([*said[-1:], _told(error)]))
    return BadInput(f"{title}: lm_eval cannot load this task ({told})", fix=fix)


def _told(error: BaseException) -> str:
    """The class and the first lines of an error, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[:4])
    return f"{type(error).__name__}: {said}" if said else first_line(error)


def _prepare(name: str, task: Task, num_fewshot: int | None, warn: Callable[[str], None]) -> None:
    """Set the number of examples in a prompt, by the rule of lm_eval; refuse what is unsafe or needs pictures."""
    if getattr(task, "UNSAFE_CODE", False):
        raise BadInput(f"{name}: this task runs code that the model writes, and LOT does not")
    if getattr(task, "MULTIMODAL", False):
        raise BadInput(f"{name}: this task shows pictures or sound, and a run of LOT reads text")
    own = task.get_config("num_fewshot")
    if num_fewshot is None or own == 0:
        if num_fewshot:
            warn(f"{name}: its own file says num_fewshot: 0, which stands")
        if own is None:
            task.set_config(key="num_fewshot", value=0)
    else:
        task.set_config(key="num_fewshot", value=num_fewshot)
