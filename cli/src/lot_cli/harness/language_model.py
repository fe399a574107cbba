"""A run of LOT as a language model of lm_eval: texts to tokens and back, by the rules of lm_eval's own model `hf`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from lot.contracts import Task
from lot.errors import BadInput, first_line
from lot_cli.harness.scoring import Draws, Pair, Speaker

MOST_NEW_TOKENS = 256
"""New tokens where a task says nothing, as in lm_eval; at most half of what the model reads."""
_OPTIONS = {"until", "do_sample", "max_gen_toks", "temperature", "top_k", "top_p"}
_IDLE: dict[str, object] = {"num_beams": 1, "repetition_penalty": 1.0, "num_return_sequences": 1}
"""Options of transformers with the value at which they change nothing."""
_WITHOUT_START = "this tokenizer has no token to begin a text with"
_NAME_ONE = "name one of its tokens with --prefix TOKEN"


class RunModel(TemplateLM):  # type: ignore[misc]  # where lm_eval is not installed, it is of no type
    """The model of a run for lm_eval.

    task: that of the training, whose tokenizer reads and writes text. prefix: the token before a text whose context is empty;
    None: the first token of such a text is the context of the rest. asked: requests since `begin`; shortened, unstarted: those of
    them whose context was cut, and whose first token was not scored. failed: whether an error came from here.
    """

    def __init__(self, speaker: Speaker, task: Task, prefix: int | None) -> None:
        super().__init__()
        self.speaker, self.task, self.prefix = speaker, task, prefix
        self.begin(lambda done, total: None)

    def begin(self, told: Callable[[int, int], None]) -> None:
        """Count anew. told: called with the number of requests that are done, and of all."""
        self.asked = self.shortened = self.unstarted = self._done = 0
        self.failed = False

        def count(done: int) -> None:
            self._done += done
            told(min(self._done, self.asked), self.asked)

        self.speaker.told = count

    @property
    def max_length(self) -> int:
        """Tokens that the model reads at most."""
        return self.speaker.max_len

    @property
    def max_gen_toks(self) -> int:
        """New tokens where a task says nothing."""
        return min(MOST_NEW_TOKENS, max(1, self.max_length // 2))

    @property
    def eot_token_id(self) -> int | None:  # type: ignore[override]
        """The token that ends a text, or None."""
        return self.task.eos

    @property
    def prefix_token_id(self) -> int | None:  # type: ignore[override]
        """The token before a text without a context, or None."""
        return self.prefix

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids; behind `bos` where the tokenizer puts one before every text and the text has none yet."""
        ids = self.task.encode(string)
        adds = self.task.adds_bos if add_special_tokens is None else add_special_tokens and self.task.bos is not None
        if adds and ids[:1] != [self.task.bos]:
            assert self.task.bos is not None
            return [self.task.bos, *ids]
        return ids

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation after its context, and whether it is what greedy decoding gives."""
        with self._answering(requests):
            pairs = []
            for request in requests:
                with _told_of(request):
                    pairs.append(self._pair(*request.args))
            return self._score(pairs, requests)

    @contextlib.contextmanager
    def _answering(self, requests: Sequence[Instance]) -> Iterator[None]:
        """Count requests, and remember an error of ours."""
        self.asked += len(requests)
        try:
            yield
        except Exception:
            self.failed = True
            raise

    def _pair(self, context: str, continuation: str) -> Pair:
        """The tokens of a context and its continuation."""
        if context:
            return self._encode_pair(context, continuation)
        ids = self.tok_encode(continuation, add_special_tokens=False)
        self.unstarted += self.prefix is None
        if self.prefix is None or ids[:1] == [self.prefix]:
            return ids[:1], ids[1:]
        return [self.prefix], ids

    def _loglikelihood_tokens(self, requests: Any, **kwargs: Any) -> list[tuple[float, bool]]:
        return self._score([(context, continuation) for _, context, continuation in requests], [])

    def _score(self, pairs: list[Pair], requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        for place, (context, continuation) in enumerate(pairs):
            where = _place(requests[place]) if requests else "lm_eval"
            if not continuation:
                fix = _NAME_ONE if self.prefix is None and len(context) == 1 else "look at the text of this example"
                raise BadInput(where=where, expected="a continuation of one token or more", got="none", fix=fix)
            if not context:
                raise BadInput(f"{where}: the context has no token, and {_WITHOUT_START}", fix=_NAME_ONE)
            if len(continuation) > self.max_length:
                raise BadInput(
                    where=where,
                    expected=f"a continuation of at most {self.max_length} tokens, which this model reads",
                    got=len(continuation),
                )
            self.shortened += len(context) + len(continuation) > self.max_length + 1
        return [(scored.log_likelihood, scored.greedy) for scored in self.speaker.score(pairs)]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of each text, in windows of `max_length` that share no token.

        Without a prefix token the first token is the context of the others, and is not scored.
        """
        with self._answering(requests):
            windows = [self._windows(request) for request in requests]
            scored = iter(self.speaker.score([pair for parts in windows for pair in parts]))
            return [sum(next(scored).log_likelihood for _ in parts) for parts in windows]

    def _windows(self, request: Instance) -> list[Pair]:
        """A text in parts, each with the token before it as its context."""
        with _told_of(request):
            ids = self.tok_encode(request.args[0])
            first = self.prefix
            if first is None:
                if len(ids) < 2:
                    raise BadInput(f"a text of fewer than two tokens, and {_WITHOUT_START}", fix=_NAME_ONE)
                first, ids = ids[0], ids[1:]
                self.unstarted += 1
        parts = get_rolling_token_windows(ids, prefix_token=first, max_seq_len=self.max_length, context_len=1)
        return [make_disjoint_window(part) for part in parts]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, up to a stop string or the end of its text."""
        found: list[str] = [""] * len(requests)
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(place)
        with self._answering(requests):
            for places in groups.values():
                together = [requests[place] for place in places]
                for place, text in zip(places, self._generate(together), strict=True):
                    found[place] = text
        return found

    def _generate(self, requests: Sequence[Instance]) -> list[str]:
        """Texts for requests of equal options."""
        options: dict[str, Any] = dict(normalize_gen_kwargs(requests[0].args[1], self.max_gen_toks))
        where = _place(requests[0])
        most, stops = options["max_gen_toks"], [stop for stop in options["until"] if stop]
        room = self.max_length - most
        if most < 1 or room < 1:
            raise BadInput(
                where=f"{where}: generation_kwargs.max_gen_toks",
                expected=f"1 to {self.max_length - 1}: this model reads {self.max_length} tokens, prompt included",
                got=most,
            )
        prompts = [self._prompt(request) for request in requests]
        self.shortened += sum(len(prompt) > room for prompt in prompts)

        def done(ids: list[int]) -> bool:
            if ids[-1] == self.task.eos:
                return True
            text = self.task.decode(ids) if stops else ""
            return any(stop in text for stop in stops)

        written = self.speaker.extend([prompt[-room:] for prompt in prompts], most, done, _draws(options, where))
        return [self._text(ids, stops) for ids in written]

    def _prompt(self, request: Instance) -> list[int]:
        with _told_of(request):
            ids = self.tok_encode(request.args[0])
            if not ids and self.prefix is None:
                raise BadInput(f"the prompt has no token, and {_WITHOUT_START}", fix=_NAME_ONE)
        return ids or [self.prefix]  # type: ignore[list-item]

    def _text(self, ids: list[int], stops: list[str]) -> str:
        """The text of new tokens, without what stopped it."""
        if ids and ids[-1] == self.task.eos:
            ids = ids[:-1]
        return str(postprocess_generated_text(self.task.decode(ids), stops, None))


def _draws(options: dict[str, Any], where: str) -> Draws:
    """How a request wants its tokens chosen. Raises BadInput for an option that would be left out."""
    for name, value in options.items():
        if name not in _OPTIONS and value is not None and _IDLE.get(name) != value:
            raise BadInput(
                where=f"{where}: generation_kwargs.{name}", expected=", ".join(sorted(_OPTIONS)), got=f"{name}: {value}"
            )
    if not options["do_sample"]:
        return Draws()
    temperature = options.get("temperature", 1.0)
    return Draws(float(temperature), options.get("top_k") or None, options.get("top_p"))


@contextlib.contextmanager
def _told_of(request: Instance) -> Iterator[None]:
    """What cannot be read is told with the place of its request."""
    try:
        yield
    except BadInput as error:
        raise error.under(_place(request)) from None
    except ValueError as error:  # what the tokenizer of a plugin may raise, as int() does
        raise BadInput(f"the task cannot read it: {first_line(error)}", where=_place(request)) from error


def _place(request: Instance) -> str:
    """The task and the example of a request."""
    return f"{request.task_name or 'lm_eval'}, example {request.doc_id}"
