"""What we most need to know of a GPU, in the order of its worth, within a time limit: tests, then benchmarks.

    python benchmarks/gpu.py --minutes 8 --out benchmarks/results

Run it where LOT and pytest are installed (offline: `pip install --no-index --find-links FOLDER`). Each benchmark writes its
result as soon as it has one, so that what was measured is kept when the time is over; what was not begun is named at the
end. `--device cpu` rehearses the same steps without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = ROOT / "plugins"
PHASE_A = ROOT / "experiments" / "phasegpt" / "phase_a_corrected" / "layer7_32osc_k1.yaml"
LEAST = 20.0
"""Seconds that must be left for a step to begin."""
GRACE = 10.0
"""Seconds between the signal that ends a step and the one that it cannot refuse."""


@dataclass(frozen=True)
class Step:
    """A command, and how many seconds of what is left it may take at most."""

    name: str
    command: tuple[str, ...]
    most: float


def steps(device: str, out: Path, runs: Path) -> Iterator[Step]:
    """Tests first, for a figure of what computes something else is worth nothing."""
    lot = shutil.which("lot") or "lot"
    tests = [str(folder) for folder in (ROOT / "core" / "tests", ROOT / "cli" / "tests", *PLUGINS.glob("*/tests"))]
    rehearsed = () if device == "cuda" else ("--co",)  # there is nothing that they could run on
    yield Step("tests", (sys.executable, "-m", "pytest", "-q", "-m", "gpu", *rehearsed, *tests), 180)
    for name, file in (
        ("scan of the lattice", PLUGINS / "lot-lattice" / "benchmarks" / "lattice_scan.py"),
        ("mean field", PLUGINS / "lot-lattice" / "benchmarks" / "mean_field.py"),
        ("training step of GPT-2 small", PLUGINS / "lot-lattice" / "benchmarks" / "training_step.py"),
        ("toroidal against fused attention", PLUGINS / "lot-toroidal" / "benchmarks" / "toroidal.py"),
        ("vanilla against a plain GPT-2", ROOT / "benchmarks" / "vanilla_gpt2.py"),
    ):
        command = (lot, "bench", str(file), "--device", device, "--seconds", "5", "--processes", "1", "--out", str(out))
        yield Step(name, command, 150)
    # No network, and brief.
    changed = ("task.corpus=pydoc", "train.steps=100", "train.eval_every=100", "train.log_every=10")
    brief = [word for setting in changed for word in ("--set", setting)]
    yield Step(
        "phase A",
        (
            lot,
            "run",
            "--config",
            str(PHASE_A),
            *brief,
            "--device",
            device,
            "--run-dir",
            str(runs / "phase_a"),
            "--json",
        ),
        180,
    )


def run(step: Step, seconds: float) -> str:
    """How a step ended: `done`, `failed (N)`, or `stopped after N s`. Its output goes to where this script's goes."""
    began = time.monotonic()
    process = subprocess.Popen(step.command, cwd=ROOT, start_new_session=True)
    try:
        code = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        return f"stopped after {time.monotonic() - began:.0f} s"
    except KeyboardInterrupt:
        _end(process)
        raise
    return "done" if code == 0 else f"failed ({code})"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a step and what it has started to end, then make it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            pass
        return


def main() -> int:
    """0 where every step was done, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="time limit (default: 8)")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder for the results")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a rehearsal")
    given = parser.parse_args()
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * given.minutes
    told: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="lot-gpu-") as runs:
        for step in steps(given.device, out, Path(runs)):
            left = ends - time.monotonic() - GRACE
            print(f"== {step.name} ({max(0.0, left):.0f} s left)", flush=True)
            told[step.name] = run(step, min(left, step.most)) if left >= LEAST else "not begun: the time is over"
            print(f"== {step.name}: {told[step.name]}", flush=True)
            (out / "gpu-steps.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for name, end in told.items():
        print(f"{name}: {end}")
    return 0 if set(told.values()) == {"done"} else 1


if __name__ == "__main__":
    sys.exit(main())
