"""What the manager gives where the data is odd: names beside keys, absent sources, damaged files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from horde_model_reference import ModelReferenceManager, StaticModelProvider


def test_a_record_goes_by_its_name_and_is_found_by_its_key(root: Path) -> None:
    """The real reference has one: key control_qr_sdxl, name control_qr_xl. Raw reads go by the key."""
    names = {"old": "new", "A": "A", "x": "A", "y": "new", "z": ""}
    documents = {key: {"name": name} for key, name in names.items()}
    (root / "esrgan.json").write_text(json.dumps(documents))
    manager = ModelReferenceManager(base_path=root, offline=True, replicate_mode="REPLICA")
    assert list(manager.get_model_reference("esrgan")) == ["new", "A", "x", "y", "z"]
    assert manager.get_model("esrgan", "old") is manager.get_model("esrgan", "new")
    assert list(manager.get_raw_model_reference_json("esrgan")) == list(documents)


def test_a_source_that_is_there_is_read_though_the_reference_is_not(root: Path) -> None:
    """Over one category and over all; where nobody has anything it is the documented error."""
    manager = ModelReferenceManager(base_path=root, offline=True, replicate_mode="REPLICA")
    manager.register_provider(StaticModelProvider.from_raw("mine", {"video_generation": {"V": {"name": "V"}}}))
    assert manager.query("video_generation", source=["horde", "mine"]).names() == ["V"]
    everything = manager.query_all(source="any").to_list_with_source()
    assert ("V", "mine") in [(record.name, source) for record, source in everything]
    assert len(everything) == manager.query_all().count() + 1
    with pytest.raises(RuntimeError):
        manager.query("audio_generation", source="any")


def test_a_provider_that_answers_nonsense_is_a_failed_source(root: Path) -> None:
    """A list instead of records by name is reported like any other failure."""
    manager = ModelReferenceManager(base_path=root, offline=True, replicate_mode="REPLICA")

    class Odd(StaticModelProvider):
        def fetch_category(self, category: str, *, force_refresh: bool = False) -> Any:
            return [1]

    manager.register_provider(Odd("odd", {"esrgan": {}}))
    assert manager.get_model_or_none("esrgan", "nothing", source="odd") is None
    assert "not records by name" in manager.failed_sources()["odd"]


def test_a_substitute_says_what_it_stands_in_for(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged file is not silently replaced by the starter catalogue; a missing one is, which is what it is for."""
    (root / "esrgan.json").write_text('{"A": {"na')
    manager = ModelReferenceManager(base_path=root, offline=True, replicate_mode="REPLICA")
    assert manager.get_model_reference("esrgan")
    (status,) = manager.status()
    assert (status.source, "esrgan.json" in status.fault) == ("the starter catalogue", True)
    assert caplog.text.count("esrgan.json") == 1
    manager.get_model_reference("esrgan", overwrite_existing=True)
    assert caplog.text.count("esrgan.json") == 1
    manager.get_model_reference("gfpgan")
    assert not next(each.fault for each in manager.status() if each.category == "gfpgan")
    (root / "esrgan.json").write_text('{"A": {"name": "A"}}')
    assert list(manager.get_model_reference("esrgan", overwrite_existing=True)) == ["A"]
    assert not next(each.fault for each in manager.status() if each.category == "esrgan")


def test_one_bad_value_in_a_file_costs_its_record_alone(root: Path) -> None:
    """NaN is no JSON; the records beside it are, and the status says what is missing."""
    (root / "esrgan.json").write_text('{"A": {"name": "A"}, "B": {"name": "B", "size_on_disk_bytes": NaN}}')
    manager = ModelReferenceManager(base_path=root, offline=True, replicate_mode="REPLICA")
    assert list(manager.get_model_reference("esrgan")) == ["A"]
    (status,) = manager.status()
    assert (status.source, "B: size_on_disk_bytes" in status.fault) == (str(root), True)
