"""The wave-packet embedding: a token is a bundle of harmonic waves whose frequency follows from how common it is."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lot import BadInput, Context, Dims, Embedding, GeneratorFor
from lot_wave.config import WavePacketConfig
from lot_wave.ops.waves import positions, turn, widest


class WavePacket(Embedding):
    """x(v, t) = P [A_n cos n theta_w, A_n sin n theta_w] / norm, theta_w = omega_v t + phi_vw, for token v at t.

    omega_v: frequency scale times 1 / sqrt(mass_v), mass_v = 1 / (rank_v + 1), in radians per position. phi (V, W):
    learned. A: 1/n, or learned for each token and wave. P: a linear map to the width. Features have unit norm while A =
    1/n, so that x starts at the size of a standard embedding.

    As published (`form`), the angle of harmonic n is 2 pi n omega_v + phi_vw + f_w t, with f (W,) learned and shared by all
    tokens; P has a bias, features are not divided by their norm, and a LayerNorm comes after the mixture.
    """

    segments = True  # it heeds ctx.positions

    frequency: Tensor
    order: Tensor
    trained: Tensor

    def __init__(self, config: WavePacketConfig, dims: Dims) -> None:
        super().__init__()
        V, W, N = dims.vocab_size, config.waves, config.harmonics
        self.harmonics, self.anneal_steps = N, config.anneal_steps
        published = config.form == "published"
        default = 1.0 if published else 2 * math.pi / (dims.max_len * math.sqrt(V))  # one turn of the lightest token
        scale = default if config.frequency_scale is None else config.frequency_scale
        rank = _ranks(config, dims)
        # Follows from the configuration and the task, but is what the phases were learned for: kept in checkpoints.
        # (V,) radians per position; as published, turns.
        self.register_buffer("frequency", (scale * (rank + 1).double().sqrt()).float())
        n = torch.arange(1, N + 1, dtype=torch.float32)
        self.register_buffer("order", n, persistent=False)
        self.norm = 1.0 if published else math.sqrt(W * float((1 / n.double() ** 2).sum()))
        self.phase = nn.Parameter(torch.zeros(V, W))
        self.log_amplitude = nn.Parameter(torch.zeros(V, W, N)) if config.learn_amplitudes else None
        self.project = nn.Linear(2 * W * N, dims.width, bias=published)
        self.positional_frequency = nn.Parameter(torch.zeros(W)) if published else None  # radians per position
        self.layer_norm = nn.LayerNorm(dims.width) if published else None
        self.standard = nn.Embedding(V, dims.width) if config.anneal_steps else None
        if config.anneal_steps:
            # The last step of training, so that a trained model used without its step is the one that was trained.
            self.register_buffer("trained", torch.zeros((), dtype=torch.int64))

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Phases uniform over the circle, amplitudes 1/n, matrices from N(0, 0.02), positional frequencies from N(0, 0.1)."""
        super().reset_parameters(generator_for)
        if self.positional_frequency is not None:
            nn.init.normal_(self.positional_frequency, std=0.1, generator=generator_for("positional_frequency"))
        nn.init.uniform_(self.phase, -math.pi, math.pi, generator=generator_for("phase"))
        if self.log_amplitude is not None:
            with torch.no_grad():
                self.log_amplitude.copy_(-self.order.log().expand_as(self.log_amplitude))

    def amplitude(self) -> Tensor:
        """A > 0 of every token, wave and harmonic, (V, W, N)."""
        if self.log_amplitude is None:
            return (1 / self.order).expand(*self.phase.shape, self.harmonics)
        return self.log_amplitude.exp()

    def standard_share(self, ctx: Context) -> Tensor:
        """The share () of the standard embedding at this step: from 1 at step 0 linearly to 0 at `anneal_steps`."""
        if self.training:
            with torch.no_grad():
                self.trained.copy_(ctx.step)
        step = torch.maximum(self.trained, ctx.step.to(self.trained.device))
        return (1.0 - step.float() / self.anneal_steps).clamp(min=0.0)

    def features(self, ids: Tensor, start: int = 0, at: Tensor | None = None) -> Tensor:
        """Waves (B, T, 2 W N), in float32 or wider, of tokens ids (B, T), the first at position `start`.

        at: (B, T) int64, the position of each token, in place of `start` and following.
        """
        phase = F.embedding(ids, self.phase)  # (B, T, W)
        phase = phase.to(torch.promote_types(phase.dtype, torch.float32))
        time = positions(ids.shape[1], start, ids.device) if at is None else at.to(widest(ids.device))
        time = time[..., None]  # (T, 1) or (B, T, 1)
        amplitude = 1 / self.order if self.log_amplitude is None else self.log_amplitude[ids].exp()
        if self.positional_frequency is not None:
            theta = turn(phase, self.positional_frequency, time)[..., None]  # (B, T, W, 1)
            turns = self.frequency[ids].to(time.dtype)[..., None, None]  # (B, T, 1, 1)
            angle = turn(theta, 2 * math.pi * self.order, turns)  # (B, T, W, N)
            return torch.cat([(amplitude * wave).flatten(2) for wave in (angle.sin(), angle.cos())], dim=-1)
        frequency = self.frequency[ids][..., None]  # (B, T, 1)
        theta = turn(phase, frequency, time)
        angle = theta[..., None] * self.order  # (B, T, W, N)
        return torch.stack((amplitude * angle.cos(), amplitude * angle.sin()), dim=-1).flatten(2) / self.norm

    def cosines(self, ids: Tensor, start: int = 0) -> Tensor:
        """The features (B, T, W N) that are cosines, waves outer and harmonics inner."""
        features = self.features(ids, start)
        return features[..., 0::2] if self.positional_frequency is None else features.chunk(2, dim=-1)[1]

    def forward(self, ids: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """x (B, T, D); on request the signal `harmonic_amplitude` (V, W, N)."""
        dtype = self.project.weight.dtype
        # The stream keeps the dtype of the parameters under autocast, as it does after a standard embedding.
        x = self.project(self.features(ids, ctx.start, ctx.positions).to(dtype)).to(dtype)
        if self.standard is not None:
            x = torch.lerp(x, self.standard(ids), self.standard_share(ctx).to(dtype))
        if self.layer_norm is not None:
            x = self.layer_norm(x).to(dtype)
        return x, {"harmonic_amplitude": self.amplitude()} if "harmonic_amplitude" in self.want else {}


def _ranks(config: WavePacketConfig, dims: Dims) -> Tensor:
    """The rank (V,) of each token, from 0 for the heaviest; ties go by token id."""
    V, counts = dims.vocab_size, dims.token_counts
    if config.form == "published" and config.rank == "auto":
        return torch.arange(V)
    if config.rank == "token_id" or (config.rank == "auto" and counts is None):
        return torch.arange(V)
    if counts is None:
        raise BadInput(
            where="rank",
            expected="a task that counts its tokens",
            got="one that does not",
            fix="set rank to auto or token_id",
        )
    if counts.shape != (V,):
        raise BadInput(where="rank", expected=f"{V} token counts", got=tuple(counts.shape))
    order = torch.argsort(counts.cpu(), descending=True, stable=True)
    return torch.empty_like(order).scatter_(0, order, torch.arange(V))
