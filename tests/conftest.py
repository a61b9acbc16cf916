"""Shared fixtures: the real reference where it is at hand, and an environment without our variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# What stands in for a network listens on loopback; a proxy of the machine's has no business there.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost,::1"

# A busy machine is no reason to fail.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "legacy"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real reference in the legacy format; tests that ask for it skip where it is absent."""
    folder = Path(os.environ.get("HORDE_REAL_DATA", _BESIDE))
    if not (folder / "image" / "stable_diffusion.json").is_file():
        pytest.skip("the real reference is not at hand (set HORDE_REAL_DATA)")
    return folder
