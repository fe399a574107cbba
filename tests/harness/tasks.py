"""Small local tasks of lm_eval: choices, texts in windows, and answers that are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

QUESTIONS = [
    {
        "question": f"the sum of {a} and {b} is",
        "choices": [str(a + b), str(a + b + 1), "no number at all"],
        "answer": (a + b) % 3,
    }
    for a in range(5)
    for b in range(4)
]
TEXTS = [
    {"text": f"text number {n}: " + "a longer passage than the model can read at once. " * (n + 1)} for n in range(4)
]
CHOICE: dict[str, Any] = {
    "task": "choice",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}
ROLLING: dict[str, Any] = {
    "task": "rolling",
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
    "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
}
WRITTEN: dict[str, Any] = {
    "task": "written",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{choices[0]}}",
    "generation_kwargs": {"until": [".", "\n"], "max_gen_toks": 10},
    "metric_list": [{"metric": "exact_match"}],
}


def write_tasks(folder: Path, **changes: Any) -> Path:
    """A folder with the three tasks, their data beside them. changes: of the task `written`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("questions", QUESTIONS), ("texts", TEXTS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for task, data in ((CHOICE, "questions"), (ROLLING, "texts"), ({**WRITTEN, **changes}, "questions")):
        write_task(folder, task, folder / f"{data}.jsonl")
    return folder


def write_task(folder: Path, task: dict[str, Any], data: Path) -> Path:
    """One task file; JSON is YAML."""
    content = {
        **task,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "metadata": {"version": 1.0},
    }
    path = folder / f"{task['task']}.yaml"
    path.write_text(json.dumps(content))
    return path
