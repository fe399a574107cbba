"""The values that a sweep tries for an option: listed, evenly spaced, or drawn from a distribution. Imports no torch.

In a file they are a list or a table of one key, `{geomspace: [1.0e-4, 1.0e-2, 5]}`; on the command line they are written
`1e-3,3e-3` or `geomspace(1e-4,1e-2,5)`. `linspace` and `geomspace` mean what they mean in NumPy.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lot.config.yaml import parse_yaml
from lot.errors import BadInput

RANGES = ("linspace", "geomspace")
"""Evenly spaced values, both ends among them: by equal differences, by equal ratios."""
DISTRIBUTIONS = ("uniform", "log_uniform", "choice")
"""What a random search draws from."""
MOST_VALUES = 1000
"""Values of one range."""

_NAMES = (*RANGES, *DISTRIBUTIONS)
_CALL = re.compile(r"\s*([A-Za-z_]\w*)\((.*)\)\s*", flags=re.DOTALL)
_BEGUN = re.compile(rf"\s*({'|'.join(_NAMES)})\(")


def values_in_text(path: str, text: str) -> Any:
    """What `--set PATH=TEXT` gives: a list of values, or a table such as `{linspace: [0, 1, 5]}`.

    Commas within quotes and brackets part nothing; each value is read as `lot run` reads it. Raises BadInput.
    """
    where = f"--set {path}"
    call, parts = _CALL.fullmatch(text), split(text)
    if call is not None and call[1] in _NAMES:
        return {call[1]: [parse_yaml(part, where) for part in split(call[2])]}
    if call is not None or any(map(_BEGUN.match, parts)):
        raise BadInput(
            where=where,
            expected=f"values, or one of {', '.join(f'{name}(...)' for name in _NAMES)} alone",
            got=text.strip(),
            fix="quote it if it is a text",
        )
    return [parse_yaml(part, where) for part in parts]


def split(text: str) -> list[str]:
    """The parts of a text between commas. What begins with a quote or a bracket is one part up to where that is closed."""
    parts, start, depth, quote = [], 0, 0, ""
    for place, character in enumerate(text):
        before = text[start:place]
        if quote:
            escaped = quote == '"' and before.endswith("\\")
            quote = "" if character == quote and not escaped else quote
        elif character in "\"'" and (depth or not before.strip() or before.endswith(character)):  # 'it''s' is one text
            quote = character
        elif character in "[{" and (depth or not before.strip()):
            depth += 1
        elif character in "]}" and depth:
            depth -= 1
        elif character == "," and not depth:
            parts.append(before)
            start = place + 1
    return [*parts, text[start:]]


def is_distribution(given: Any) -> bool:
    """Whether these values are to be drawn."""
    return isinstance(given, Mapping) and len(given) == 1 and next(iter(given)) in DISTRIBUTIONS


def is_range(given: Any) -> bool:
    """Whether these values are evenly spaced ones."""
    return isinstance(given, Mapping) and len(given) == 1 and next(iter(given)) in RANGES


def listed(given: Any, where: str) -> list[Any]:
    """The values of a list or a range, in order. Raises BadInput for an empty list, a value twice, or a wrong range."""
    values = _range(given, where) if isinstance(given, Mapping) else given
    if not isinstance(values, list) or not values:
        raise BadInput(where=where, expected=f"a list of values, or {_forms(RANGES)}", got=repr(given))
    seen: set[str] = set()
    for value in values:
        if (text := _as_text(value, where)) in seen:
            raise BadInput(where=where, expected="each value once", got=f"{text} twice")
        seen.add(text)
    return values


def _as_text(value: Any, where: str) -> str:
    """A value as JSON. Raises BadInput for what no option can be, such as a date, and for keys of several types."""
    try:
        return json.dumps(value, sort_keys=True)
    except TypeError:
        expected = "numbers, words, booleans, null, and lists and tables of them"
        raise BadInput(
            where=where, expected=expected, got=str(value), fix="put it into quotes if it is a word"
        ) from None


def drawn(given: Any, where: str) -> Callable[[int, int], Any]:
    """What draws a value of an option: (seed, number of the draw) -> value. A list is a choice, and so is a range.

    A draw depends on nothing but `where`, seed and number, so that more draws begin with the earlier ones. Numbers have four
    significant digits. Raises BadInput for what is no distribution.
    """
    if isinstance(given, list) or is_range(given):
        return _choice(listed(given, where), where)
    name, arguments = _one_key(given, where, DISTRIBUTIONS)
    if name == "choice":
        return _choice(listed(arguments, where), where)
    low, high = _ends(given, arguments, where, count=2)
    if name == "log_uniform" and low <= 0:
        raise BadInput(where=where, expected="a range above 0, since it is log_uniform", got=_shown(given))
    if name == "uniform":
        return lambda seed, number: _rounded(low + _share(seed, where, number) * (high - low), low, high)
    return lambda seed, number: _rounded(low * (high / low) ** _share(seed, where, number), low, high)


def is_logarithmic(given: Any) -> bool:
    """Whether these values are given by ratios, so that a picture should have them so."""
    return isinstance(given, Mapping) and next(iter(given), "") in ("geomspace", "log_uniform")


def _choice(values: Sequence[Any], where: str) -> Callable[[int, int], Any]:
    return lambda seed, number: values[int(_share(seed, where, number) * len(values))]


def _share(seed: int, where: str, number: int) -> float:
    """A number from 0 to 1, below 1."""
    from lot.random import derive  # imports NumPy, without which the values are looked up

    return (derive(seed, "sweep", where, number) >> 11) / 2**53


def _range(given: Mapping[str, Any], where: str) -> list[Any]:
    name, arguments = _one_key(given, where, RANGES)
    low, high, count = _ends(given, arguments, where, count=3)
    if name == "geomspace" and low <= 0:
        raise BadInput(where=where, expected="a range above 0, since it is a geomspace", got=_shown(given))
    shares = [place / (count - 1) for place in range(1, count - 1)]
    inner = [low + share * (high - low) if name == "linspace" else low * (high / low) ** share for share in shares]
    if isinstance(low, int) and isinstance(high, int) and all(math.isclose(value, round(value)) for value in inner):
        return [low, *map(round, inner), high]
    return [float(low), *(_rounded(value, low, high) for value in inner), float(high)]


def _one_key(given: Any, where: str, names: Sequence[str]) -> tuple[str, Any]:
    if not isinstance(given, Mapping) or len(given) != 1 or next(iter(given)) not in names:
        raise BadInput(where=where, expected=f"a list of values, or {_forms(names)}", got=_shown(given))
    return next(iter(given.items()))


def _ends(given: Any, arguments: Any, where: str, *, count: int) -> Sequence[Any]:
    """Low and high end of a range, and the number of its values where it has one (count: 3)."""
    kinds = "[low, high]" if count == 2 else "[low, high, number of values]"
    numbers = arguments if isinstance(arguments, list) and len(arguments) == count else []
    sound = bool(numbers) and all(
        type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e300 for value in numbers
    )
    if not sound or not numbers[0] < numbers[1]:
        raise BadInput(where=where, expected=f"{kinds} with numbers, the lower one first", got=_shown(given))
    if count == 3 and not (type(numbers[2]) is int and 2 <= numbers[2] <= MOST_VALUES):
        raise BadInput(where=where, expected=f"from 2 to {MOST_VALUES} values", got=_shown(given))
    return numbers


def _rounded(value: float, low: float, high: float) -> float:
    """To four significant digits, within the range."""
    return float(min(max(float(f"{value:.4g}"), low), high))


def _forms(names: Sequence[str]) -> str:
    return " or ".join(f"{{{name}: [...]}}" for name in names)


def _shown(given: Any) -> str:
    return repr(dict(given) if isinstance(given, Mapping) else given)
