"""What every task of the package must keep, whatever it asks."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lot import IGNORED, Batch, Split, Task
from lot.testing import checks
from lot_tasks import plugin

# Small enough to be quick, and so small that splits drawn independently would share examples.
SMALL: dict[str, dict[str, Any]] = {
    "copy_reverse": {"vocab_size": 9, "seq_len": 6},
    "periodic": {"vocab_size": 8, "seq_len": 6, "period": 3, "noise": 0.1},
    "sinusoidal": {"vocab_size": 8, "seq_len": 8, "components": 1, "min_period": 8.0, "max_period": 16.0},
    "hierarchical": {"vocab_size": 6, "levels": 2, "rules": 3},
    "random": {"vocab_size": 8, "seq_len": 4},
    "mqar": {"vocab_size": 12, "seq_len": 8, "kv_pairs": 2, "train_examples": None},
    "mqar_corrected": {"vocab_size": 12, "seq_len": 8, "kv_pairs": 2, "train_examples": 700},
    "in_context_recall": {"seq_len": 8, "train_examples": 700},
    "in_context_recall_corrected": {"seq_len": 8, "train_examples": None},
    "noisy_recall": {"vocab_size": 18, "noise_vocab_size": 2, "seq_len": 8, "train_examples": 700},
    "noisy_recall_corrected": {"vocab_size": 18, "noise_vocab_size": 2, "seq_len": 8, "train_examples": None},
    "fuzzy_recall": {"seq_len": 20, "key_tokens": 2, "value_tokens": 1, "train_examples": 700},
    "fuzzy_recall_corrected": {"seq_len": 20, "key_tokens": 2, "value_tokens": 1, "train_examples": None},
    "selective_copying": {"vocab_size": 8, "seq_len": 10, "copied": 3, "train_examples": 700},
    "compression": {"vocab_size": 9, "seq_len": 5, "train_examples": None},
    "compression_corrected": {
        "vocab_size": 11,
        "seq_len": 5,
        "noise_vocab_size": 2,
        "frac_noise": 0.3,
        "train_examples": 700,
    },
    "memorization": {"vocab_size": 17, "seq_len": 8, "train_examples": 256},
    "char_lm": {"seq_len": 32},
    "bytes_lm": {"seq_len": 32},
    "word_lm": {"seq_len": 8},
    "text_lm": {"seq_len": 8, "tokenizer": "word"},
    "text_stream": {"seq_len": 32, "tokenizer": "char"},
}
TEXTS = ("char_lm", "bytes_lm", "word_lm", "text_lm", "text_stream")
SYNTHETIC = [name for name in SMALL if name not in TEXTS]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Make = Callable[..., Task]


@pytest.fixture
def small(build: Make) -> Make:
    def make(name: str, seed: int = 0) -> Task:
        return build(name, seed, **SMALL[name])

    return make


def equal(a: Batch, b: Batch) -> bool:
    return torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets)


def rows(task: Task, split: Split, count: int) -> set[tuple[int, ...]]:
    """The inputs of the first `count` examples (fewer where the split ends)."""
    length = task.length(split)
    batch = task.batch(split, 0, count if length is None else min(count, length))
    return {tuple(row) for row in batch.inputs.tolist()}


def test_every_task_is_covered() -> None:
    assert {component.name for component in plugin.lot_tasks()} == set(SMALL)


def test_registering_imports_no_torch() -> None:
    code = "import sys, lot_tasks.plugin as p; p.lot_tasks(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", SMALL)
def test_batches_do_not_depend_on_what_was_asked_before(small: Make, name: str) -> None:
    task, fresh = small(name), small(name)
    forwards = [task.batch(split, index, 16) for split in SPLITS for index in (0, 1, 2)]
    backwards = [fresh.batch(split, index, 16) for split in reversed(SPLITS) for index in (2, 1, 0)][::-1]
    assert all(equal(a, b) for a, b in zip(forwards, backwards, strict=True))


@pytest.mark.parametrize("name", SMALL)
def test_examples_do_not_depend_on_the_batch_size(small: Make, name: str) -> None:
    task = small(name)
    for split in SPLITS:
        whole = task.batch(split, 0, 24)
        parts = [task.batch(split, index, 8) for index in range(3)]
        assert torch.equal(whole.inputs, torch.cat([part.inputs for part in parts]))
        assert torch.equal(whole.targets, torch.cat([part.targets for part in parts]))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_examples_do_not_depend_on_the_block_that_draws_them(small: Make, name: str) -> None:
    task, fresh = small(name), small(name)
    across = task.batch("train", 1, 700)  # examples 700 to 1399: the end of a block of 1024 and the start of the next
    ahead = fresh.batch("train", 13, 100)
    assert torch.equal(across.inputs[600:], ahead.inputs)


@pytest.mark.parametrize("name", SMALL)
def test_a_finite_split_ends_with_a_short_batch(small: Make, name: str) -> None:
    task = small(name)
    for split in ("validation", "test"):
        length = task.length(split)
        assert length is not None
        size = length - 1
        assert len(task.batch(split, 0, size).inputs) == size
        assert len(task.batch(split, 1, size).inputs) == 1
        with pytest.raises(IndexError, match=str(length)):
            task.batch(split, 2, size)
        with pytest.raises(IndexError, match="index >= 0"):
            task.batch(split, -1, size)


@pytest.mark.parametrize("name", SMALL)
def test_shapes_types_and_ranges(small: Make, name: str) -> None:
    task = small(name)
    for split in SPLITS:
        batch = task.batch(split, 0, 16)
        assert batch.inputs.shape == batch.targets.shape == (16, task.seq_len)
        assert batch.inputs.dtype == batch.targets.dtype == torch.int64
        assert batch.inputs.min() >= 0
        assert batch.inputs.max() < task.vocab_size
        scored = batch.targets != IGNORED
        assert scored.any(dim=1).all()
        assert batch.targets[scored].min() >= 0
        assert batch.targets[scored].max() < task.vocab_size


@pytest.mark.parametrize("name", SMALL)
def test_seeds_differ_and_validation_is_not_test(small: Make, name: str) -> None:
    first, second = small(name, 0), small(name, 1)
    assert not equal(first.batch("train", 0, 16), second.batch("train", 0, 16))
    assert not equal(first.batch("validation", 0, 16), first.batch("test", 0, 16))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_splits_share_no_inputs_even_across_seeds(small: Make, name: str) -> None:
    # The grammar of `hierarchical` comes from the seed: another seed is another language.
    seeds = (0, 0) if name == "hierarchical" else (0, 1)
    train = rows(small(name, seeds[0]), "train", 4096)
    held = small(name, seeds[1])
    validation, test = rows(held, "validation", 1024), rows(held, "test", 1024)
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_splits_are_drawn_independently(small: Make) -> None:
    # Were one generator used for two splits, one would be the other with every token turned by the same amount.
    task = small("random")
    steps = [task.batch(split, 0, 64).inputs.diff(dim=1) % task.vocab_size for split in SPLITS]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert float((steps[a] == steps[b]).float().mean()) == pytest.approx(1 / task.vocab_size, abs=0.12)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_a_finite_training_set_comes_again_in_another_order(build: Make, name: str) -> None:
    task = build(name, **{**SMALL[name], "train_examples": 40})
    assert task.length("train") == 40
    first, second = (sorted(task.batch("train", index, 40).inputs.tolist()) for index in (0, 1))
    assert first == second
    assert not equal(task.batch("train", 0, 40), task.batch("train", 1, 40))


@pytest.mark.parametrize("name", SMALL)
def test_uniform_predictions_cost_ln_v(small: Make, name: str) -> None:
    task = small(name)
    metrics = task.metrics()
    batch = task.batch("validation", 0, 16)
    metrics.update(torch.zeros(16, task.seq_len, task.vocab_size), batch.targets)
    assert float(metrics.compute()["loss"]) == pytest.approx(math.log(task.vocab_size), rel=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_right_answers_score_best(small: Make, name: str) -> None:
    task = small(name)
    batch = task.batch("validation", 0, 16)
    logits = 60.0 * torch.nn.functional.one_hot(batch.targets.clamp(min=0), task.vocab_size).float()
    metrics = task.metrics()
    assert task.primary in metrics
    assert all(isinstance(metric.higher_is_better, bool) for metric in metrics.values())
    metrics.update(logits, batch.targets)
    values = {key: float(value) for key, value in metrics.compute().items()}
    for key in ("exact_match", "token_accuracy", "macro_accuracy"):
        assert values.get(key, 1.0) == 1.0
    assert values["loss"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_text_form(small: Make, name: str) -> None:
    task = small(name)
    ids = task.batch("train", 3, 1).inputs[0]
    if name == "text_stream":
        ids = ids[ids != task.tokenizer.end]  # text cannot forge the end of a document
    if name in ("word_lm", "text_lm"):
        assert task.encode(task.decode(ids[ids > 0])) == ids[ids > 0].tolist()  # <unk> has no text form
    elif name != "bytes_lm":  # a window of bytes may begin inside a character
        assert task.encode(task.decode(ids)) == ids.tolist()
    example = task.example(np.random.default_rng(0))
    assert example == task.example(np.random.default_rng(0))
    assert len(example.splitlines()) >= 2


@pytest.mark.parametrize("name", SMALL)
def test_no_global_generator_is_used(small: Make, name: str) -> None:
    before_torch, before_numpy = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    task = small(name)
    task.batch("train", 0, 8)
    task.example(np.random.default_rng(0))
    assert torch.equal(before_torch, torch.random.get_rng_state())
    assert (before_numpy == np.random.get_state()[1]).all()


@pytest.mark.parametrize("name", TEXTS[:-1])
def test_a_run_keeps_what_a_text_task_needs_without_its_text(name: str, tmp_path: Path) -> None:
    text = tmp_path / "own.txt"
    text.write_text("the cat sat on the mat, and the dog ate it all up\n" * 400)
    component = {component.name: component for component in plugin.lot_tasks()}[name]
    checks("task")["assets"](component, {**SMALL[name], "path": str(text)})


def test_a_tokenizer_file_is_kept_with_its_origin_and_the_license_beside_it(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    text, file = tmp_path / "own.txt", tmp_path / "tokenizer.json"
    text.write_text("the cat sat on the mat, and the dog ate it all up\n" * 400)
    vocabulary = {word: i for i, word in enumerate(["?", *sorted(set(text.read_text().split()))])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.save(str(file))
    (tmp_path / "LICENSE").write_text("free for all")
    component = {component.name: component for component in plugin.lot_tasks()}["text_lm"]
    options = {"seq_len": 8, "path": str(text), "tokenizer": str(file)}
    checks("task")["assets"](component, options)
    kept = component.build(0, **options).assets()
    assert kept["tokenizer.json"] == file.read_bytes()
    assert kept["tokenizer-license.txt"] == b"free for all"
    assert json.loads(kept["task.json"])["tokenizer"]["origin"] == str(file)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", SMALL)
def test_a_gpu_gets_the_same_batches_and_scores(small: Make, name: str) -> None:
    task = small(name)
    here, there = task.batch("validation", 0, 16), task.batch("validation", 0, 16, "cuda")
    assert there.inputs.is_cuda
    assert equal(here, Batch(there.inputs.cpu(), there.targets.cpu()))
    logits = torch.randn(16, task.seq_len, task.vocab_size, generator=torch.Generator().manual_seed(0))
    on_cpu, on_gpu = task.metrics(), task.metrics().to("cuda")
    on_cpu.update(logits, here.targets)
    with torch.cuda.device(0):
        torch.cuda.set_sync_debug_mode("error")
        try:
            on_gpu.update(logits.cuda(), there.targets)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for key, value in on_cpu.compute().items():
        assert float(on_gpu.compute()[key]) == pytest.approx(float(value), rel=1e-5)
