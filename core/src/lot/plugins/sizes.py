"""What a model says of itself before it is built, so that the parts around which it is built can be chosen. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs


@attrs.frozen(kw_only=True)
class Sizes:
    """What the options of a model make of it: `sizes()` of its configuration class returns this.

    width: channels of the residual stream. heads: attention heads. layers: number of blocks.
    slots: the layers whose attention a configuration chooses; None: all. mlp: the MLP of a configuration that names none.
    owned: sections of a run file whose part the model brings itself, of `embed` and `mlp`; they cannot be given.
    max_len: longest sequence in tokens; None: that of the task. vocab_size: None: that of the task.
    tokens: the number of tokens that the task must have, where the model knows: that of its own tokenizer.
    pretrained: whether the sizes are those of given weights rather than of options, so that no attention has to heed all.
    positions, dropout: as in `Dims`. details: further fields of `Dims` by name, where they are not the defaults.
    """

    width: int
    heads: int
    layers: int
    slots: tuple[int, ...] | None = None
    mlp: str = "gelu"
    owned: frozenset[str] = frozenset()
    max_len: int | None = None
    vocab_size: int | None = None
    tokens: int | None = None
    pretrained: bool = False
    positions: Literal["learned", "rotary", "none"] = "learned"
    dropout: float = 0.0
    details: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def attention_layers(self) -> tuple[int, ...]:
        """The layers whose attention a configuration chooses."""
        return tuple(range(self.layers)) if self.slots is None else self.slots

    @property
    def mlp_layers(self) -> tuple[int, ...]:
        """The layers whose MLP a configuration chooses: all, or none."""
        return () if "mlp" in self.owned else tuple(range(self.layers))
