"""What a configuration names, as parts that are indexed one by one, each known by its content. Imports no torch."""

from __future__ import annotations

import abc
import itertools
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from lot import BadInput
from lot_tasks.stream.config import CORPUS, HUB, TextStreamConfig
from lot_tasks.stream.digests import combined, stamp
from lot_tasks.stream.files import File, find_files
from lot_tasks.stream.hub import CORPORA, Dataset, Resolved, dataset_named, read_shard, require_package, resolve
from lot_tasks.stream.readers import Piece, in_pieces, read_file
from lot_tasks.text.files import NAMED, readable

if TYPE_CHECKING:
    from lot import Split

_LARGE = 1 << 26
"""Bytes of a file that is a part of its own; smaller ones are gathered into parts of about this size."""
_TOKENIZERS = ("char", "byte")

Place = tuple[int, int]
"""A file of a part, and a place in it."""


class Part(abc.ABC):
    """Documents that are indexed together. split: of ours, where they have one already. bytes: of files, if known.

    plain: whether these are about the bytes of their text.
    """

    title: str
    split: Split | None = None
    bytes: int | None = None
    plain: bool = True

    @property
    @abc.abstractmethod
    def identity(self) -> str:
        """A digest of what its documents are made from."""

    @abc.abstractmethod
    def read(self, start: Place) -> Iterator[tuple[int, Piece]]:
        """The documents from a place on, each with the number of its file."""


@attrs.frozen(kw_only=True)
class FilePart(Part):
    """Files of the user. digests: of their contents."""

    files: tuple[File, ...]
    digests: tuple[str, ...]
    stamps: tuple[list[int], ...]
    title: str
    bytes: int
    field: str
    separator: str

    @property
    def plain(self) -> bool:  # type: ignore[override]
        return not any(file.gzip or file.format == "parquet" for file in self.files)

    @property
    def identity(self) -> str:
        reading = [
            [file.format, file.gzip, self.separator if file.format == "text" else self.field] for file in self.files
        ]
        return combined("files", self.digests, reading)

    def read(self, start: Place) -> Iterator[tuple[int, Piece]]:
        for number in range(start[0], len(self.files)):
            file = self.files[number]
            place = start[1] if number == start[0] else 0
            for piece in read_file(file, field=self.field, separator=self.separator, start=place):
                yield number, piece
            if _stamp(file) != self.stamps[number]:
                raise BadInput(f"{file.path} changed while it was read", fix="run again when it is complete")


@attrs.frozen(kw_only=True)
class HubPart(Part):
    """A shard of a dataset of the hub."""

    resolved: Resolved
    name: str
    shard: int
    split: Split | None
    field: str

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"{self.resolved.dataset.title} {self.name} {self.shard + 1}/{self.resolved.shards[self.name]}"

    @property
    def identity(self) -> str:
        dataset = self.resolved.dataset
        facts = [dataset.repo, dataset.config, self.resolved.commit, self.name, self.shard, self.resolved.shards]
        return combined("hub", facts, dataset.field or self.field, dataset.joined)

    def read(self, start: Place) -> Iterator[tuple[int, Piece]]:
        for piece in read_shard(self.resolved, self.name, self.shard, field=self.field, start=start[1]):
            yield 0, piece


class TopicsPart(Part):
    """The help topics of the running Python, a document for each of their sections: English text that needs no network.

    A topic repeats sections of others, at another depth: as documents of one content they join one split.
    """

    title = "the help topics of Python"

    def __init__(self) -> None:
        from pydoc_data.topics import topics

        self._sections = [section for name in sorted(topics) for section in _sections(topics[name])]
        self.bytes = sum(map(len, self._sections))

    @property
    def identity(self) -> str:
        return combined("sections", self._sections)

    def read(self, start: Place) -> Iterator[tuple[int, Piece]]:
        for number in range(start[1], len(self._sections)):
            for piece in in_pieces(self._sections[number], number + 1):
                yield 0, piece


_HEADING = re.compile(r"^(?P<title>[^\n]+)\n(?P<line>([=\-*~^\"])\3{2,})$", flags=re.MULTILINE)


def _sections(topic: str) -> list[str]:
    """The sections of a topic, headings underlined alike whatever their depth."""
    same = _HEADING.sub(lambda found: f"{found['title']}\n{'=' * len(found['line'])}", topic)
    cuts = [0, *(found.start() for found in _HEADING.finditer(same)), len(same)]
    return [section for start, end in itertools.pairwise(cuts) if (section := same[start:end].strip())]


@attrs.frozen(kw_only=True)
class Source:
    """A source as the user named it, its weight, and its parts in order. origin: a digest of what it holds."""

    name: str
    weight: float
    parts: tuple[Part, ...]

    @property
    def origin(self) -> str:
        return combined([part.identity for part in self.parts])

    @property
    def paths(self) -> list[str]:
        """The absolute paths of its files."""
        return [str(file.path.absolute()) for part in self.parts if isinstance(part, FilePart) for file in part.files]

    @property
    def bytes(self) -> int | None:
        """The size of its files, if known."""
        sizes = [part.bytes for part in self.parts if part.bytes is not None]
        return sum(sizes) if len(sizes) == len(self.parts) else None


def check_stream(config: TextStreamConfig) -> None:
    """Raises BadInput where a file that `config` names cannot be read, or a package that it needs is missing."""
    _for_each(config, lambda name: require_package(found) if isinstance(found := _named(name), Dataset) else None)
    if config.tokenizer not in _TOKENIZERS:
        if config.tokenizer == "word":
            raise BadInput(
                where="tokenizer",
                expected="char, byte or a file",
                got="'word'",
                fix="word_lm takes a text that fits into memory; here, train a tokenizer and name its file",
            )
        readable(config.tokenizer, "tokenizer", fix=NAMED.replace(", byte and word", " and byte"))


def content_of(config: TextStreamConfig) -> dict[str, str]:
    """A digest of what each source holds: of the content of its files, or of the commit of its dataset."""
    return {name: source.origin for name, source in zip(config.sources, open_sources(config), strict=True)}


def open_sources(config: TextStreamConfig) -> list[Source]:
    """Every source of a configuration. Raises BadInput with the name of the option."""
    found = _for_each(config, lambda name: _parts(_named(name), config))
    return [
        Source(name=name, weight=weight, parts=parts)
        for (name, weight), parts in zip(config.sources.items(), found, strict=True)
    ]


def _for_each(config: TextStreamConfig, look: Callable[[str], Any]) -> list[Any]:
    """What `look` gives for the name of each source; what it refuses gets the path of the option."""
    given = next((option for option in ("path", "corpus", "hub") if getattr(config, option)), "")
    results = []
    for name in config.sources:
        try:
            results.append(look(name))
        except BadInput as error:
            raise error.under(given or f"mixture.{name}") from None
    return results


def _named(name: str) -> list[File] | Dataset | None:
    """Files, a dataset of the hub, or, for `corpus:pydoc`, None."""
    if name.startswith(HUB):
        return dataset_named(name.removeprefix(HUB))
    if not name.startswith(CORPUS):
        return find_files(name)
    corpus = name.removeprefix(CORPUS)
    if corpus != "pydoc" and corpus not in CORPORA:
        raise BadInput(expected=f"a corpus: pydoc, {', '.join(CORPORA)}", got=repr(corpus))
    return CORPORA.get(corpus)


def _parts(named: list[File] | Dataset | None, config: TextStreamConfig) -> tuple[Part, ...]:
    if named is None:
        return (TopicsPart(),)
    if isinstance(named, Dataset):
        resolved = resolve(named)
        return tuple(
            HubPart(resolved=resolved, name=name, shard=shard, split=split, field=config.field)
            for name, split in named.splits
            for shard in range(resolved.shards[name])
        )
    groups: list[list[File]] = [[]]
    size = 0
    for file in named:
        if groups[-1] and size + file.bytes > _LARGE:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.bytes
    return tuple(_file_part(group, config) for group in groups)


def _file_part(files: list[File], config: TextStreamConfig) -> FilePart:
    stamps = tuple(_stamp(file) for file in files)
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return FilePart(
        files=tuple(files),
        digests=tuple(file.digest() for file in files),
        stamps=stamps,
        title=f"{files[0].path}{more}",
        bytes=sum(file.bytes for file in files),
        field=config.field,
        separator="\n\n" if config.separator is None else config.separator,
    )


def _stamp(file: File) -> list[int]:
    try:
        return stamp(file.path)
    except OSError as error:
        raise BadInput(f"{file.path} cannot be read ({error.strerror or error})") from error
