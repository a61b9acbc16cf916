"""A worker must never be told to write outside the folder of its models, wherever the record came from."""

from __future__ import annotations

import json

import pytest

from horde_model_reference.domain.validation import validate_records

ESCAPING = ["../x", "/etc/x", "C:x", "a/../b", "..", "a\\b", "x\u202ey", "nul\x00"]


@pytest.mark.parametrize("name", ESCAPING)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_record_with_a_file_that_would_leave_its_folder_is_set_aside(name: str, ascii_only: bool) -> None:
    """Escaped or not, the finding names the field; the record beside it is read."""
    download = [{"file_name": "good", "file_url": "u"}, {"file_name": name, "file_url": "u"}]
    documents = {"A": {"name": "A", "config": {"download": download}}, "B": {"name": "B"}}
    records, findings = validate_records("esrgan", json.dumps(documents, ensure_ascii=ascii_only).encode())
    assert list(records) == ["B"]
    assert [(finding.record, finding.field) for finding in findings] == [("A", "config.download.1.file_name")]


@pytest.mark.parametrize("name", ["x.pth", "annotators/x.pth", "a..b", "..hidden", "日本.pt", ""])
def test_ordinary_file_names_are_fine(name: str) -> None:
    """Subfolders, dots and any script; and the empty name, which means that none is known."""
    documents = {
        "A": {"name": "A", "description": "../ and \\", "config": {"download": [{"file_name": name, "file_url": ""}]}}
    }
    records, findings = validate_records("esrgan", json.dumps(documents).encode())
    assert (list(records), findings) == (["A"], [])


def test_a_download_with_two_bad_names_gives_two_findings() -> None:
    """Everything that is wrong is said at once."""
    download = [{"file_name": "../a", "file_url": "u"}, {"file_name": "/b", "file_url": "u"}]
    records, findings = validate_records(
        "esrgan", json.dumps({"A": {"name": "A", "config": {"download": download}}}).encode()
    )
    assert (records, len(findings)) == ({}, 2)
