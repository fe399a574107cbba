"""The core's own components, registered through the same hooks as everybody's. Imports no torch."""

from __future__ import annotations

import attrs

from lot.component import Component
from lot.hookspecs import hookimpl
from lot.options import option


@attrs.frozen(kw_only=True)
class VanillaConfig:
    """Options of vanilla attention."""

    causal: bool | None = option(None, help="look at earlier positions only; null: as the task asks")


@attrs.frozen(kw_only=True)
class AdamWConfig:
    """Options of AdamW."""

    lr: float = option(1e-3, ge=0, help="peak learning rate")
    weight_decay: float = option(0.01, ge=0, help="decoupled weight decay, on matrices only")
    betas: tuple[float, float] = option((0.9, 0.98), ge=0, lt=1, help="decay of the first and second moment")
    eps: float = option(1e-8, gt=0, help="added to the root of the second moment")


@attrs.frozen(kw_only=True)
class MuonConfig:
    """Options of Muon with AdamW."""

    lr: float = option(1e-3, ge=0, help="peak learning rate of AdamW: embeddings, head, norms, biases, scalars")
    matrix_lr: float = option(0.02, ge=0, help="peak learning rate of Muon: hidden matrices")
    momentum: float = option(0.95, ge=0, lt=1, help="momentum of Muon")
    nesterov: bool = option(True, help="Nesterov form of the momentum")
    weight_decay: float = option(0.01, ge=0, help="decoupled weight decay, on matrices only")
    betas: tuple[float, float] = option((0.9, 0.98), ge=0, lt=1, help="decay of AdamW's first and second moment")
    eps: float = option(1e-8, gt=0, help="added to the root of AdamW's second moment")


@attrs.frozen(kw_only=True)
class CrossEntropyConfig:
    """Options of cross-entropy."""

    label_smoothing: float = option(0.0, ge=0, lt=1, help="probability mass spread over all tokens")


@hookimpl
def lot_attention() -> list[Component]:
    return [
        Component(
            name="vanilla",
            summary="Multi-head scaled dot-product attention: the baseline of every comparison.",
            factory="lot.attention:Vanilla",
            config=VanillaConfig,
            reference="Vaswani et al., Attention Is All You Need, 2017; initial values as GPT-2",
            emits=frozenset({"attention"}),
        )
    ]


@hookimpl
def lot_embeddings() -> list[Component]:
    return [
        Component(
            name="token",
            summary="One learned vector a token.",
            factory="lot.embedding:Token",
            reference="Bengio et al., A Neural Probabilistic Language Model, 2003",
        )
    ]


@hookimpl
def lot_optimizers() -> list[Component]:
    return [
        Component(
            name="adamw",
            summary="Adam with decoupled weight decay, fused where torch offers it.",
            factory="lot.optim:adamw",
            config=AdamWConfig,
            reference="Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019",
        ),
        Component(
            name="muon",
            summary="Momentum with orthogonalised updates for hidden matrices, AdamW for the rest.",
            factory="lot.optim:MuonWithAdamW",
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
            factory="lot.loss:CrossEntropy",
            config=CrossEntropyConfig,
            reference="Maximum likelihood",
        )
    ]


@hookimpl
def lot_diagnostics() -> list[Component]:
    return [
        Component(
            name="grad_norm",
            summary="Norm of the objective's gradient, of the model and of each block.",
            factory="lot.diagnostics:GradNorm",
            reference="Pascanu et al., On the difficulty of training recurrent neural networks, 2013",
        )
    ]
