"""What a run keeps of a text task: how text becomes tokens, how often each occurs, and which text it was; never the text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from lot import BadInput
from lot_tasks.config import TextConfig
from lot_tasks.text.source import Source, open_source
from lot_tasks.text.tokenizers import FILE, Bytes, Characters, Tokenizer, TokenizerFile, Words

FORMAT = 1
_FACTS, _TOKENIZER, _LICENSE = "task.json", "tokenizer.json", "tokenizer-license.txt"
_MADE = {"Characters": Characters, "Words": Words}


@attrs.frozen(kw_only=True)
class Text:
    """Which text it was: what the options said, the absolute path of a file, its size in bytes and its digest."""

    typed: str | None
    corpus: str | None
    path: str | None
    bytes: int
    sha256: str

    @classmethod
    def of(cls, config: TextConfig, source: Source) -> Text:
        """The text that `config` named and `source` holds."""
        return cls(
            typed=config.path, corpus=config.corpus, path=source.path, bytes=source.size, sha256=source.fingerprint
        )

    def open(self, config: TextConfig) -> Source:
        """The text again, or the other one that `config` names. Raises BadInput, which describes it, where it is not there."""
        if self.path is None or (config.path, config.corpus) != (self.typed, self.corpus):
            return open_source(config)
        places = [place for place in (self.path, config.path) if place and Path(place).expanduser().is_file()]
        if not places:
            raise BadInput(
                f"the text that the run was trained on is not here: {self.path}, {self.bytes:,} bytes, sha256 {self.sha256}",
                where="path",
                fix="bring it back, or name it with --data FILE",
            )
        found = [open_source(attrs.evolve(config, path=place)) for place in dict.fromkeys(places)]
        return next((source for source in found if source.fingerprint == self.sha256), found[0])


@attrs.frozen(kw_only=True)
class Kept:
    """What `pack` was given: the tokenizer, the kind that made it, counts (V,) int64, and which text it was."""

    kind: str
    tokenizer: Tokenizer
    counts: np.ndarray
    text: Text


def pack(kept: Kept) -> dict[str, bytes]:
    """Files by name, from which `unpack` makes the same again."""
    facts, files = pack_tokenizer(kept.tokenizer)
    told = {
        "format": FORMAT,
        "kind": kept.kind,
        "counts": kept.counts.tolist(),
        "text": attrs.asdict(kept.text),
        "tokenizer": facts,
    }
    return {_FACTS: json.dumps(told).encode(), **files}


def unpack(files: Mapping[str, bytes]) -> Kept:
    """What was packed. Raises BadInput for what never was."""
    try:
        facts = json.loads(files[_FACTS])
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']!r}")
        counts = np.array(facts["counts"], dtype=np.int64)
        tokenizer = unpack_tokenizer(facts["tokenizer"], files)
        kept = Kept(kind=facts["kind"], tokenizer=tokenizer, counts=counts, text=Text(**facts["text"]))
        if counts.shape != (len(kept.tokenizer.vocabulary),):
            raise ValueError("as many counts as tokens were expected")
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadInput(f"{_FACTS}: not what a text task keeps ({type(error).__name__}: {error})") from None
    return kept


def refuse_other_tokens(kind: str, kept_kind: str, tokenizer: Tokenizer) -> None:
    """Raises BadInput where a kind of tokens is not the kept one; a tokenizer file may lie elsewhere, or be gone."""
    if kind == kept_kind:
        return
    if isinstance(tokenizer, TokenizerFile) and kind.startswith(FILE):
        path = Path(kind.removeprefix(FILE)).expanduser()
        if not path.is_file() or TokenizerFile.read(str(path)).fingerprint == tokenizer.fingerprint:
            return
    raise BadInput("the tokens of a trained model cannot be changed", expected=kept_kind, got=kind)


def pack_tokenizer(tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What `unpack_tokenizer` makes the same tokenizer of: facts, and files by name."""
    facts: dict[str, Any] = {"class": type(tokenizer).__name__}
    files: dict[str, bytes] = {}
    if isinstance(tokenizer, TokenizerFile):
        files[_TOKENIZER] = tokenizer.content
        facts.update(origin=tokenizer.origin, license=None, named=tokenizer.named)
        if tokenizer.license is not None:
            files[_LICENSE] = tokenizer.license
            facts["license"] = _LICENSE
    elif not isinstance(tokenizer, Bytes):
        facts["vocabulary"] = list(tokenizer.vocabulary)
    return facts, files


def unpack_tokenizer(facts: dict[str, Any], files: Mapping[str, bytes]) -> Tokenizer:
    """The tokenizer that was packed. Raises KeyError, TypeError, BadInput for what never was."""
    if facts["class"] == "TokenizerFile":
        return TokenizerFile(files[_TOKENIZER], facts["origin"], files.get(_LICENSE), facts.get("named"))
    return Bytes() if facts["class"] == "Bytes" else _MADE[facts["class"]](facts["vocabulary"])
