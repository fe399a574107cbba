"""The core's own components, registered through the same hooks as those of any plugin. Imports no torch."""

from __future__ import annotations

from lot.builtin.config import (
    AdamWConfig,
    AttentionMapConfig,
    CrossEntropyConfig,
    DecoderConfig,
    GPT2Config,
    LlamaConfig,
    MuonConfig,
    VanillaConfig,
)
from lot.plugins.component import Component
from lot.plugins.hookspecs import hookimpl


@hookimpl
def lot_attentions() -> list[Component]:
    return [
        Component(
            name="vanilla",
            summary="Multi-head scaled dot-product attention: the baseline of every comparison.",
            factory="lot.builtin.vanilla:Vanilla",
            config=VanillaConfig,
            reference="Vaswani et al., Attention Is All You Need, 2017; initial values as GPT-2",
            emits=frozenset({"attention"}),
            notes=("Neutral form: itself; other mechanisms that have one become this (train.neutral).",),
        )
    ]


@hookimpl
def lot_embeddings() -> list[Component]:
    return [
        Component(
            name="token",
            summary="One learned vector per token.",
            factory="lot.builtin.token:Token",
            reference="Bengio et al., A Neural Probabilistic Language Model, 2003",
        )
    ]


@hookimpl
def lot_mlps() -> list[Component]:
    return [
        Component(
            name="gelu",
            summary="Two linear maps with a GELU (tanh form) between them.",
            factory="lot.builtin.mlps:GeluMLP",
            reference="Hendrycks and Gimpel, Gaussian Error Linear Units, 2016; initial values as GPT-2",
        ),
        Component(
            name="swiglu",
            summary="A linear map gated by the SiLU of another, and a third back.",
            factory="lot.builtin.mlps:SwiGLU",
            reference="Shazeer, GLU Variants Improve Transformer, 2020",
        ),
    ]


@hookimpl
def lot_models() -> list[Component]:
    return [
        Component(
            name="decoder",
            summary="A pre-norm decoder; its defaults are GPT-2's, but for the output head.",
            factory="lot.model.decoder:Decoder",
            config=DecoderConfig,
            reference="Radford et al., Language Models are Unsupervised Multitask Learners, 2019",
            emits=frozenset({"hidden"}),
            sized_by="mlp_ratio",
        ),
        Component(
            name="gpt2",
            summary="The decoder with the architecture of GPT-2: as by default, with the embedding as output head.",
            factory="lot.model.decoder:Decoder",
            config=GPT2Config,
            reference="Radford et al., Language Models are Unsupervised Multitask Learners, 2019",
            emits=frozenset({"hidden"}),
            sized_by="mlp_ratio",
        ),
        Component(
            name="llama",
            summary="The decoder with the architecture of Llama: rotary positions, RMSNorm, SwiGLU, no biases.",
            factory="lot.model.decoder:Decoder",
            config=LlamaConfig,
            reference="Touvron et al., LLaMA: Open and Efficient Foundation Language Models, 2023",
            emits=frozenset({"hidden"}),
            sized_by="mlp_ratio",
            notes=("The sizes are those of the decoder; kv_heads gives grouped queries, as in Llama 2 and later.",),
        ),
    ]


@hookimpl
def lot_optimizers() -> list[Component]:
    return [
        Component(
            name="adamw",
            summary="Adam with decoupled weight decay, fused where torch offers it.",
            factory="lot.builtin.optimizers:adamw",
            config=AdamWConfig,
            reference="Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019",
        ),
        Component(
            name="muon",
            summary="Momentum with orthogonalized updates for hidden matrices, AdamW for the rest.",
            factory="lot.builtin.optimizers:MuonWithAdamW",
            config=MuonConfig,
            reference="Jordan et al., Muon: an optimizer for hidden layers, 2024; torch.optim.Muon",
        ),
    ]


@hookimpl
def lot_losses() -> list[Component]:
    return [
        Component(
            name="cross_entropy",
            summary="Mean negative log likelihood of the scored targets.",
            factory="lot.builtin.cross_entropy:CrossEntropy",
            config=CrossEntropyConfig,
            reference="Maximum likelihood",
        )
    ]


@hookimpl
def lot_diagnostics() -> list[Component]:
    return [
        Component(
            name="grad_norm",
            summary="Norm of the objective's gradient: of the whole model, and of each block.",
            factory="lot.builtin.grad_norm:GradNorm",
            reference="Pascanu et al., On the difficulty of training recurrent neural networks, 2013",
        ),
        Component(
            name="loss_by_position",
            summary="Cross-entropy by the position of the token: whether what lies far back is of use.",
            factory="lot.builtin.loss_by_position:LossByPosition",
            reference="Kaplan et al., Scaling Laws for Neural Language Models, 2020 (loss by index of the token)",
            every=100,
        ),
        Component(
            name="attention_map",
            summary="The attention weights of every layer and head in one sequence, with its tokens. Holds T x T weights.",
            factory="lot.builtin.attention_map:AttentionMap",
            config=AttentionMapConfig,
            reference="Bahdanau et al., Neural Machine Translation by Jointly Learning to Align and Translate, 2015",
            needs=frozenset({"attention"}),
            every=500,
        ),
        Component(
            name="attention_entropy",
            summary="Entropy of the attention weights of each head. Holds the T x T weights of every layer while it measures.",
            factory="lot.builtin.attention_entropy:AttentionEntropy",
            reference="joshause/lot, visualizations.py; Shannon, A Mathematical Theory of Communication, 1948",
            needs=frozenset({"attention"}),
            every=100,
        ),
    ]


@hookimpl
def lot_recorders() -> list[Component]:
    return [
        Component(
            name="tensorboard",
            summary="TensorBoard: event files in the directory of the run. Every run has it, unless it is set to null.",
            factory="lot.builtin.recorders.tensorboard:TensorBoard",
            config="lot.builtin.recorders.config:TensorBoardConfig",
            check="lot.builtin.recorders.config:check_packages",
            reference="tensorboardX, the event files of TensorBoard without TensorFlow",
        ),
        Component(
            name="csv",
            summary="CSV: a table of each kind of row, in csv/ of the run, for spreadsheets and plots.",
            factory="lot.builtin.recorders.csv:Csv",
            reference="RFC 4180, Common Format and MIME Type for Comma-Separated Values Files, 2005",
        ),
        Component(
            name="wandb",
            summary="Weights & Biases. A run that is resumed goes on in the same remote run.",
            factory="lot.builtin.recorders.wandb:Wandb",
            config="lot.builtin.recorders.config:WandbConfig",
            check="lot.builtin.recorders.config:check_packages",
            reference="wandb, https://docs.wandb.ai",
            notes=(
                "Needs wandb: pip install 'lot-core[wandb]'.",
                "Log in once (wandb login). WANDB_MODE=offline keeps all for a later wandb sync.",
                "Its files lie in wandb/ of the current folder, or where WANDB_DIR says.",
                "wandb adds what it records of every program (command, git, hardware); its own settings turn that off.",
            ),
        ),
        Component(
            name="mlflow",
            summary="MLflow: a server, a database or a folder. A run that is resumed goes on in the same MLflow run.",
            factory="lot.builtin.recorders.mlflow:MLflow",
            config="lot.builtin.recorders.config:MLflowConfig",
            check="lot.builtin.recorders.config:check_packages",
            reference="MLflow Tracking, https://mlflow.org/docs/latest/ml/tracking",
            notes=("Needs mlflow: pip install 'lot-core[mlflow]'.",),
        ),
        Component(
            name="trackio",
            summary="Trackio: on this machine, or in a Hugging Face Space. A run that is resumed goes on under its name.",
            factory="lot.builtin.recorders.trackio:Trackio",
            config="lot.builtin.recorders.config:TrackioConfig",
            check="lot.builtin.recorders.config:check_packages",
            reference="Trackio, https://huggingface.co/docs/trackio",
            notes=("Needs trackio: pip install 'lot-core[trackio]'; trackio show opens its pages.",),
        ),
    ]
