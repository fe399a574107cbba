"""The experiments of this package: every file loads, and takes a step at a small size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lot import Context, load_config, registry
from lot.training.compose import compose

FOLDER = Path(__file__).parents[3] / "experiments"
FILES = sorted([*(FOLDER / "phasegpt").rglob("*.yaml"), *(FOLDER / "lattice").glob("*.yaml")])
NEEDED = {"char_lm", "word_lm", "copy_reverse"}

pytestmark = pytest.mark.skipif(
    not FILES or not set(registry().names("task")) >= NEEDED, reason="needs the source tree and lot-tasks"
)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """A text that every character and word of its end has in its beginning."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("to be or not to be, that is the question. " * 200)
    return path


@pytest.mark.parametrize("file", FILES, ids=lambda path: "/".join(path.parts[-3:]))
def test_it_loads_and_takes_a_step(file, text):
    small = ["model.width=24", "train.batch_size=2"]
    if file.parent.name == "lattice":
        small += ["task.seq_len=8", "task.vocab_size=16"]
    else:
        small += ["task.seq_len=8", f"task.path={text}", "task.corpus=null"]
    config = load_config(file, overrides=small)
    parts = compose(config)
    published = "published" in str(file) and "baseline" not in file.name
    assert parts.leak == published
    batch = parts.task.batch("train", 0, config.train.batch_size)
    model, before = parts.model, [parameter.detach().clone() for parameter in parts.model.parameters()]
    optimizer = config.optim.component.create(config.optim.options, model)
    loss, _ = parts.objective(model(batch.inputs, Context()), batch, Context(), 0)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_both_grids_are_complete():
    def names(folder: str) -> list[str]:
        return sorted(path.stem for path in (FOLDER / "phasegpt" / folder).glob("*.yaml"))

    assert names("phase_a_published") == names("phase_a_corrected")
    assert len(names("phase_a_published")) == 8
    assert (
        names("phase_b_published")
        == names("phase_b_corrected")
        == ["baseline", "diverse_k075", "mid_k075", "soft_k050"]
    )


def test_corrected_arms_train_for_equally_many_steps_but_the_one_that_collapsed():
    for folder, odd in (("phase_a_corrected", {"layer6_32osc_k2"}), ("phase_b_corrected", set())):
        steps = {
            path.stem: load_config(path).train.steps
            for path in (FOLDER / "phasegpt" / folder).glob("*.yaml")
            if path.stem not in odd
        }
        assert len(set(steps.values())) == 1


def test_published_placement_and_coupling():
    config = load_config(FOLDER / "phasegpt" / "phase_a_published" / "layers4_7_32osc_k1.yaml")
    assert set(config.attn_layers) == {4, 7}
    assert {(c.options.oscillators, c.options.coupling, c.options.causal) for c in config.attn_layers.values()} == {
        (32, -1.0, False)
    }
