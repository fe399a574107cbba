"""Asks the model of a run the tasks of lm_eval, one after the other, and keeps each answer as soon as it is there."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from lot.contracts import Task as RunTask
from lot.devices.precision import choose_precision
from lot.errors import BadInput
from lot.runs.load import RecordedRun
from lot.storage.folder import MANIFEST
from lot_cli.harness import records
from lot_cli.harness.functions import code_of_task, without_addresses
from lot_cli.harness.language_model import RunModel
from lot_cli.harness.scoring import Speaker
from lot_cli.harness.tasks import Opened
from lot_cli.study.design.plan import code_of

if TYPE_CHECKING:
    from lm_eval.api.task import Task

BOOTSTRAPS = 1000
"""Resamplings behind a standard error that has no formula."""
_HASHES = ("doc_hash", "prompt_hash", "target_hash")


@attrs.frozen(kw_only=True)
class Settings:
    """How tasks are asked.

    limit: examples of each task, from the first on; None: all. seed: of examples in prompts and of what is drawn. batch_size:
    None: that of the training. prefix: a token, as text, that stands before a text without a context; None: `bos` of the
    tokenizer, else its `eos`.
    """

    limit: int | None = None
    seed: int = 1234
    batch_size: int | None = None
    prefix: str | None = None


def require_text(loaded: RecordedRun) -> None:
    """Raises BadInput where the task of a run has no text, or where its model may see what it is to predict."""
    task, name = loaded.task, loaded.config.task.name
    fix = "train on text: char_lm, bytes_lm, text_lm or text_stream"
    if type(task).encode is RunTask.encode:
        raise BadInput(f"{loaded.path}: its task {name} has no text form, and tasks of lm_eval are texts", fix=fix)
    if not task.causal:
        raise BadInput(
            f"{loaded.path}: its task {name} is not causal: the model reads what it would be asked for", fix=fix
        )


def prefix_of(loaded: RecordedRun, text: str | None) -> int | None:
    """The token before a text without a context. Raises BadInput for a text that is not one token."""
    if text is None:
        return loaded.task.eos if loaded.task.bos is None else loaded.task.bos
    ids = loaded.task.encode(text)
    if len(ids) != 1:
        raise BadInput(
            where="--prefix", expected="one token of the tokenizer, such as <|endoftext|>", got=f"{text!r}, {len(ids)}"
        )
    return ids[0]


def answers(
    loaded: RecordedRun,
    opened: Opened,
    settings: Settings,
    *,
    warn: Callable[[str], None],
    told: Callable[[str, int, int], None] = lambda task, done, total: None,
) -> Iterator[records.Answer]:
    """The answer of a run to each task, by name. An equal question that was asked before is not asked again.

    told: called with the task, the requests that are done, and their number. Raises BadInput for what the model cannot read.
    """
    require_text(loaded)
    model = _model(loaded, settings)
    for name, task in opened.tasks.items():
        facts = _facts(loaded, name, task, settings, model)
        key = records.key_of(facts)
        known = records.find(loaded.path, name, loaded.step, key)
        if known is not None:
            yield records.Answer(summary=known[0], rows=known[1], reused=True)
            continue
        answer = _ask(loaded, name, task, settings, model, key, facts, told)
        for line in _doubts(answer.summary, model):
            warn(line)
        try:
            records.save(loaded.path, answer.summary, answer.rows)
        except OSError as error:
            warn(f"the result of {name} is not kept ({error})")
        yield answer


def _doubts(summary: dict[str, Any], model: RunModel) -> Iterator[str]:
    """What a reader must hold beside the numbers of a task."""
    name, total = summary["task"], summary["requests"]
    if count := summary["shortened"]:
        yield (
            f"{name}: {count} of {total} requests are longer than the {model.max_length} tokens that this model reads; "
            "the beginnings of their contexts are left out"
        )
    if count := summary["unstarted"]:
        yield (
            f"{name}: in {count} of {total} requests there is no context, and the tokenizer has no token that begins or ends a "
            "text: the first token is not scored; name one with --prefix TOKEN"
        )


def _model(loaded: RecordedRun, settings: Settings) -> RunModel:
    device = next(loaded.model.parameters()).device
    speaker = Speaker(
        loaded.model,
        batch_size=settings.batch_size or loaded.config.train.batch_size,
        precision=choose_precision(loaded.config.train.precision, device),
        step=loaded.step,
        seed=settings.seed,
    )
    return RunModel(speaker, loaded.task, prefix_of(loaded, settings.prefix))


def _facts(loaded: RecordedRun, name: str, task: Task, settings: Settings, model: RunModel) -> dict[str, Any]:
    """All that the numbers depend on, beyond rounding."""
    return {
        "format": records.FORMAT,
        "lm_eval": version("lm_eval"),
        "lot_cli": version("lot-cli"),
        "task": name,
        "config": without_addresses(records.plain(task.dump_config())),
        "code": code_of_task(task),
        "data": _data(task, settings.limit),
        "limit": settings.limit,
        "seed": settings.seed,
        "prefix": model.prefix,
        "max_len": model.max_length,
        "precision": model.speaker.precision,
        "weights": hashlib.sha256((loaded.checkpoint / MANIFEST).read_bytes()).hexdigest(),
        "step": loaded.step,
        **code_of(loaded.config),
    }


def _data(task: Task, limit: int | None) -> str:
    """The digest of the examples that are asked, and of those that may stand in prompts."""
    found = hashlib.sha256()
    shown = task.fewshot_docs() if task.get_config("num_fewshot") else None
    for docs in (itertools.islice(iter(task.eval_docs), limit), shown or ()):
        for doc in docs:
            found.update(json.dumps(records.plain(doc), sort_keys=True).encode() + b"\n")
        found.update(b"\0")
    return found.hexdigest()


def _ask(
    loaded: RecordedRun,
    name: str,
    task: Task,
    settings: Settings,
    model: RunModel,
    key: str,
    facts: dict[str, Any],
    told: Callable[[str, int, int], None],
) -> records.Answer:
    """Ask one task now."""
    from lm_eval.evaluator import evaluate

    random.seed(settings.seed)
    np.random.seed(settings.seed % 2**32)
    torch.manual_seed(settings.seed)  # for the code of a task; ours takes no number from it
    task.set_fewshot_seed(seed=settings.seed)
    model.begin(lambda done, total: told(name, done, total))
    _let_overflow(task)
    try:
        found = evaluate(
            lm=model, task_dict={"tasks": {name: task}, "groups": {}}, limit=settings.limit, bootstrap_iters=BOOTSTRAPS
        )
    except BadInput:
        raise
    except Exception as error:
        if model.failed:  # in our own code: a bug, and told as one
            raise
        raise BadInput(
            f"{name}: lm_eval stopped in this task ({type(error).__name__}: {' '.join(str(error).split())[:300]})",
            fix="look at the file of the task; lot --debug harness ... shows where",
        ) from error
    assert found is not None  # this process is the only one
    rows = [_row(sample) for sample in found["samples"][name]]
    return records.Answer(
        summary=_summary(loaded, name, found, settings, model, key, facts, rows), rows=rows, reused=False
    )


def _let_overflow(task: Task) -> None:
    """A perplexity that no float holds is infinite; lm_eval's own would stop, and all that was computed be lost."""
    from lm_eval.api.metrics import weighted_perplexity

    def or_infinite(items: Any) -> float:
        try:
            return float(weighted_perplexity(items))
        except OverflowError:
            return math.inf

    found = {name: or_infinite if of is weighted_perplexity else of for name, of in task.aggregation().items()}
    task.aggregation = lambda: found


def _row(sample: dict[str, Any]) -> records.Row:
    """What is kept of an example: neither its text nor its prompt, which their hashes name."""
    row = {
        "doc_id": sample["doc_id"],
        "filter": sample["filter"],
        **{name: sample[name] for name in _HASHES},
        "target": str(sample["target"]),
        "responses": sample["filtered_resps"],
        "metrics": {metric: sample[metric] for metric in sample["metrics"]},
    }
    plain: records.Row = records.plain(row)
    return plain


def _summary(
    loaded: RecordedRun,
    name: str,
    found: Any,
    settings: Settings,
    model: RunModel,
    key: str,
    facts: dict[str, Any],
    rows: Sequence[records.Row],
) -> dict[str, Any]:
    numbers = {k: v for k, v in found["results"][name].items() if "," in k}
    errors = {k.replace("_stderr,", ","): v for k, v in numbers.items() if "_stderr," in k}
    summary = {
        "format": records.FORMAT,
        "task": name,
        "run": str(loaded.path),
        "step": loaded.step,
        "checkpoint": str(loaded.checkpoint),
        "leak": loaded.leak,
        "metrics": {k: v for k, v in numbers.items() if "_stderr," not in k},
        "stderr": {k: v if isinstance(v, (int, float)) else None for k, v in errors.items()},
        "higher_is_better": found["higher_is_better"].get(name, {}),
        "examples": len({row["doc_id"] for row in rows}),
        "of": found["n-samples"][name]["original"],
        "requests": model.asked,
        "shortened": model.shortened,
        "unstarted": model.unstarted,
        "num_fewshot": found["n-shot"].get(name),
        "version": found["versions"].get(name),
        "key": key,
        "facts": facts,
        "batch_size": model.speaker.batch_size,
        "device": str(model.speaker.device),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    plain: dict[str, Any] = records.plain(summary)
    return plain
