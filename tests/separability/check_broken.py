"""With a broken plugin installed: it is reported with its error, and everything else works, from the outside."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile


def lot(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [sys.executable, "-m", "lot_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def main() -> None:
    """List, ask for what is broken, and train with what is not."""
    listed = lot("plugins", "--json")
    assert listed.returncode == 0, listed.stderr
    failures = {p["distribution"]: p["failure"] for p in json.loads(listed.stdout)["plugins"] if p["failure"]}
    assert list(failures) == ["lot-broken"], failures
    assert "broken on purpose" in failures["lot-broken"]

    unknown = lot("show", "something_of_lot_broken")
    assert unknown.returncode == 2, unknown
    assert "Traceback" not in unknown.stderr
    assert "lot-broken" in unknown.stderr, "a name that nobody has may belong to the plugin that did not load: say so"

    small = ["train.steps=2", "train.batch_size=4", "model.width=16", "model.heads=2", "task.seq_len=8"]
    sets = [word for value in small for word in ("--set", value)]
    with tempfile.TemporaryDirectory() as folder:
        trained = lot("run", "--attn", "vanilla", "--task", "copy_reverse", "--run-dir", f"{folder}/x", "--json", *sets)
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["step"] == 2
    print("the broken plugin is reported, the rest works")


if __name__ == "__main__":
    main()
