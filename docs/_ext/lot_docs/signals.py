"""The table of signals, and which component gives or reads each of them."""

from __future__ import annotations

import lot
from lot.signals import SIGNALS
from lot_docs.markdown import anchor, code, fields, text


def page() -> str:
    """Every signal that some installed component gives or needs; those of `lot.signals` come first."""
    others = {name for component in _all() for name in component.emits | component.needs} - set(SIGNALS)
    return "\n".join([*(_agreed(name) for name in SIGNALS), *(_other(name) for name in sorted(others))])


def _agreed(name: str) -> str:
    signal = SIGNALS[name]
    shapes = " or ".join(f"({', '.join(shape)})" for shape in signal.shapes)
    return _entry(name, [("meaning", text(signal.meaning)), ("from", signal.source), ("shape", text(shapes))])


def _other(name: str) -> str:
    return _entry(name, [("meaning", "its giver defines it; `lot.signals` fixes no shape")])


def _entry(name: str, known: list[tuple[str, str]]) -> str:
    users = [("given by", _who(name, "emits")), ("needed by", _who(name, "needs"))]
    facts = fields([*known, *((term, who) for term, who in users if who)])
    return f"{anchor(f'signal-{name}')}\n## {code(name)}\n\n{facts}"


def _who(signal: str, field: str) -> str:
    found = [component for component in _all() if signal in getattr(component, field)]
    if field == "emits" and signal in SIGNALS and SIGNALS[signal].source == "trunk":
        return "the decoder itself"
    return ", ".join(f"{code(component.name)} ({component.kind})" for component in found)


def _all() -> list[lot.Component]:
    reg = lot.registry()
    return [
        item
        for kind in ("attention", "embedding", "mlp", "model", "loss", "diagnostic")
        for item in reg.components(kind)
    ]
