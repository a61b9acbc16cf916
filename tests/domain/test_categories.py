"""Categories as a table that grows at run time."""

from __future__ import annotations

import pytest

from horde_model_reference.domain.categories import (
    get_category_descriptor,
    get_weights_marker_folders,
    register_category,
)
from horde_model_reference.errors import UnsafeName


def test_a_known_category_is_not_changed_by_accident() -> None:
    """Registering it again says how to do it on purpose."""
    clip = get_category_descriptor("clip")
    with pytest.raises(ValueError, match="replace=True"):
        register_category("clip", clip)
    register_category("clip", clip, replace=True)
    assert get_category_descriptor("clip") is clip


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "a b", "a\n", "x" * 101])
def test_a_category_name_can_become_a_file_name(name: str) -> None:
    """It does: `<category>.json` under the data root."""
    with pytest.raises(UnsafeName):
        register_category(name, get_category_descriptor("clip"))


def test_the_root_of_a_workers_weights_is_marked() -> None:
    """By the folders that clients look for."""
    assert get_weights_marker_folders() == ["clip", "compvis"]
