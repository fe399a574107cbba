"""`text_stream`: indexing documents against their tokenizer alone, and making batches against training on them.

Claims: reading, dividing, checking and storing documents adds at most 10 % to what the tokenizer takes (with the package
tokenizers); a batch costs at most a twentieth of a step of a small model, 2 layers of width 64, and so far less than 2 % of a step
of GPT-2 small.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch.nn.functional as F

import lot
from lot import Context
from lot_cli.bench import Case
from lot_tasks.stream.config import TextStreamConfig
from lot_tasks.stream.encoders import encoder_of, ended
from lot_tasks.stream.index import open_index
from lot_tasks.stream.sources import open_sources
from lot_tasks.text.tokenizers import TokenizerFile

BATCH = 64
BYTES = 4_000_000
LENGTHS = (20, 1500)
"""Words of the shortest and of the longest document."""


def cases() -> Iterator[Case]:
    """One for indexing, where the package tokenizers is installed, and one for batches."""
    folder = Path(tempfile.mkdtemp(prefix="text_stream-"))
    os.environ["LOT_CACHE"] = str(folder / "cache")
    texts = documents()
    (folder / "documents.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    if importlib.util.find_spec("tokenizers") is not None:
        file = tokenizer_file(folder / "tokenizer.json", texts)
        yield Case(
            name="an index of 4 MB of JSON Lines, BPE of 16,000 tokens",
            pair=pair(indexing(folder, file), lambda: file.tokens_of(texts)),
            baseline_name="the tokenizer, on the documents in memory",
            cost=1.10,
            note="CPU time of all threads, since the tokenizer works in as many as there are cores.",
        )
    task, step = training({"path": str(folder / "documents.jsonl")})
    numbers = itertools.count()
    yield Case(
        name="batches of text_stream",
        candidate=lambda: task.batch("train", next(numbers), BATCH),
        baseline=step,
        baseline_name="training step, 2 layers x 64",
        speedup=20.0,
    )


def documents() -> list[str]:
    """Words of the help topics of Python, as often as there, in documents of many lengths."""
    words = np.array(" ".join(topics[name] for name in sorted(topics)).split())
    rng = np.random.default_rng(0)
    found: list[str] = []
    while sum(map(len, found)) < BYTES:
        found.append(" ".join(rng.choice(words, int(rng.integers(*LENGTHS)))))
    return found


def tokenizer_file(path: Path, texts: list[str]) -> TokenizerFile:
    """A byte-level BPE, trained on some of the documents."""
    import tokenizers

    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=16_000, initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator(texts[:200], trainer)
    model.save(str(path))
    return TokenizerFile.read(str(path))


def pair(candidate: Callable[[], object], baseline: Callable[[], object]) -> Callable[[], tuple[float, float]]:
    """CPU seconds of both, in an order that changes from call to call."""
    calls = itertools.count()

    def run() -> tuple[float, float]:
        taken = [0.0, 0.0]
        for side in (0, 1) if next(calls) % 2 else (1, 0):
            began = time.process_time()
            (candidate, baseline)[side]()
            taken[side] = time.process_time() - began
        return taken[0], taken[1]

    return run


def indexing(folder: Path, file: TokenizerFile) -> Callable[[], object]:
    """Each call indexes all documents anew."""
    encoder = encoder_of("file:", ended(file, None))
    numbers = itertools.count()

    def run() -> None:
        os.environ["LOT_CACHE"] = str(folder / f"cache{next(numbers)}")
        (source,) = open_sources(TextStreamConfig(path=str(folder / "documents.jsonl")))
        with contextlib.redirect_stderr(io.StringIO()):  # what it says would stand between the results
            open_index(source.parts[0], encoder)

    return run


def training(options: dict[str, str]) -> tuple[lot.Task, Callable[[], None]]:
    """The task on bytes, and a step of a small model with vanilla attention on one of its batches."""
    task: lot.Task = lot.registry().get("task", "text_stream").build(0, **options)
    config = lot.load_config(
        {
            "task": {"name": "text_stream", **options},
            "attn": {"name": "vanilla"},
            "model": {"width": 64, "heads": 4, "layers": 2},
        }
    )
    model = lot.build_model(config, task).train()
    optimizer = config.optim.component.create(config.optim.options, model)
    batch = task.batch("train", 0, BATCH)

    def step() -> None:
        logits = model(batch.inputs, Context()).logits
        F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return task, step
