"""A data root to read, and no manager left over from another test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from horde_model_reference import ModelReferenceManager
from tests.reading.samples import ESRGAN, IMAGES, text


@pytest.fixture(autouse=True)
def _no_instance() -> Iterator[None]:
    ModelReferenceManager._instance = None
    yield
    ModelReferenceManager.reset()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with two categories."""
    (tmp_path / "esrgan.json").write_text(text(ESRGAN))
    (tmp_path / "stable_diffusion.json").write_text(text(IMAGES))
    return tmp_path
