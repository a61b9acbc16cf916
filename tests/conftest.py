"""Shared fixtures: the real reference where it is at hand, and an environment without our variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "legacy"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real reference in the legacy format; tests that ask for it skip where it is absent."""
    folder = Path(os.environ.get("HORDE_REAL_DATA", _BESIDE))
    if not (folder / "image" / "stable_diffusion.json").is_file():
        pytest.skip("the real reference is not at hand (set HORDE_REAL_DATA)")
    return folder
