"""Where lm_eval is installed: its caches in a folder of the tests, and runs that its tasks are asked of."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The caches of datasets in a folder of this test, and a hub that cannot be reached."""
    pytest.importorskip("lm_eval")
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setenv("HF_ENDPOINT", "https://127.0.0.1:1")
    for name in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
