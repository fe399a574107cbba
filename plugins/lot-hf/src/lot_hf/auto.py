"""Models that `lot export --format hf` wrote, for the Auto classes of transformers; importing this registers them.

It is a module of its own, since `import lot_hf` imports neither torch nor transformers.

    import lot_hf.auto
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained("folder")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

import lot
from lot import BadInput, Batch, Context, Split


class LotConfig(PretrainedConfig):  # type: ignore[misc]
    """The configuration of a model of LOT.

    lot: what `lot.load_config` reads. token_counts: occurrences of each token in the text that it was trained on, or None.
    """

    model_type = "lot"

    def __init__(self, lot: dict[str, Any] | None = None, token_counts: list[int] | None = None, **facts: Any) -> None:
        self.lot, self.token_counts = lot or {}, token_counts
        facts.setdefault("tie_word_embeddings", False)  # a tied head has no tensor of its own here
        super().__init__(**facts)


@dataclass
class LotOutput(ModelOutput):  # type: ignore[misc]
    """loss (): where labels are given. logits (B, T, V). cache: what generation hands to the next pass."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    cache: LotCache | None = None


class LotCache:
    """The caches of a model of LOT, and the number of tokens that they hold."""

    def __init__(self, caches: list[Any]) -> None:
        self.caches, self.length = caches, 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of tokens so far."""
        return self.length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Raises BadInput: what a mechanism keeps of a sequence is its own affair."""
        raise BadInput(
            "beam search needs to reorder caches, which mechanisms of LOT do not offer", fix="use_cache=False"
        )


class LotForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A model of LOT as a causal language model of transformers."""

    config_class = LotConfig
    base_model_prefix = "none"  # the names of the weights are those of the whole
    _supports_sdpa = True
    _is_stateful = True  # a mechanism may carry a state, which cannot be cut back

    def __init__(self, config: LotConfig) -> None:
        super().__init__(config)
        settings = lot.load_config(config.lot)
        with torch.device("cpu"):  # not on meta, where tables that no file holds would stay without values
            self.model = lot.build_model(settings, _Sizes(config)).eval()
        self._tables = {
            module: {name: module.get_buffer(name).clone() for name in module._non_persistent_buffers_set}
            for module in self.model.modules()
        }
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: torch.nn.Module) -> None:
        """What no file holds, such as rotary tables: transformers puts raw memory in its place while it loads."""
        for name, value in self._tables.get(module, {}).items():
            module.get_buffer(name).copy_(value)

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def get_input_embeddings(self) -> torch.nn.Module:
        """The module that turns ids into vectors."""
        return self.model.embedding

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: LotCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        **_unused: Any,
    ) -> LotOutput:
        """input_ids (B, T), the tokens behind those that `cache` holds; attention_mask (B, all so far), 0 at padding."""
        B, T = input_ids.shape
        padding = None
        if attention_mask is not None and not bool((attention_mask != 0).all()):
            padding = attention_mask[:, -T:] == 0
            if position_ids is None:
                position_ids = (attention_mask.long().cumsum(1) - 1).clamp(min=0)
        positions = None if position_ids is None else position_ids[:, -T:].expand(B, T)
        start = 0 if cache is None else cache.length
        ctx = Context(start=start, padding=padding, positions=positions)
        if use_cache and cache is None and self.model.can_decode():
            cache = LotCache(self.model.init_cache(B, input_ids.device, self.dtype))
        if cache is None:
            logits = self.model(input_ids, ctx).logits
        else:
            logits, cache.caches = self.model.extend(input_ids, ctx, cache.caches)
            cache.length += T
        loss = None
        if labels is not None:
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return LotOutput(loss=loss, logits=logits, cache=cache)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, cache: LotCache | None = None, attention_mask: Tensor | None = None, **more: Any
    ) -> dict[str, Any]:
        """The tokens that the cache does not hold; all, where there is none."""
        taken = 0 if cache is None else cache.length
        return {
            "input_ids": input_ids[:, taken:],
            "cache": cache,
            "attention_mask": attention_mask,
            "use_cache": more.get("use_cache"),
        }


class _Sizes(lot.Task):
    """Stands for the task of the run: its sizes. It has no data."""

    def __init__(self, config: LotConfig) -> None:
        self.vocab_size, self.seq_len = config.vocab_size, 1
        self.token_counts = None if config.token_counts is None else torch.tensor(config.token_counts)

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        raise BadInput("an exported model has no data")

    def length(self, split: Split) -> int | None:
        return 0

    def metrics(self) -> Any:
        raise BadInput("an exported model has no data")

    def decode(self, ids: Any) -> str:
        return " ".join(str(int(one)) for one in ids)


AutoConfig.register("lot", LotConfig)
AutoModelForCausalLM.register(LotConfig, LotForCausalLM)
