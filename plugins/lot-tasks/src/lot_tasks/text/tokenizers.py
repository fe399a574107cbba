"""Text to token ids and back: characters, bytes, words, and what a `tokenizers` JSON file describes."""

from __future__ import annotations

import abc
import collections
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lot import BadInput
from lot_tasks.text.files import NAMED, readable

UNKNOWN = "<unk>"
END_OF_LINE = "<eos>"
FILE = "file:"
"""How the kind of tokens of a tokenizer file begins; its path follows."""
_LICENSES = ("LICENSE", "LICENCE", "COPYING")
_LONGEST_LICENSE = 1 << 18  # bytes


class Tokenizer(abc.ABC):
    """vocabulary: every token as text. unknown: the id of what the vocabulary lacks, or None where it lacks nothing.

    lacking: why the vocabulary lacks something. bos, eos, adds_bos: see `lot.Task`.
    """

    vocabulary: Sequence[str]
    unknown: int | None = None
    lacking: str = "which the training text never does"
    bos: int | None = None
    eos: int | None = None
    adds_bos: bool = False

    @abc.abstractmethod
    def tokens(self, text: str) -> np.ndarray:
        """Token ids (n,) of a text."""

    @abc.abstractmethod
    def decode(self, ids: Any) -> str:
        """The text of token ids (n,)."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt. Raises BadInput for what the vocabulary lacks."""
        ids = self.tokens(text)
        if self.unknown is not None and (ids == self.unknown).any():
            first = int((ids == self.unknown).argmax())
            raise BadInput(f"the prompt holds {self._piece(text, first)!r}, {self.lacking}")
        return [int(token) for token in ids]

    def _piece(self, text: str, index: int) -> str:
        """The piece of `text` that token `index` stands for."""
        return text[index]


class Characters(Tokenizer):
    """The characters of a training text in the order of their code points, and one token for all others."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = vocabulary
        self.unknown = len(vocabulary) - 1
        # The last one is no character, so that every search ends at one.
        self._points = np.array([*map(ord, vocabulary[:-1]), 0xFFFFFFFF], dtype=np.uint32)

    @classmethod
    def of(cls, text: str) -> Characters:
        """The characters of `text`."""
        return cls([*map(chr, np.unique(_points(text))), UNKNOWN])

    def tokens(self, text: str) -> np.ndarray:
        points = _points(text)
        places = np.searchsorted(self._points, points)
        return np.where(self._points[places] == points, places, len(self._points) - 1)

    def decode(self, ids: Any) -> str:
        return "".join("\N{REPLACEMENT CHARACTER}" if i == self.unknown else self.vocabulary[i] for i in map(int, ids))


class Bytes(Tokenizer):
    """The 256 bytes; text is UTF-8."""

    vocabulary = tuple(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in range(256))

    def tokens(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8)

    def decode(self, ids: Any) -> str:
        return bytes(map(int, ids)).decode("utf-8", errors="replace")


class Words(Tokenizer):
    """What stands between white space, most frequent first; every end of line is a word too (as in WikiText)."""

    unknown = 0
    lacking = "which the training text never does, or fewer than min_count times"

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = vocabulary
        self._ids = {word: index for index, word in enumerate(vocabulary)}

    @classmethod
    def of(cls, text: str, min_count: int) -> Words:
        """The words that occur at least `min_count` times in `text`, behind the token for all others."""
        counts = collections.Counter(_words(text))
        kept = [word for word, count in counts.items() if count >= min_count and word != UNKNOWN]
        if counts and not kept:
            raise BadInput(
                "every word of the training text would be <unk>, which any model predicts",
                expected=f"words that occur {min_count} times or more",
                got=f"{max(counts.values())} at most",
                fix="give a longer text, or a smaller min_count where the task has one",
            )
        return cls([UNKNOWN, *sorted(kept, key=lambda word: (-counts[word], word))])

    def tokens(self, text: str) -> np.ndarray:
        get = self._ids.get
        return np.array([get(word, 0) for word in _words(text)], dtype=np.int64)

    def decode(self, ids: Any) -> str:
        text = " ".join(self.vocabulary[int(i)] for i in ids)
        return text.replace(f" {END_OF_LINE} ", "\n").replace(END_OF_LINE, "\n")

    def _piece(self, text: str, index: int) -> str:
        return _words(text)[index]


class TokenizerFile(Tokenizer):
    """What a JSON file of Hugging Face's `tokenizers` library describes; needs that library.

    content: of the file. license: the text of a license that lay beside it, or None. origin: where it was, for people.
    named: what the tokenizer_config.json beside it says of `bos_token`, `eos_token` and `add_bos_token`.
    """

    def __init__(
        self, content: bytes, origin: str, license: bytes | None = None, named: Mapping[str, Any] | None = None
    ) -> None:
        self.content, self.origin, self.license, self.named = content, origin, license, dict(named or {})
        try:
            import tokenizers
        except ImportError as error:
            raise BadInput(
                "a tokenizer file needs the package tokenizers",
                where="tokenizer",
                fix="pip install 'lot-tasks[tokenizers]'",
            ) from error
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:  # the library raises plain Exception
            raise BadInput(f"{origin} is no tokenizer file ({error})", where="tokenizer") from error
        self._tokenizer.no_truncation()  # many files cut a text, or fill it up, to the length of their model
        self._tokenizer.no_padding()
        self.fingerprint = hashlib.sha256(content).hexdigest()
        # The ids of a vocabulary may have holes, so that the largest is not its size.
        size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        self.vocabulary = [self._tokenizer.id_to_token(index) or "" for index in range(size)]
        self._name_ends()

    def _name_ends(self) -> None:
        """Set `bos`, `eos` and `adds_bos`, by the names that were found beside the file, and by what it adds to a text."""
        added = self._tokenizer.encode("", add_special_tokens=True)
        first = added.ids[0] if added.ids and self.named.get("add_bos_token") is not False else None
        names = [self.named.get(key) for key in ("bos_token", "eos_token")]
        self.bos, self.eos = (self.id_of(name) if isinstance(name, str) else None for name in names)
        if self.bos is None and first is not None and len(added.ids) == 1 and first != self.eos:
            self.bos = first
        self.adds_bos = self.bos is not None and (first == self.bos or self.named.get("add_bos_token") is True)

    @classmethod
    def read(cls, path: str) -> TokenizerFile:
        """The tokenizer in the file `path`, with the license in its folder, if there is one."""
        file = readable(path, "tokenizer", fix=NAMED)
        try:
            return cls(file.read_bytes(), str(file.absolute()), _license_beside(file), _named_beside(file))
        except OSError as error:
            raise BadInput(f"{file} cannot be read ({error.strerror or error})", where="tokenizer") from error

    def tokens(self, text: str) -> np.ndarray:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def tokens_of(self, documents: Sequence[str]) -> list[np.ndarray]:
        """Token ids of many documents at once; what looks like a special token in them is text like any other."""
        special = self._tokenizer.encode_special_tokens
        self._tokenizer.encode_special_tokens = True
        try:
            encoded = self._tokenizer.encode_batch_fast(list(documents), add_special_tokens=False)
        finally:
            self._tokenizer.encode_special_tokens = special
        return [np.array(one.ids, dtype=np.int64) for one in encoded]

    def id_of(self, token: str) -> int | None:
        """The id of a token by its name, or None where there is none."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def decode(self, ids: Any) -> str:
        return str(self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False))


def _license_beside(file: Path) -> bytes | None:
    """The text of the license in the folder of `file`, or None where there is none of a usual name and size."""
    for found in sorted(file.parent.iterdir()):
        if found.stem.upper() in _LICENSES and found.is_file() and found.stat().st_size <= _LONGEST_LICENSE:
            return found.read_bytes()
    return None


def _named_beside(file: Path) -> dict[str, Any]:
    """What tokenizer_config.json in the folder of `file` says of the tokens at the ends of a text; empty where it says nothing."""
    try:
        config = json.loads((file.parent / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(config, dict):
        return {}
    found = {key: config.get(key) for key in ("bos_token", "eos_token", "add_bos_token")}
    contents = {key: value.get("content") if isinstance(value, dict) else value for key, value in found.items()}
    return {key: value for key, value in contents.items() if isinstance(value, (str, bool))}


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _words(text: str) -> list[str]:
    lines = text.split("\n")
    words = [word for line in lines[:-1] for word in (*line.split(), END_OF_LINE)]
    return words + lines[-1].split()
