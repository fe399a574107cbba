"""The kit on embeddings."""

from __future__ import annotations

import pytest
from kit_specimens import embeddings, specimen

from lot.testing import KitFailure, NotApplicable, check_embedding, checks

CHECKS = checks("embedding")

CAUGHT = [
    (embeddings.NeighborMean, "positions", "leak of later tokens"),
    (embeddings.StartIgnored, "positions", "ctx.start"),
    (embeddings.CountsOn, "documents", "counts positions through"),
    (embeddings.StepCounter, "steps", "counter"),
    (embeddings.FoldedTokens, "shapes", "different tokens"),
    (embeddings.NeedsCounts, "builds", "AssertionError"),
    (embeddings.DeadAmplitude, "ablation", "resampling amplitude"),
    (embeddings.DeadAmplitude, "gradients", "amplitude"),
    (embeddings.TransposedWeight, "tied weight", "shape of weight"),
    (embeddings.DetachedWeight, "tied weight", "without gradient"),
    (embeddings.SeparateWeight, "tied weight", "ties nothing"),
]


def test_an_honest_embedding_passes_every_check():
    assert check_embedding(specimen(embeddings.Honest, "embedding")) == {}


@pytest.mark.parametrize(("cls", "name", "told"), CAUGHT, ids=lambda value: getattr(value, "__name__", value))
def test_a_defect_fails_its_check_and_is_told(cls, name, told):
    with pytest.raises(KitFailure) as failure:
        CHECKS[name](specimen(cls, "embedding"))
    assert told in str(failure.value)


def test_an_embedding_need_not_offer_a_weight():
    with pytest.raises(NotApplicable):
        CHECKS["tied weight"](specimen(embeddings.Untied, "embedding"))
