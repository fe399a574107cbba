"""The hooks that a plugin may implement. No arguments, no side effects: each returns components as data.

A plugin is a module that imports no torch, named by an entry point of the group `lot`:

    from lot import Component, hookimpl

    @hookimpl
    def lot_attentions():
        return [Component(name="my_waves", summary="...", factory="my_waves.attention:MyWaves", config=MyWavesConfig)]
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from lot.plugins.component import Component

hookspec = pluggy.HookspecMarker("lot")
hookimpl = pluggy.HookimplMarker("lot")
"""Marks a function of a plugin as the implementation of the hook of its name."""

HOOKS = {
    "attention": "lot_attentions",
    "embedding": "lot_embeddings",
    "mlp": "lot_mlps",
    "model": "lot_models",
    "optimizer": "lot_optimizers",
    "loss": "lot_losses",
    "task": "lot_tasks",
    "diagnostic": "lot_diagnostics",
    "recorder": "lot_recorders",
    "kernel": "lot_kernels",
}
"""The hook that registers each kind of component."""


@hookspec
def lot_attentions() -> Iterable[Component]:  # type: ignore[empty-body]
    """Attention mechanisms; factory(config, dims: Dims) -> Attention."""


@hookspec
def lot_embeddings() -> Iterable[Component]:  # type: ignore[empty-body]
    """Token embeddings; factory(config, dims: Dims) -> Embedding."""


@hookspec
def lot_mlps() -> Iterable[Component]:  # type: ignore[empty-body]
    """MLPs, the other half of a block; factory(config, dims: Dims) -> MLP."""


@hookspec
def lot_models() -> Iterable[Component]:  # type: ignore[empty-body]
    """Models around the parts; factory(config, parts: Parts) -> Model. The configuration class has `sizes() -> Sizes`.

    Where that reads files, it may have `without_files()`: options of the same model, with equal names in `loaded`, which read
    none and leave the weights to a checkpoint. Runs keep what differs, to be used without the files.
    """


@hookspec
def lot_optimizers() -> Iterable[Component]:  # type: ignore[empty-body]
    """Optimizers; factory(config, model: nn.Module) -> torch.optim.Optimizer."""


@hookspec
def lot_losses() -> Iterable[Component]:  # type: ignore[empty-body]
    """Losses; factory(config) -> Loss."""


@hookspec
def lot_tasks() -> Iterable[Component]:  # type: ignore[empty-body]
    """Tasks and datasets; factory(config, seed: int) -> Task."""


@hookspec
def lot_diagnostics() -> Iterable[Component]:  # type: ignore[empty-body]
    """Diagnostics; factory(config) -> Diagnostic."""


@hookspec
def lot_recorders() -> Iterable[Component]:  # type: ignore[empty-body]
    """Recorders, which take the rows of a run elsewhere; factory(config) -> Recorder."""


@hookspec
def lot_kernels() -> Iterable[Component]:  # type: ignore[empty-body]
    """Compiled kernels; factory(config) -> Kernel, for `lot plugins build` and the environment report."""
