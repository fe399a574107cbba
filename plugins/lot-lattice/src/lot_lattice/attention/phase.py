"""Phase attention (PhaseGPT): tokens are oscillators that the mean field of their past pulls into phase."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lot import Context, Dims, GeneratorFor
from lot.circular import wrap
from lot.nn import Ablatable, CachedAttention, require_heads
from lot_lattice.config import PhaseConfig
from lot_lattice.kernels.dispatch import mode
from lot_lattice.ops.angles import circle, full_precision, random_phases, wide
from lot_lattice.ops.dynamics import MeanFieldState, mean_field, mean_field_eager, mean_field_extend


class PhaseAttention(Ablatable, CachedAttention[MeanFieldState]):
    """x -> phases pi tanh(x W) of H x O oscillators per token -> K steps of mean-field dynamics -> readout.

    There are no queries or keys: tokens influence each other through the mean field of `dynamics.mean_field` alone.
    As published (github.com/templetwo/PhaseGPT) it couples to all tokens, the future too, with the sign of the
    coupling reversed, and reads the wrapped angle: `causal=False, coupling=-1.0, readout="angle"`.
    """

    def __init__(self, config: PhaseConfig, dims: Dims) -> None:
        super().__init__()
        require_heads(dims)
        mode()  # a LOT_KERNELS without meaning is an error before a run starts
        self.config, self.dims = config, dims
        self.causal = dims.causal if config.causal is None else config.causal
        H, N = dims.heads, config.oscillators
        self.to_phase = nn.Linear(dims.width, H * N)
        self.frequency = nn.Parameter(torch.empty(H, N))  # omega, radians per unit of time
        self.coupling = nn.Parameter(torch.empty(H))  # K
        self.from_phase = nn.Linear(H * N * (2 if config.readout == "circular" else 1), dims.width)

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Projections as GPT-2, frequencies from N(0, natural_freq_std^2), the coupling as configured."""
        residual = 0.02 / math.sqrt(2 * self.dims.layers)
        nn.init.normal_(self.to_phase.weight, std=0.02, generator=generator_for("to_phase.weight"))
        nn.init.normal_(self.from_phase.weight, std=residual, generator=generator_for("from_phase.weight"))
        nn.init.normal_(self.frequency, std=self.config.natural_freq_std, generator=generator_for("frequency"))
        nn.init.constant_(self.coupling, self.config.coupling)
        nn.init.zeros_(self.to_phase.bias)
        nn.init.zeros_(self.from_phase.bias)

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D); on request phase (B, H, T, O) and natural_frequency (H, O)."""
        c = self.config
        with full_precision(x):
            theta0, omega, coupling = self._start(x)
            if self.scrambler is not None:
                theta = random_phases(theta0, self.scrambler)
            elif ctx.padding is None:
                theta = mean_field(theta0, omega, coupling, c.dt, c.iterations, self.causal)
            else:
                theta = mean_field_eager(theta0, omega, coupling, c.dt, c.iterations, self.causal, ctx.padding)
            read = self._read(theta)
        signals = {}
        if "phase" in self.want:
            signals["phase"] = theta
        if "natural_frequency" in self.want:
            signals["natural_frequency"] = self.frequency
        return self.from_phase(read.to(x.dtype)), signals

    def _start(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """theta0 (B, H, T, O), omega (H, O) and coupling (H,), float32 or wider, with the noise of training."""
        wide_x = wide(x)
        B, T, _ = x.shape
        raw = F.linear(wide_x, self.to_phase.weight.to(wide_x.dtype), self.to_phase.bias.to(wide_x.dtype))
        theta0 = math.pi * raw.tanh().view(B, T, self.dims.heads, -1).transpose(1, 2)
        omega, coupling = self.frequency.to(wide_x.dtype), self.coupling.to(wide_x.dtype)
        # The default generator, as dropout: the engine keys it for each step.
        if self.training and self.config.phase_noise:
            theta0 = theta0 + self.config.phase_noise * torch.randn_like(theta0)
        if self.training and self.config.frequency_jitter:
            omega = omega * (1 + self.config.frequency_jitter * torch.randn_like(omega))
        return theta0, omega, coupling

    def _read(self, theta: Tensor) -> Tensor:
        """What the output projection reads of theta (B, H, T, O): (B, T, H O), or (B, T, 2 H O) with cos and sin."""
        theta = theta.transpose(1, 2)  # (B, T, H, O)
        return (wrap(theta) if self.config.readout == "angle" else circle(theta, dim=-2)).flatten(2)

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> MeanFieldState:
        """Empty sums for each of the K iterations: one size, whatever the number of tokens."""
        shape = (self.config.iterations, batch, *self.frequency.shape)
        wide_dtype = torch.promote_types(self.frequency.dtype, torch.float32)
        sums = torch.zeros(shape, device=device, dtype=wide_dtype)
        return MeanFieldState(sums, sums.clone(), torch.zeros(batch, 1, device=device, dtype=wide_dtype))

    def extend(self, x: Tensor, ctx: Context, cache: MeanFieldState) -> tuple[Tensor, MeanFieldState]:
        """y (B, n, D) of the next n tokens x (B, n, D), which join the sums."""
        with full_precision(x):
            theta0, omega, coupling = self._start(x)
            theta, cache = mean_field_extend(theta0, omega, coupling, self.config.dt, cache, ctx.padding)
            read = self._read(theta)
        return self.from_phase(read.to(x.dtype)), cache
