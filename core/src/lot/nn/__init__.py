"""What mechanisms are built from: projections, rotary positions, fused attention with score features, decoding caches."""

from lot.nn.attention import (
    FEATURE_MULTIPLE,
    KeyValueCache,
    attend,
    attention_mask,
    attention_weights,
    dropout_now,
)
from lot.nn.projections import Projections, Rotary, require_heads

__all__ = [
    "FEATURE_MULTIPLE",
    "KeyValueCache",
    "Projections",
    "Rotary",
    "attend",
    "attention_mask",
    "attention_weights",
    "dropout_now",
    "require_heads",
]
