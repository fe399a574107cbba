"""What this package registers, as data. Imports no torch, since every command reads it."""

from __future__ import annotations

from lot import Component, hookimpl


@hookimpl
def lot_models() -> list[Component]:
    return [
        Component(
            name="hf",
            summary="A pretrained model of the Llama, Mistral, Qwen, Phi or GPT-2 family, with your attention in chosen layers.",
            factory="lot_hf.model:Pretrained",
            config="lot_hf.config:PretrainedConfig",
            content="lot_hf.config:content",
            reference="Hugging Face transformers, whose model folders it reads",
            emits=frozenset({"hidden"}),
            notes=(
                "It is LOT's own decoder with the weights of the model: equal to transformers' modules to 1e-6 in float64.",
                "Weights come as safetensors or GGUF; pickled weights are refused, and no code of a model is ever run.",
                "A grafted attention takes over queries, keys, values and output where it is built from lot.nn.Projections; "
                "the run says at its start what was taken over, and how far the attention is from the pretrained one.",
                "train.only=[new] trains what has no pretrained value, train.only=[attn] the grafted attentions.",
            ),
        )
    ]
