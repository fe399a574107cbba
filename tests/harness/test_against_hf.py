"""`lot harness` beside lm_eval's own model `hf`: a tiny Llama of equal weights, asked the same local tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from harness.tasks import QUESTIONS, write_tasks
from support import Lot

pytest.importorskip("lm_eval")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("lot_hf")

END = "<|endoftext|>"
MAX_LEN = 32


def write_tokenizer(folder: Path, *, begins: bool) -> int:
    """Byte pairs learned from a few words, as a tokenizer of transformers; begins: it puts `END` before each text."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=[END], initial_alphabet=alphabet)
    made.train_from_iterator([row["question"] for row in QUESTIONS] * 4, trainer)
    if begins:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{END} $A", special_tokens=[(END, made.token_to_id(END))]
        )
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token=END, eos_token=END)
    fast.save_pretrained(folder)
    return int(made.get_vocab_size())


@pytest.fixture(params=[False, True], ids=["plain", "begins"])
def folder(request: pytest.FixtureRequest, hub: Path) -> Path:
    """A Llama with random weights, saved by transformers; large ones, so that its answers differ."""
    made = hub / "llama"
    size = write_tokenizer(made, begins=request.param)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_LEN,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.3,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(made)
    write_tasks(hub / "tasks")
    (hub / "text.txt").write_text("what is the sum of a few numbers? " * 400)
    return made


def run_of(lot: Lot, folder: Path) -> None:
    """A run on the weights of the folder, which its one step leaves as they are."""
    settings = (
        f"model.path={folder}", f"model.max_len={MAX_LEN}", "task.path=text.txt", f"task.tokenizer={folder}/tokenizer.json",
        "task.seq_len=16", "train.steps=1", "train.batch_size=4", "train.test=false", "train.eval_examples=8",
        "optim.lr=0", "optim.weight_decay=0",
    )  # fmt: skip
    words = [word for setting in settings for word in ("--set", setting)]
    done = lot("run", "--model", "hf", "--task", "text_lm", "--run-dir", "run", *words)
    assert done.returncode == 0, done.stderr


def of_transformers(folder: Path, limit: int | None = None, **options: Any) -> dict[str, Any]:
    """What lm_eval says of the folder by its own model."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from lot_cli.harness.packages import quiet

    with quiet():
        model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1, max_length=MAX_LEN)
        manager = TaskManager(include_path="tasks", include_defaults=False)
        return simple_evaluate(  # type: ignore[no-any-return]
            model,
            tasks=["choice", "rolling", "written"],
            task_manager=manager,
            limit=limit,
            bootstrap_iters=0,
            **options,
        )


@pytest.mark.parametrize("shots", [0, 2])
def test_answers_are_those_of_transformers(lot: Lot, folder: Path, shots: int) -> None:
    run_of(lot, folder)
    done = lot("harness", "run", "tasks", "--num-fewshot", str(shots), "--batch-size", "7", "--json")
    assert done.returncode == 0, done.stderr
    theirs = of_transformers(folder, num_fewshot=shots)
    for task in json.loads(done.stdout)["tasks"]:
        name = task["task"]
        if shots:
            assert task["shortened"] > 0 or name == "rolling"  # the beginnings of contexts are cut alike
        (kept,) = Path("run/harness").glob(f"{name}-*.jsonl")
        rows = [json.loads(line) for line in kept.read_text().splitlines()]
        samples = sorted(theirs["samples"][name], key=lambda sample: sample["doc_id"])
        assert [row["prompt_hash"] for row in rows] == [sample["prompt_hash"] for sample in samples]
        for row, sample in zip(rows, samples, strict=True):
            _same(row["responses"], sample["filtered_resps"])
        expected = {k: v for k, v in theirs["results"][name].items() if k in task["metrics"]}
        assert task["metrics"] == pytest.approx(expected, rel=1e-4)


def _same(ours: list[Any], theirs: list[Any]) -> None:
    """Log-likelihoods within 1e-4, flags and texts equal."""
    for mine, its in zip(ours, theirs, strict=True):
        if isinstance(its, tuple):
            assert mine[0] == pytest.approx(its[0], abs=1e-4)
            assert mine[1] == its[1]
        elif isinstance(its, float):
            assert mine == pytest.approx(its, abs=1e-4)
        else:
            assert mine == its


def test_the_texts_that_are_compared_are_no_empty_ones(lot: Lot, folder: Path) -> None:
    run_of(lot, folder)
    lot("harness", "run", "written", "--include", "tasks")
    (kept,) = Path("run/harness").glob("written-*.jsonl")
    texts = {json.loads(line)["responses"][0] for line in kept.read_text().splitlines()}
    assert len(texts) > 3
