"""Starting up, as whole processes: commands that need no torch, what `lot run` refuses without it, and its way to the first step.

The import of torch alone takes seconds. Commands are timed beside `python -c "import click"`. Of `lot run` the CPU time
counts, which depends less on what else the machine does; its way to the first step is held against a script that imports
torch, makes the same model and AdamW, and takes one step.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lot_cli.bench import Case

LOT = shutil.which("lot", path=str(Path(sys.executable).parent)) or "lot"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Bytecode may be cached, as pip has done for click."""
SIGN_OF_LIFE, REFUSAL = 0.5, 1.0
"""Seconds within which a run says what it starts, or why it does not."""
BARE = """
import torch
from torch import nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm_attention, self.norm_mlp = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = (part.view(B, T, self.heads, -1).transpose(1, 2) for part in self.qkv(self.norm_attention(x)).chunk(3, -1))
        x = x + self.out(scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, D))
        return x + self.down(gelu(self.up(self.norm_mlp(x)), approximate="tanh"))

class Model(nn.Module):
    def __init__(self, vocabulary=64, length=32, width=128, heads=8, layers=2):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids):
        return self.head(self.norm(self.blocks(self.tokens(ids) + self.positions.weight)))

torch.manual_seed(0)
model = Model()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
ids = torch.randint(64, (64, 32))
loss = cross_entropy(model(ids).flatten(0, 1), ids.flatten())
loss.backward()
optimizer.step()
print(f"step 1/1  loss {loss:.3f}", flush=True)
"""


def process(*command: str) -> Callable[[], object]:
    """A callable that runs `command` to its end."""
    return lambda: subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )


def cpu_seconds_until(text: str, *command: str) -> float:
    """The CPU seconds of `command` until it has written a line that begins with `text`; it is stopped then."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
    ) as child:
        assert child.stdout is not None
        lines = []
        for line in child.stdout:
            lines.append(line)
            if line.startswith(text):
                child.kill()
                break
        else:
            raise RuntimeError(f"{' '.join(command)} did not write {text!r}, but {''.join(lines)}")
        child.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cases() -> Iterator[Case]:
    """The two commands that everybody types first, and the start of a run."""
    click = process(sys.executable, "-c", "import click")
    for arguments in (["--help"], ["plugins"]):
        yield Case(
            name=f"lot {' '.join(arguments)}",
            candidate=process(LOT, *arguments),
            baseline=click,
            baseline_name="python -c 'import click'",
            cost=3.0,
        )
    folder = Path(tempfile.mkdtemp())
    run = (LOT, "run", "--attn", "vanilla", "--run-dir", str(folder / "run"))
    copying, text = ("--task", "copy_reverse"), ("--task", "char_lm", "--set", f"task.path={folder / 'missing.txt'}")
    yield Case(
        name="lot run says what it starts",
        pair=lambda: (cpu_seconds_until("starting ", *run, *copying), SIGN_OF_LIFE),
        baseline_name="half a second",
        cost=1.0,
    )
    yield Case(
        name="lot run refuses a missing text",
        pair=lambda: (cpu_seconds_until("error: task.path", *run, *text), REFUSAL),
        baseline_name="one second",
        cost=1.0,
    )
    yield Case(
        name="lot run up to its first step",
        pair=lambda: (
            _first_step(run + copying, folder / "run"),
            cpu_seconds_until("step 1/", sys.executable, "-c", BARE),
        ),
        baseline_name="a bare script",
        cost=1.15,
        note="2 layers of width 128, 64 sequences of 32 tokens; the run has probed its model before",
    )


def _first_step(command: tuple[str, ...], run: Path) -> float:
    """CPU seconds of a run that logs its first step."""
    shutil.rmtree(run, ignore_errors=True)
    return cpu_seconds_until("step 1/", *command, "--set", "train.log_every=1")
