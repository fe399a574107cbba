"""The contract that every component keeps, checked by the test kit on all that this package registers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lot import Context, registry
from lot.testing import KitFailure, run_checks

OWN = "lot-wave"
KINDS = ("attention", "embedding", "optimizer", "loss", "diagnostic")
FORMS = {
    "interference": [
        *(
            {"waves": 3, "evolution": evolution, "normalize": normalize}
            for evolution in ("pairwise", "evolved")
            for normalize in ("row", "energy", "softmax")
        ),
        {"waves": 3, "own_keys": True},
        {"waves": 3, "evolution": "pairwise", "normalize": "energy", "bias": True},
    ],
    "pure_wave": [
        *(
            {"waves": 3, "kernel": kernel, "kernel_on": on}
            for kernel in ("elu_plus_one", "sigmoid", "exp")
            for on in ("features", "scores")
        ),
        {"waves": 3, "form": "published"},
        {"waves": 3, "form": "published", "kernel": "exp", "kernel_on": "scores"},
    ],
    "wave_packet": [
        {},
        {"learn_amplitudes": True},
        {"anneal_steps": 10, "rank": "token_id", "frequency_scale": 1.0},
        {"form": "published"},
        {"form": "published", "anneal_steps": 10},
    ],
    "wave_native": [{}, {"rank": 2, "refresh": 2}, {"rank": None}, {"rank": None, "decay": "l2", "project": "all"}],
    "wave_coherence": [
        {},
        {"variance": "angle", "window": 3},
        {"variance": "unbiased_angle", "window": 3, "energy": "absolute"},
    ],
    "wave_inference": [{"prompt_tokens": 4, "new_tokens": 3}],
    "interference_map": [{"surrogates": 20}],
}


def components() -> list[tuple[str, str]]:
    return [(kind, c.name) for kind in KINDS for c in registry().components(kind) if c.distribution == OWN]


def cases() -> list[tuple[str, str, dict]]:
    return [(kind, name, options) for kind, name in components() for options in FORMS.get(name, [{}])]


def test_everything_that_was_promised_is_registered():
    assert components() == [
        ("attention", "interference"),
        ("attention", "pure_wave"),
        ("embedding", "wave_packet"),
        ("optimizer", "wave_native"),
        ("loss", "wave_coherence"),
        ("diagnostic", "embedding_spectrum"),
        ("diagnostic", "interference_map"),
        ("diagnostic", "trajectory_stability"),
        ("diagnostic", "wave_inference"),
        ("diagnostic", "wave_packets"),
    ]


@pytest.mark.parametrize(("kind", "name", "options"), cases(), ids=str)
def test_the_kit_finds_nothing_wrong(kind, name, options):
    reg = registry()
    setting = {}
    if kind == "diagnostic":
        setting = {
            "attention": reg.get("attention", "interference"),
            "embedding": reg.get("embedding", "wave_packet"),
        }
    wrong = {
        check: str(outcome)
        for check, outcome in run_checks(reg.get(kind, name), options, **setting)
        if isinstance(outcome, KitFailure)
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for kind, name, options in cases() if kind == "attention"], ids=str
)
def test_an_exported_program_takes_any_length(make, name, options):
    module = getattr(make, name)(make.dims(max_len=200), **options).float()

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x):
            return self.module(x, Context())[0]

    length = torch.export.Dim("T", min=2, max=200)
    x = make.normal(2, 70, 16).float()
    program = torch.export.export(Alone(), (x,), dynamic_shapes={"x": {1: length}}).module()
    for T in (2, 130, 200):
        x = make.normal(2, T, 16).float()
        torch.testing.assert_close(program(x), module(x, Context())[0], atol=1e-5, rtol=1e-4)


def test_what_is_published_and_what_has_no_effect_is_told():
    notes = " ".join(registry().get("optimizer", "wave_native").notes)
    assert "identity" in notes
    assert "square matrix of full rank" in notes
    assert registry().get("loss", "wave_coherence").replaces == {"cross_entropy"}
