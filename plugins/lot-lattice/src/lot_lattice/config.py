"""Options of every component in this package. Imports no torch, since every command reads them."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from lot import option


def _shape(value: Any) -> str | None:
    return None if value is None or len(value) > 0 else "at least one size"


def _range(value: tuple[float, float]) -> str | None:
    return None if value[0] <= value[1] else "a low and a high end, in that order"


@attrs.frozen(kw_only=True)
class LatticeConfig:
    """Options of lattice attention."""

    lattice_shape: tuple[int, ...] | None = option(
        None,
        ge=1,
        check=_shape,
        help="sizes of the lattice; their product is the number of heads; null: the most square lattice of two dimensions",
    )
    neighborhood: Literal["moore", "von_neumann"] = option(
        "moore",
        help="moore: at most `radius` sites away along every axis; von_neumann: at most `radius` steps away in total",
    )
    radius: int = option(1, ge=1, help="distance at which a head is still a neighbor, in sites")
    boundary: Literal["open", "periodic"] = option(
        "open", help="open: the lattice has edges; periodic: opposite edges meet, as on a torus"
    )
    lattice_constant: float = option(
        1.0, gt=0, help="initial lattice constant of each head: its weights are exp(-distance / constant); learned"
    )
    coupling: float = option(0.5, help="initial coupling strength of each head, per unit of time; learned")
    init_freq_range: tuple[float, float] = option(
        (0.25, 2.0),
        check=_range,
        help="range from which the natural frequencies are drawn uniformly, radians per unit of time; learned",
    )
    dynamics: Literal["scan", "relax"] = option(
        "scan",
        help="scan: the phases evolve along the sequence; relax: the phases of each token evolve from a start of their own",
    )
    dt: float = option(0.1, gt=0, help="time of one token (scan) or of one step (relax)")
    substeps: int = option(1, ge=1, help="Euler steps per dt")
    steps: int = option(10, ge=1, help="relax: number of dt for which the phases of a token evolve")
    score: Literal["phase", "neighbors", "head"] = option(
        "phase",
        help="term added to the score. phase: alpha cos(theta(q) - theta(k)); neighbors: the same with the mean field of "
        "the neighbors at the key; head: alpha cos(theta(q)), as published, which softmax cancels",
    )
    alpha: float = option(1.0, help="initial weight of the phase term in each head's score; learned")
    causal: bool | None = option(
        None, help="attend to the token itself and earlier ones only; null: what the task asks for"
    )


@attrs.frozen(kw_only=True)
class PhaseConfig:
    """Options of phase attention."""

    oscillators: int = option(32, ge=1, help="oscillators of each head")
    coupling: float = option(
        1.0, help="initial coupling strength K of each head; positive attracts, negative repels (as published); learned"
    )
    iterations: int = option(10, ge=1, help="Euler steps of the dynamics")
    dt: float = option(0.1, gt=0, help="time of one step")
    natural_freq_std: float = option(
        0.1, ge=0, help="natural frequencies are drawn from N(0, this squared), radians per unit of time; learned"
    )
    readout: Literal["circular", "angle"] = option(
        "circular",
        help="what the output projection reads. circular: cos and sin; angle: the wrapped angle, as published, which jumps at +-pi",
    )
    causal: bool | None = option(
        None,
        help="couple each token to itself and earlier ones only; false: to all, as published; null: what the task asks for",
    )
    phase_noise: float = option(0.0, ge=0, help="training: standard deviation of noise on the phases, radians")
    frequency_jitter: float = option(
        0.0, ge=0, help="training: relative standard deviation of noise on the natural frequencies"
    )


@attrs.frozen(kw_only=True)
class HybridConfig:
    """Options of hybrid attention."""

    inner: dict[str, Any] = option({"name": "vanilla"}, help="the other attention: a table of its name and its options")
    phase: dict[str, Any] = option({}, help="options of the phase attention")
    blend: float = option(0.5, ge=0, le=1, help="share a of the phase attention: (1 - a) inner + a phase")


@attrs.frozen(kw_only=True)
class PhaseRegularizationConfig:
    """Options of phase regularization."""

    target: float = option(0.45, ge=0, le=1, help="order parameter R toward which every token is pulled")


@attrs.frozen(kw_only=True)
class CoherenceConfig:
    """Options of the coherence loss."""

    mode: Literal["ceiling", "center", "band"] = option(
        "ceiling",
        help="what is penalized. ceiling: R above r_target; center: any distance from r_target; band: distance beyond r_width",
    )
    r_target: float = option(0.45, ge=0, le=1, help="order parameter R aimed at")
    r_width: float = option(0.1, ge=0, le=1, help="band: half of its width")


@attrs.frozen(kw_only=True)
class OrderParameterConfig:
    """Options of the order parameter."""

    healthy: tuple[float, float] = option(
        (0.35, 0.55),
        ge=0,
        le=1,
        check=_range,
        help="range of R that is called healthy where it lies above random phases",
    )
    over: float = option(0.8, gt=0, le=1, help="R above this is called over-synchronized")


@attrs.frozen(kw_only=True)
class LatticeSnapshotConfig:
    """Options of the lattice snapshot."""

    frames: int = option(
        4, ge=1, help="number of tokens at which the lattice is drawn, spread evenly over the sequence"
    )


@attrs.frozen(kw_only=True)
class DelimiterWaveConfig:
    """Options of the delimiter wave."""

    token: int = option(0, ge=0, help="token id of the delimiter; 0 in copy_reverse")
    window: int = option(12, ge=1, help="tokens drawn on each side of the delimiter")
