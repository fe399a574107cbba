"""Datasets of the Hugging Face hub: named, resolved to one commit that is kept in mind, and read row by row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lot import BadInput, cache_folder
from lot_tasks.stream.digests import combined, read_json, write_json
from lot_tasks.stream.progress import say
from lot_tasks.stream.readers import Piece, in_pieces, without_surrogates

if TYPE_CHECKING:
    from lot import Split

_EXTRA = "pip install 'lot-tasks[hub]'"
_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(:(?P<config>[\w.-]+))?(@(?P<revision>[\w./-]+))?\Z")
_PATIENCE = 20.0  # seconds without an answer
_HEADING = re.compile(r" = [^=].*[^=] = \n?\Z")
"""A row of WikiText at which an article begins."""


@attrs.frozen(kw_only=True)
class Dataset:
    """A dataset of the hub.

    splits: which of its splits is read for which of ours; None: its documents are divided by their content. joined: whether
    rows are the lines of articles of WikiText.
    """

    repo: str
    config: str | None = None
    revision: str | None = None
    field: str | None = None
    license: str = "see its page"
    splits: tuple[tuple[str, Split | None], ...] = (("train", None),)
    joined: bool = False

    @property
    def title(self) -> str:
        """The dataset as a user writes it."""
        return self.repo + (f":{self.config}" if self.config else "") + (f"@{self.revision}" if self.revision else "")


CORPORA = {
    "fineweb_edu": Dataset(
        repo="HuggingFaceFW/fineweb-edu",
        config="sample-10BT",
        field="text",
        license="ODC-By 1.0 (Penedo et al., The FineWeb Datasets, 2024; text of Common Crawl)",
    ),
    "openwebtext": Dataset(
        repo="Skylion007/openwebtext",
        config="plain_text",
        field="text",
        license="CC0 1.0 for the collection (Gokaslan and Cohen, OpenWebText Corpus, 2019)",
    ),
    "wikitext103": Dataset(
        repo="Salesforce/wikitext",
        config="wikitext-103-raw-v1",
        field="text",
        license="CC BY-SA 3.0 and GFDL (Merity et al., Pointer Sentinel Mixture Models, 2016; text of Wikipedia)",
        splits=(("train", "train"), ("validation", "validation"), ("test", "test")),
        joined=True,
    ),
}
"""Corpora of the hub by the name that the option `corpus` takes."""


def dataset_named(name: str) -> Dataset:
    """The dataset OWNER/NAME:CONFIG@REVISION. Raises BadInput for another form."""
    found = _NAME.match(name)
    if found is None:
        raise BadInput(expected="OWNER/NAME, OWNER/NAME:CONFIG or OWNER/NAME:CONFIG@REVISION", got=repr(name))
    return Dataset(repo=found["repo"], config=found["config"], revision=found["revision"])


def require_package(dataset: Dataset) -> None:
    """Raises BadInput where the dataset has to be asked for, and the package that asks is missing."""
    if read_json(_note(dataset)) is None and find_spec("datasets") is None:
        raise BadInput(f"{dataset.title} is on the Hugging Face hub, which needs the package datasets", fix=_EXTRA)


@attrs.frozen(kw_only=True)
class Resolved:
    """A dataset at one commit. shards: number of parts of each of its splits, by name."""

    dataset: Dataset
    commit: str
    shards: dict[str, int]


def resolve(dataset: Dataset) -> Resolved:
    """The dataset at the commit that its revision named when it was first asked for here. Raises BadInput."""
    note = _note(dataset)
    known = read_json(note)
    if known is None:
        require_package(dataset)
        known = _ask(dataset)
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            write_json(note, known)
        except OSError as error:
            raise BadInput(
                f"the cache {note.parent} cannot be used ({error.strerror or error})",
                fix="set LOT_CACHE to a folder that can be written and has room",
            ) from error
        say(f"{dataset.title}: commit {known['commit']}; license: {dataset.license}")
    return Resolved(dataset=dataset, commit=known["commit"], shards=known["shards"])


def read_shard(resolved: Resolved, split: str, shard: int, *, field: str, start: int = 0) -> Iterator[Piece]:
    """The documents of one shard from row `start` on. Raises BadInput."""
    dataset = resolved.dataset
    if find_spec("datasets") is None:
        raise BadInput(f"{dataset.title} is on the Hugging Face hub, which needs the package datasets", fix=_EXTRA)
    rows = _rows(resolved, split, shard, dataset.field or field, start)
    yield from _articles(rows) if dataset.joined else (piece for text, row in rows for piece in in_pieces(text, row))


def _articles(rows: Iterator[tuple[str, int]]) -> Iterator[Piece]:
    """Rows that are lines, as articles: one begins at each heading, and none at the others."""
    lines: list[str] = []
    place = 0
    for text, row in rows:
        if lines and _HEADING.match(text):
            yield from in_pieces("".join(lines).strip("\n"), place)
            lines = []
        lines.append(text)
        place = row
    if lines:
        yield from in_pieces("".join(lines).strip("\n"), place)


def _rows(resolved: Resolved, split: str, shard: int, field: str, start: int) -> Iterator[tuple[str, int]]:
    """Texts, and the number of rows up to and with each."""
    row = start
    try:
        stream = _stream(resolved.dataset, resolved.commit, split).shard(resolved.shards[split], shard)
        for record in stream.skip(start) if start else stream:
            row += 1
            if field not in record:
                names = ", ".join(map(repr, record))
                raise BadInput(
                    f"{resolved.dataset.title} has no column {field!r}, but {names}", fix="name one with task.field"
                )
            if not isinstance(record[field], (str, type(None))):
                raise BadInput(
                    f"{resolved.dataset.title}: column {field!r} holds {type(record[field]).__name__}, not text",
                    fix="name another with task.field",
                )
            yield without_surrogates(record[field] or ""), row
    except BadInput:
        raise
    except Exception as error:  # of the libraries for the network, for files and for tables
        raise _unreachable(resolved.dataset, error) from error


def _ask(dataset: Dataset) -> dict[str, Any]:
    """Commit and number of shards, from the hub."""
    try:
        from huggingface_hub import HfApi

        commit = str(HfApi().dataset_info(dataset.repo, revision=dataset.revision, timeout=_PATIENCE).sha)
        shards = {split: _stream(dataset, commit, split).num_shards for split, _ in dataset.splits}
    except Exception as error:  # of the libraries for the network, for files and for tables
        raise _unreachable(dataset, error) from error
    return {"dataset": dataset.title, "commit": commit, "shards": shards}


def _stream(dataset: Dataset, commit: str, split: str) -> Any:
    import datasets

    load: Callable[..., Any] = datasets.load_dataset
    return load(dataset.repo, dataset.config, split=split, revision=commit, streaming=True)


def _unreachable(dataset: Dataset, error: Exception) -> BadInput:
    said = next(iter(str(error).strip().splitlines()), "")
    return BadInput(
        f"{dataset.title} cannot be read from the Hugging Face hub ({type(error).__name__}: {said})",
        fix="look at its name, configuration and revision, and at the network; what was read so far is kept",
    )


def _note(dataset: Dataset) -> Path:
    name = combined(dataset.repo, dataset.config, dataset.revision, dataset.splits)[:32]
    return cache_folder() / "streams" / "hub" / f"{name}.json"
