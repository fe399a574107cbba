"""What mechanisms and models are built from: projections, attention with score features, decoding, documents, other forms."""

from lot.nn.ablation import Ablatable
from lot.nn.attention import FEATURE_MULTIPLE, attend, attention_mask, attention_weights, dropout_now
from lot.nn.decoding import CachedAttention, KeyValueCache
from lot.nn.documents import Documents, apart, context, first_rows, with_documents
from lot.nn.export_forms import export_form, scan
from lot.nn.neutral import Neutralizable
from lot.nn.positions import mean_by_position
from lot.nn.projections import Projections, Rotary, find_projections, require_heads

__all__ = [
    "FEATURE_MULTIPLE",
    "Ablatable",
    "CachedAttention",
    "Documents",
    "KeyValueCache",
    "Neutralizable",
    "Projections",
    "Rotary",
    "apart",
    "attend",
    "attention_mask",
    "attention_weights",
    "context",
    "dropout_now",
    "export_form",
    "find_projections",
    "first_rows",
    "mean_by_position",
    "require_heads",
    "scan",
    "with_documents",
]
