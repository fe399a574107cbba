"""What mechanisms are built from: projections, attention with score features, decoding, ablation, neutral and export forms."""

from lot.nn.ablation import Ablatable
from lot.nn.attention import FEATURE_MULTIPLE, attend, attention_mask, attention_weights, dropout_now
from lot.nn.decoding import CachedAttention, KeyValueCache
from lot.nn.export_forms import export_form, scan
from lot.nn.neutral import Neutralizable
from lot.nn.projections import Projections, Rotary, find_projections, require_heads

__all__ = [
    "FEATURE_MULTIPLE",
    "Ablatable",
    "CachedAttention",
    "KeyValueCache",
    "Neutralizable",
    "Projections",
    "Rotary",
    "attend",
    "attention_mask",
    "attention_weights",
    "dropout_now",
    "export_form",
    "find_projections",
    "require_heads",
    "scan",
]
