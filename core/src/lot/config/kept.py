"""What a run keeps of the files that its model is made from: options of the same model that need none. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class KeptFiles:
    """What stands for the files of a model.

    name: of the model. options: those of its options that have another value where its weights come from a checkpoint.
    places: the absolute paths of files and folders that its options name, by option. origin: the digest of those files.
    """

    name: str
    options: Mapping[str, Any]
    places: Mapping[str, str]
    origin: str | None
