"""Run the commands and the code of pages of the site, as written, each page in an empty folder.

    python run_pages.py FOLDER

Blocks marked `sh` run in one shell, in order, and each command must succeed. A block whose first line is a comment with
a file name is written to that file; any other block marked `python` runs as a program. The blocks of start.md that
install LOT are left out: the README has the same lines, and `run_readme.py` runs them.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("start.md", "tutorial.md", "python.md", "reference/sweep-file.md")

_BLOCK = re.compile(r"^```(sh|python|yaml)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.\w+)\n")


def blocks(page: str) -> list[tuple[str, str]]:
    """The language and the text of each block of a page that can be run or written."""
    return [found.groups() for found in _BLOCK.finditer(page)]  # type: ignore[misc]


def script(page: str, folder: Path) -> str:
    """A shell script that does what the page says; the programs of the page are written to `folder`."""
    lines = ["set -eu"]
    for number, (language, text) in enumerate(blocks(page)):
        if language == "sh":
            for command in text.replace("\\\n", " ").splitlines():
                if ".venv" not in command:
                    lines += [f"echo {shlex.quote(f'+ {command}')}", command]
            continue
        named = _FILE.match(text)
        path = folder / (named[1] if named else f"block_{number}.py")
        path.write_text(text, encoding="utf-8")
        if named is None:
            lines += [f"echo '+ python {path.name}'", f"python {path.name}"]
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Run every page below `folder`."""
    for name in PAGES:
        target = folder / Path(name).stem
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        commands = script((DOCS / name).read_text(encoding="utf-8"), target)
        subprocess.run(["bash", "-c", commands], cwd=target, check=True, stdin=subprocess.DEVNULL)
        print(f"{name}: everything ran")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
