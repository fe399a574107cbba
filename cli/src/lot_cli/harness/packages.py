"""What lm_eval and its tasks need beside LOT, and how a missing package is told. Imports none of it."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from typing import Any

from lot.errors import BadInput, first_line

_INSTALL = "pip install 'lot-cli[harness]'"
_OLDEST = (0, 4, 13)


def require_lm_eval() -> str:
    """The version of lm_eval. Raises BadInput where it is missing, or older than what LOT knows."""
    try:
        version = distribution("lm_eval").version
    except PackageNotFoundError:
        raise BadInput("lot harness needs EleutherAI's lm_eval, which is not installed here", fix=_INSTALL) from None
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if found < _OLDEST:
        raise BadInput(where="lm_eval", expected=".".join(map(str, _OLDEST)) + " or later", got=version, fix=_INSTALL)
    return version


def missing_for(task: str, error: ImportError) -> BadInput:
    """What is said where a task of lm_eval does not import: the package that is missing, or that is of another version."""
    first: BaseException = error
    while isinstance(before := first.__cause__ or first.__context__, ImportError):
        first = before
    package = (getattr(first, "name", None) or "").partition(".")[0]
    if not package or package in sys.modules or find_spec(package) is not None:
        return BadInput(
            f"{task}: code of lm_eval does not import here ({first_line(first)})",
            fix="it may need another version of that package, and stops in lm_eval's own command too",
        )
    return BadInput(
        f"{task} needs the package {package}, which is not installed here",
        fix=f"pip install '{_installs(package, task)}'",
    )


def _installs(package: str, task: str) -> str:
    """What to install for a package: an extra of lm_eval where one is named as the task is, or is the only one with it."""
    extras = set()
    for line in distribution("lm_eval").requires or []:
        match = re.match(r"([\w.-]+).*extra == ['\"]([\w.-]+)['\"]", line)
        if match and match[1].replace("-", "_").lower() == package.lower():
            extras.add(match[2])
    named = [extra for extra in sorted(extras) if extra in task]
    if named or len(extras) == 1:
        return f"lm_eval[{(named or sorted(extras))[0]}]"
    return package.replace("_", "-")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While it lasts, lm_eval and what it uses print no bars, warnings or lines of their own, and nothing on stdout."""
    from tqdm import tqdm

    names = ("lm_eval", "datasets", "huggingface_hub", "evaluate", "transformers")
    levels = {name: logging.getLogger(name).level for name in names}
    begin = tqdm.__init__

    def without_a_bar(
        self: Any, *args: Any, **options: Any
    ) -> None:  # lm_eval asks for bars, whatever TQDM_DISABLE says
        begin(self, *args, **{**options, "disable": True})

    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL if name != "lm_eval" else logging.ERROR)
    logger = logging.getLogger("lm_eval")
    passes_on, logger.propagate = logger.propagate, False
    tqdm.__init__ = without_a_bar
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        tqdm.__init__ = begin
        logger.propagate = passes_on
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class Overheard(logging.Handler):
    """The errors that lm_eval logs while this context lasts: what it says of a mistake is often there alone."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first line of a message."""
        self.lines.append(first_line(record.getMessage()))

    def __enter__(self) -> Overheard:
        logging.getLogger("lm_eval").addHandler(self)
        return self

    def __exit__(self, *_error: object) -> None:
        logging.getLogger("lm_eval").removeHandler(self)
