"""Results of format 1 as those of today, so that published studies can still be read.

They were judged by another rule, t intervals and Holm's correction, and keep its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def from_format_1(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Plain data of format 2 from those of format 1.

    What is damaged stays so; reading it says where.

    In format 1 every comparison was against the reference, and the oldest kept only the fairness of the whole.
    """
    try:
        given = {"against": data["reference"], "fair": data["fairness"]["fair"]}
        comparisons = [
            {**given, **{_RENAMED.get(key, key): value for key, value in comparison.items()}}
            for comparison in data["comparisons"]
        ]
    except (TypeError, KeyError, AttributeError):
        return {**data, "format": 2}
    return {**data, "format": 2, "rule": "Holm", "comparisons": comparisons}


_RENAMED = {"p_holm": "p_adjusted"}
