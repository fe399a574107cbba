"""What this package registers. Imports no torch: every command reads it."""

from __future__ import annotations

from lot import Component, hookimpl


@hookimpl
def lot_attentions() -> list[Component]:
    return [
        Component(
            name="running_mean",
            summary="Each token sees a decaying mean of the tokens so far.",
            factory="lot_running_mean.running_mean:RunningMean",  # imported when a run builds it
            config="lot_running_mean.config:RunningMeanConfig",  # imported when a command reads the options
            reference="Exponential smoothing (Brown, 1956)",
        )
    ]
