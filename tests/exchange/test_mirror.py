"""The mirror: equal to the store after each refresh, rewritten only where something changed, whole at every moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from horde_model_reference.domain.events import Kind
from horde_model_reference.exchange.exporting import Mirror
from horde_model_reference.stores.sql import SqlStore

READER = """
import json, sys, time
from horde_model_reference import ModelReferenceManager
manager = ModelReferenceManager(base_path=sys.argv[1], offline=True)
print("ready", flush=True)
seen = set()
while sys.stdin.readable():
    blip = manager.get_model_reference("blip", overwrite_existing=True)
    seen.add(tuple(sorted((name, record.version) for name, record in blip.items())))
    if any(record.version == "199" for record in blip.values()):
        break
assert not manager.status()[0].fault, manager.status()[0].fault
print(json.dumps(sorted(map(list, seen))))
"""


def test_the_first_refresh_writes_every_category_under_its_documented_name(filled: SqlStore, tmp_path: Path) -> None:
    """v2 files, legacy files and metadata; `{}` for a category without records."""
    Mirror(filled, tmp_path / "mirror").refresh()
    files = {p.relative_to(tmp_path / "mirror").as_posix() for p in (tmp_path / "mirror").rglob("*.*")}
    assert {"stable_diffusion.json", "text_generation.json", "legacy/stable_diffusion.json"} <= files
    assert {"legacy/models.csv", "meta/v2/image_generation_metadata.json"} <= files
    assert not {name for name in files if "lora" in name or name.endswith(".tmp")}
    assert json.loads((tmp_path / "mirror" / "video_generation.json").read_bytes()) == {}
    for category, file in (("blip", "blip.json"), ("image_generation", "stable_diffusion.json")):
        assert json.loads((tmp_path / "mirror" / file).read_bytes()) == json.loads(filled.snapshot(category).body)


def test_a_refresh_rewrites_only_what_changed(filled: SqlStore, tmp_path: Path) -> None:
    """A change of one category touches no file of another; no change touches none."""
    mirror = Mirror(filled, tmp_path)
    assert mirror.refresh()
    assert mirror.refresh() == []
    with filled.begin(actor="tests") as unit:
        unit.put("clip", "New", '{"name":"New"}')
        unit.put("aliases", "x", "{}", kind=Kind.DOCUMENT)
        unit.put("not_known_here", "x", "{}")
    written = {path.name for path in mirror.refresh()}
    assert written == {"clip.json", "clip_metadata.json"}


def test_a_mirror_that_fell_behind_catches_up(filled: SqlStore, tmp_path: Path) -> None:
    """A damaged or missing file is put right by the first refresh of the next process."""
    Mirror(filled, tmp_path).refresh()
    whole = (tmp_path / "blip.json").read_bytes()
    (tmp_path / "blip.json").write_bytes(whole[:20])
    (tmp_path / "clip.json").unlink()
    written = {path.name for path in Mirror(filled, tmp_path).refresh()}
    assert written == {"blip.json", "clip.json"}
    assert (tmp_path / "blip.json").read_bytes() == whole


def test_a_reader_in_another_process_never_sees_a_torn_file(store: SqlStore, tmp_path: Path) -> None:
    """200 changes of two records that always change together, read all the while with offline=True."""
    mirror = Mirror(store, tmp_path / "mirror")

    def change(version: int) -> None:
        with store.begin(actor="tests") as unit:
            for name in ("A", "B"):
                unit.put("blip", name, json.dumps({"name": name, "version": str(version), "description": "x" * 5_000}))
        mirror.refresh()

    change(0)
    command = [sys.executable, "-c", READER, str(tmp_path / "mirror")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for version in range(1, 200):
            change(version)
        output, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0
    for seen in json.loads(output):
        assert [name for name, _ in seen] == ["A", "B"]
        assert len({version for _, version in seen}) == 1


def test_a_mirror_that_cannot_be_written_costs_a_warning_not_the_change(
    filled: SqlStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The store has acknowledged; the files follow once they can."""
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "blip.json").mkdir()
    mirror = Mirror(filled, tmp_path / "mirror")
    mirror.keep_up()
    assert "are behind the store" in caplog.text
    (tmp_path / "mirror" / "blip.json").rmdir()
    mirror.keep_up()
    assert json.loads((tmp_path / "mirror" / "blip.json").read_bytes()) == json.loads(filled.snapshot("blip").body)


def test_the_legacy_file_follows_when_the_last_record_goes(store: SqlStore, tmp_path: Path) -> None:
    """It once kept the record for ever; a category that never had one gets no legacy file."""
    store.subscribe(Mirror(store, tmp_path).keep_up)
    with store.begin(actor="tests") as unit:
        unit.put("clip", "A", '{"name":"A","record_type":"clip"}')
    with store.begin(actor="tests") as unit:
        unit.delete("clip", "A")
    assert json.loads((tmp_path / "legacy" / "clip.json").read_bytes()) == {}
    assert not (tmp_path / "legacy" / "blip.json").exists()


def test_a_document_that_cannot_be_written_out_costs_the_writer_nothing(store: SqlStore, tmp_path: Path) -> None:
    """The change is committed by then; an error would tell the writer that it is not."""
    store.subscribe(Mirror(store, tmp_path).keep_up)
    with store.begin(actor="tests") as unit:
        unit.put("clip", "A", '{"x":Infinity}')
    assert store.head() == 1
