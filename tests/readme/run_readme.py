"""Run every command of the README, as written, in a copy of the tree; the one that runs nox itself is left out.

    python run_readme.py FOLDER

Commands are the lines of blocks marked `sh`, and each block marked `python` as a whole. They run in one shell, in order, and
each must succeed.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def commands(readme: str) -> list[str]:
    """The commands of the README, without those that run nox; a block of Python is one command."""
    found: list[str] = []
    for language, block in re.findall(r"^```(sh|python)\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL):
        if language == "python":
            found.append(f"python - <<'END'\n{block}END")
            continue
        lines = block.replace("\\\n", " ").splitlines()
        found += [line for line in lines if line.strip() and not line.startswith("#") and "nox" not in line]
    return found


def copy_tree(target: Path) -> None:
    """Copy what git tracks (and new files that it does not ignore), as in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def main(folder: Path) -> None:
    """Copy, then run."""
    target = folder / "readme"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    copy_tree(target)
    found = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(found) >= 5, found
    script = "\n".join(
        ["set -eu", *(line for command in found for line in (f"echo + {shlex.quote(command)}", command))]
    )
    subprocess.run(["bash", "-c", script], cwd=target, check=True, stdin=subprocess.DEVNULL)
    print(f"{len(found)} commands of the README ran")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
