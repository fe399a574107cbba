"""Inference at work: new tokens one by one, what each attends to, and the other likely tokens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import BadInput, Context, Diagnostic, Model, Probe, Record, generate as continue_prompt
from lot.figure import SEQUENTIAL_MAP, heading, literal, new_figure, pack, save_animation, token_names, unpack
from lot.nn import with_documents
from lot_wave.config import WaveInferenceConfig

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.artist import Artist
    from matplotlib.figure import Figure


def generate(
    model: Model, prompt: Tensor, new_tokens: int, *, step: Tensor, temperature: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The prompt (n,) continued to ids (n + m,), and the distributions (m, V) that the m new tokens were drawn from.

    m is `new_tokens`, or fewer where `max_len` ends. temperature: 0 takes the likeliest token.
    """
    count = min(new_tokens, model.dims.max_len - len(prompt))
    steps = list(continue_prompt(model, prompt[None], count, generator=generator, step=step, temperature=temperature))
    if not steps:
        return prompt, prompt.new_zeros(0, model.dims.vocab_size).float()
    return torch.cat((prompt, *(step.ids for step in steps))), torch.cat([step.probability for step in steps])


class WaveInference(Diagnostic):
    """Inference token by token, on the start of a validation example or on a text of yours: weights, candidates, uncertainty.

    Where documents share rows, it goes on from the first document that has as many tokens as the prompt wants, or else from the
    longest. `draw` shows the last token, `animate` all of them. Works for every attention that gives its weights.
    """

    def __init__(self, config: WaveInferenceConfig) -> None:
        self.config = config

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """entropy_mean: () nats, over the new tokens. without_context: () nats, what token frequencies alone leave.

        names (T, bytes) of prompt and new tokens, text (1, bytes) of the new ones, prompt () its length;
        weights (H, T, T) of the last layer; for each of m new tokens: entropy (m,) nats, candidate names (m k, bytes) and
        probability (m, k).
        """
        model = probe.model
        example = _text(probe, self.config.prompt_tokens)
        wanted = len(example) if probe.prompted else self.config.prompt_tokens
        n = max(1, min(wanted, len(example), model.dims.max_len - 1))
        ids, distributions = generate(
            model,
            example[:n],
            self.config.new_tokens,
            step=probe.ctx.step,
            temperature=self.config.temperature,
            generator=probe.generator,
        )
        k = min(self.config.candidates, distributions.shape[-1])
        probability, candidates = distributions.topk(k)
        entropy = torch.special.entr(distributions).sum(-1)
        return {
            "entropy_mean": entropy.mean() if len(entropy) else torch.zeros(()),
            "without_context": _entropy_of_frequencies(model),
            "names": pack(token_names(probe.task, ids.tolist())),
            "text": pack([probe.task.decode(ids[n:]).replace("\n", "↵")]),
            "prompt": torch.tensor(n),
            "weights": _last_weights(model, ids, probe.ctx.step),
            "entropy": entropy,
            "candidates": pack(token_names(probe.task, candidates.flatten().tolist())),
            "probability": probability,
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """The frame of the last new token of the last record; None where max_len left no room for one."""
        if not records or not len(records[-1].values["entropy"]):
            return None
        scene = _Scene(records[-1])
        scene.show(scene.count - 1)
        return scene.figure

    def animate(self, records: list[Record], path: Path | str) -> None:
        """Write the last record to `path`, a frame per token: a GIF, or an MP4 where ffmpeg is installed.

        Raises BadInput without a record, for another ending than .gif or .mp4, and for .mp4 without ffmpeg.
        """
        if not records or not len(records[-1].values["entropy"]):
            raise BadInput("no inference was recorded", fix="set diagnostics.wave_inference.every")
        scene = _Scene(records[-1])
        hold = [scene.count - 1] * HOLD
        save_animation(scene.figure, scene.show, [*range(scene.count), *hold], path, frames_a_second=FRAMES_A_SECOND)

    def verdict(self, records: list[Record]) -> str | None:
        """How sure the model is of what it says, against one that knows how frequent tokens are and nothing else."""
        if not records:
            return None
        values = records[-1].values
        m = len(values["entropy"])
        if not m:
            return "no new tokens: the prompt fills max_len (lower diagnostics.wave_inference.prompt_tokens)"
        # A record of an earlier version has no text.
        text = (
            unpack(values["text"])[0] if "text" in values else "".join(unpack(values["names"])[int(values["prompt"]) :])
        )
        mean, threshold = float(values["entropy_mean"]), float(values["without_context"])
        meaning = "context narrows the choice" if mean < threshold else "context does not narrow the choice"
        return (
            f"{m} new tokens “{text}”: on average {mean:.2f} nats of uncertainty, as of {math.exp(mean):.1f} "
            f"equally likely tokens (threshold {threshold:.2f}, what token frequencies alone leave): {meaning}"
        )


FRAMES_A_SECOND = 3
HOLD = 5
"""Frames for which the last one stays."""
LINE = 28
"""Tokens a line of the text."""


def _text(probe: Probe, wanted: int) -> Tensor:
    """The tokens (n,) of the text to go on from: the first sequence or, where documents share rows, one with `wanted` tokens."""
    segments = with_documents(probe.ctx).segments
    if segments is None:
        return probe.batch.inputs[0]
    lengths = torch.bincount(segments[segments >= 0])
    number = (lengths >= wanted).int().argmax() if (lengths >= wanted).any() else lengths.argmax()
    return probe.batch.inputs[segments == number]


def _entropy_of_frequencies(model: Model) -> Tensor:
    """Entropy () in nats of the tokens of the training split, or of even ones where the task does not count them."""
    counts, V = model.dims.token_counts, model.dims.vocab_size
    if counts is None:
        return torch.tensor(math.log(V))
    return torch.special.entr(counts.double() / counts.sum()).sum().float().cpu()


def _last_weights(model: Model, ids: Tensor, step: Tensor) -> Tensor:
    """Attention weights (H, T, T) of the last layer that gives any, or one head of zeros."""
    before = model.want
    model.set_want(frozenset({"attention"}))
    try:
        found = model(ids[None], Context(step=step)).signals.get("attention", {})
    finally:
        model.set_want(before)
    if not found:
        return torch.zeros(1, len(ids), len(ids))
    return found[max(found)][0].float()  # type: ignore[no-any-return]


class _Scene:
    """One figure whose contents `show(i)` sets to the moment at which new token i was drawn."""

    def __init__(self, record: Record) -> None:
        from matplotlib import colormaps

        values = record.values
        self.names, self.prompt = [literal(name) for name in unpack(values["names"])], int(values["prompt"])
        self.weights = values["weights"]
        self.entropy, self.probability = values["entropy"], values["probability"]
        self.count, k = self.probability.shape
        names = [literal(name) for name in unpack(values["candidates"])]
        self.candidates = [names[i * k : (i + 1) * k] for i in range(self.count)]
        T, H = len(self.names), len(self.weights)

        self.figure, axes = new_figure(2, 2, size=(10.0, 6.2), height_ratios=(0.9, 1.15), width_ratios=(1.55, 1.0))
        self.text, self.bars, self.waves, self.course = axes
        self.title = heading(self.figure, "")
        self.step = record.step
        self.text.set_axis_off()
        lines = -(-T // LINE)
        self.text.set(xlim=(-0.5, LINE - 0.5), ylim=(max(lines, 3) - 0.4, -0.9))
        self.letters = [
            self.text.text(i % LINE, i // LINE, name, ha="center", va="center", fontsize=11, family="monospace")
            for i, name in enumerate(self.names)
        ]
        self.text.set_title("Text; shaded: what the last layer attends to")
        colors = colormaps[SEQUENTIAL_MAP].copy()
        colors.set_bad("#F0F0F0")  # positions that do not exist yet
        self.image = self.waves.imshow(
            torch.zeros(H, T), cmap=colors, vmin=0, vmax=1, aspect="auto", interpolation="nearest"
        )
        self.waves.grid(False)
        self.waves.set_title("Weights of each head")
        self.waves.set(xlabel="position (tokens)", ylabel="head", yticks=range(H))
        bar = self.figure.colorbar(self.image, ax=self.waves, pad=0.02)
        bar.set_label("weight over the largest of the head", fontsize=8)
        self.bar_patches = self.bars.barh(range(k), [0.0] * k, color="#56B4E9")
        self.bars.set(xlim=(0, 1), ylim=(k - 0.5, -0.5), xlabel="probability")
        self.bars.set_title("Next token")
        self.bars.grid(False)
        self.course.plot(range(1, self.count + 1), self.entropy, color="#BFBFBF", lw=1.2)
        (self.done,) = self.course.plot([], [], color="#0072B2", marker="o", ms=3.5)
        self.course.set_title("Uncertainty")
        self.course.set(xlabel="new token", ylabel="entropy (nats)", xlim=(0.5, self.count + 0.5))
        self.course.set_ylim(0, max(0.1, 1.1 * float(self.entropy.max()) if self.count else 0.1))

    def show(self, i: int) -> list[Artist]:
        """Set the figure to new token i, counted from 0."""
        position = self.prompt + i  # of the token that is drawn; what decides is the row before it
        row = self.weights[:, position - 1].clone()  # (H, T)
        row[:, position:] = 0.0
        largest = row.amax(1, keepdim=True)
        relative = row / torch.where(largest > 0, largest, 1.0)
        shown = relative.clone()
        shown[:, position:] = float("nan")
        self.image.set_data(shown.numpy())
        mean = relative.mean(0)
        shade = mean / mean.max() if float(mean.max()) else mean
        for t, letter in enumerate(self.letters):
            letter.set_visible(t <= position)
            new = t >= self.prompt
            letter.set_color("#D55E00" if t == position else "#0B3C5D" if new else "#303030")
            letter.set_fontweight("bold" if t == position else "normal")
            strength = float(shade[t]) if t < position else 0.0
            letter.set_bbox({"boxstyle": "square,pad=0.18", "lw": 0, "fc": (0.34, 0.71, 0.91, 0.75 * strength)})
        drawn = self.names[position]
        for patch, p, name in zip(self.bar_patches, self.probability[i].tolist(), self.candidates[i], strict=True):
            patch.set_width(p)
            patch.set_color("#D55E00" if name == drawn else "#56B4E9")
        self.bars.set_yticks(range(len(self.candidates[i])), self.candidates[i], family="monospace")
        self.done.set_data(range(1, i + 2), self.entropy[: i + 1])
        self.title.set_text(f"Inference, step {self.step}: new token {i + 1} of {self.count}, “{drawn}”")
        return []
