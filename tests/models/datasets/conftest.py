"""What tests of datasets share."""

import pytest


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPECTRAL_CACHE_DIR", str(folder))
    monkeypatch.delenv("SPECTRAL_DATA_DIR", raising=False)
    return folder
