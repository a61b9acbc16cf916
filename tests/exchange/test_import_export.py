"""Taking a reference in and writing it out: nothing is lost, repeating changes nothing, faults stay where they are."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from horde_model_reference.domain.events import Kind
from horde_model_reference.domain.findings import Severity
from horde_model_reference.errors import MalformedInput
from horde_model_reference.exchange.exporting import bundle, legacy_entries, write_legacy, write_v2
from horde_model_reference.exchange.importing import PEER_FILES, import_records, take_over
from horde_model_reference.exchange.incoming import read_folder, read_path
from horde_model_reference.stores.sql import SqlStore

CATEGORIES = ["blip", "clip", "codeformer", "controlnet", "esrgan", "gfpgan", "miscellaneous", "safety_checker"]
JSON_FILES = [*(f"{category}.json" for category in CATEGORIES), "stable_diffusion.json"]


def _rows(path: Path) -> dict[str, dict[str, str]]:
    """A models.csv as data: the filled cells of the last row of each name."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {row["name"].strip(): {k: v for k, v in row.items() if v} for row in csv.DictReader(file)}


def _assert_lossless(source: Path, store: SqlStore, target: Path) -> None:
    import_records(store, read_path(source), actor="tests")
    write_legacy(store, target)
    for name in JSON_FILES:
        original = json.loads((source / "image" / name).read_bytes())
        written = json.loads((target / name).read_bytes())
        assert list(written) == list(original), name
        assert written == original, name
    assert _rows(target / "models.csv") == _rows(source / "text" / "models.csv")


def test_the_invented_reference_comes_back_from_the_store_as_it_was(
    legacy: Path, store: SqlStore, tmp_path: Path
) -> None:
    """legacy -> store -> legacy gives every field of every record of all ten categories back."""
    _assert_lossless(legacy, store, tmp_path / "out")


def test_the_real_reference_comes_back_from_the_store_as_it_was(
    real_data: Path, store: SqlStore, tmp_path: Path
) -> None:
    """The same for the real data."""
    _assert_lossless(real_data, store, tmp_path / "out")
    assert store.counts()["image_generation"] == 161
    assert store.counts()["text_generation"] == 719


def test_importing_again_changes_nothing(filled: SqlStore, legacy: Path) -> None:
    """The second import makes no event."""
    before = filled.head()
    report = import_records(filled, read_path(legacy), actor="tests")
    assert (report.changes, report.unchanged.total()) == (0, before)
    assert filled.head() == before


def test_an_import_is_one_unit_of_work(store: SqlStore, legacy: Path) -> None:
    """Where the import fails in the middle, nothing of it is there."""

    def fail(_category: str, count: int) -> None:
        if count == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_records(store, read_path(legacy), actor="tests", progress=fail)
    assert (store.head(), store.counts()) == (0, {})


def test_prune_deletes_what_the_folder_lacks_in_its_categories_only(filled: SqlStore, tmp_path: Path) -> None:
    """Categories that the folder does not have stay as they are."""
    blip = write_v2(filled, tmp_path / "v2", ["blip"])[0]
    documents = json.loads(blip.read_bytes())
    removed = next(iter(documents))
    del documents[removed]
    blip.write_text(json.dumps(documents))
    others = {c: n for c, n in filled.counts().items() if c != "blip"}
    report = import_records(filled, read_path(tmp_path / "v2"), actor="tests", prune=True)
    assert dict(report.deleted) == {"blip": 1}
    assert removed not in filled.entries("blip")
    assert {c: n for c, n in filled.counts().items() if c != "blip"} == others


def test_v2_files_written_and_read_again_are_the_same_documents(filled: SqlStore, tmp_path: Path) -> None:
    """The v2 export holds every document as stored, in order."""
    write_v2(filled, tmp_path / "v2")
    again = SqlStore(f"sqlite:///{tmp_path / 'again.sqlite3'}")
    import_records(again, read_path(tmp_path / "v2"), actor="tests")
    for category in filled.counts():
        assert again.snapshot(category).body == filled.snapshot(category).body
    again.close()


def test_a_bundle_gives_documents_and_origins_back_exactly(filled: SqlStore, tmp_path: Path) -> None:
    """One file holds the whole reference; a store made of it renders the same legacy files."""
    path = tmp_path / "reference.bundle.json"
    path.write_bytes(bundle(filled))
    again = SqlStore(f"sqlite:///{tmp_path / 'again.sqlite3'}")
    import_records(again, read_path(path), actor="tests")
    for category in filled.counts():
        before, after = filled.entries(category), again.entries(category)
        assert {n: (e.document, e.origin) for n, e in after.items()} == {
            n: (e.document, e.origin) for n, e in before.items()
        }
    again.close()


def test_a_changed_record_keeps_the_legacy_fields_that_the_change_did_not_touch(filled: SqlStore) -> None:
    """A v2 edit of the description leaves yaml files, md5 sums and flags of the legacy entry alone."""
    name, entry = next((n, e) for n, e in filled.entries("image_generation").items() if "yaml" in (e.origin or ""))
    document = json.loads(entry.document) | {"description": "Said anew."}
    with filled.begin(actor="tests") as unit:
        unit.put("image_generation", name, json.dumps(document))
    changed = legacy_entries("image_generation", filled.entries("image_generation"))[name]
    assert changed == json.loads(entry.origin or "") | {"description": "Said anew."}


def test_a_data_root_of_the_peer_is_taken_over_once(legacy: Path, store: SqlStore, tmp_path: Path) -> None:
    """v2 files, stamped with times, with their originals under legacy/, and metadata and audit files beside them."""
    root = tmp_path / "root"
    (root / "legacy").mkdir(parents=True)
    for name in JSON_FILES:
        (root / "legacy" / name).write_bytes((legacy / "image" / name).read_bytes())
    source = SqlStore(f"sqlite:///{tmp_path / 'source.sqlite3'}")
    import_records(source, read_path(legacy), actor="tests")
    for path in write_v2(source, root, ["blip", "image_generation"]):
        stamped = json.loads(path.read_bytes())
        for document in stamped.values():
            document.setdefault("metadata", {}).update(created_at=1_700_000_000, updated_at=1_700_000_001)
        path.write_text(json.dumps(stamped))
    (root / "meta" / "v2").mkdir(parents=True)
    (root / "meta" / "v2" / "blip_metadata.json").write_text('{"category": "blip", "total_creates": 3}')
    (root / "audit" / "v2" / "blip").mkdir(parents=True)
    (root / "audit" / "v2" / "blip" / "audit-000001.jsonl").write_text('{"event": 1}\n{"event": 2}\n')
    report = take_over(store, root)
    assert report is not None
    assert report.created["image_generation"] == source.counts()["image_generation"]
    original = json.loads((legacy / "image" / "stable_diffusion.json").read_bytes())
    assert legacy_entries("image_generation", store.entries("image_generation")) == original
    kept = store.entries(PEER_FILES, kind=Kind.DOCUMENT)
    assert json.loads(kept["audit/v2/blip/audit-000001.jsonl"].document) == [{"event": 1}, {"event": 2}]
    assert json.loads(kept["meta/v2/blip_metadata.json"].document) == [{"category": "blip", "total_creates": 3}]
    assert take_over(store, root) is None
    assert store.verify() == []
    source.close()


def test_with_the_legacy_format_canonical_the_legacy_files_decide(
    legacy: Path, store: SqlStore, tmp_path: Path
) -> None:
    """A v2 file that disagrees with its legacy file is not what such an operator means."""
    (tmp_path / "legacy").mkdir()
    (tmp_path / "legacy" / "blip.json").write_bytes((legacy / "image" / "blip.json").read_bytes())
    (tmp_path / "blip.json").write_text('{"Other": {"name": "Other"}}')
    take_over(store, tmp_path, prefer_legacy=True)
    assert list(store.entries("blip")) == list(json.loads((legacy / "image" / "blip.json").read_bytes()))


def test_an_empty_data_root_is_nothing_to_take_over(store: SqlStore, tmp_path: Path) -> None:
    """A first start without data leaves the store empty."""
    assert take_over(store, tmp_path) is None
    assert store.head() == 0


HOSTILE = {
    "empty": b"",
    "blank": b" \n",
    "truncated": b'{"A": {"name": "A", "con',
    "not UTF-8": '{"A": {"name": "é"}}'.encode("latin-1"),
    "a list": b"[1, 2]",
    "a string": b'"text"',
    "100,000 levels": b"[" * 100_000,
    "NaN as a record": b'{"A": NaN}',
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_file_that_cannot_be_read_is_a_finding_and_the_others_are_taken(
    data: bytes, legacy: Path, store: SqlStore, tmp_path: Path
) -> None:
    """The finding names the file; nothing of the file is taken, everything of the others is."""
    (tmp_path / "blip.json").write_bytes(data)
    (tmp_path / "clip.json").write_bytes((legacy / "image" / "clip.json").read_bytes())
    incoming = read_path(tmp_path)
    faults = [finding for finding in incoming.findings if finding.severity is Severity.ERROR]
    assert faults
    assert all(finding.file.endswith("blip.json") for finding in faults)
    report = import_records(store, incoming, actor="tests")
    assert report.created["clip"] == len(json.loads((legacy / "image" / "clip.json").read_bytes()))
    assert "blip" not in store.counts()


@pytest.mark.parametrize(
    ("name", "document", "field"),
    [
        ("no object", [1], ""),
        ("text", "text", ""),
        ("wrong type", {"name": "n", "config": {"download": [{"file_name": "a"}]}}, "config.download.0.file_url"),
        ("bad\u202ename", {"name": "n"}, ""),
        ("nul\x00name", {"name": "n"}, ""),
        ("back\\slash", {"name": "n"}, ""),
        (
            "leaves its folder",
            {"name": "n", "config": {"download": [{"file_name": "../../etc/passwd", "file_url": "https://x"}]}},
            "config.download[0].file_name",
        ),
    ],
)
def test_a_bad_record_is_set_aside_alone(
    name: str, document: object, field: str, store: SqlStore, tmp_path: Path
) -> None:
    """The finding names file, record and field; the record beside it is taken."""
    (tmp_path / "blip.json").write_text(json.dumps({"good": {"name": "good"}, name: document}))
    incoming = read_path(tmp_path)
    (finding,) = (f for f in incoming.findings if f.severity is Severity.ERROR)
    assert (finding.record, finding.field) == (name, field)
    assert finding.file.endswith("blip.json")
    import_records(store, incoming, actor="tests")
    assert list(store.entries("blip")) == ["good"]


def test_a_name_with_slashes_is_a_name_like_any_other(store: SqlStore, tmp_path: Path) -> None:
    """715 of 719 text models are called author/model; even `../x` is only text as a model's name."""
    names = ["a/b", "../x", "x y", "日本語/モデル", "%2F"]
    (tmp_path / "blip.json").write_text(json.dumps({name: {"name": name} for name in names}))
    import_records(store, read_path(tmp_path), actor="tests")
    assert list(store.entries("blip")) == names


def test_a_place_that_holds_nothing_of_ours_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    """An empty folder, a missing one, and a file that is something else."""
    with pytest.raises(MalformedInput, match="expected a bundle"):
        read_path(tmp_path)
    with pytest.raises(MalformedInput, match="no such file"):
        read_path(tmp_path / "nowhere")
    (tmp_path / "other.json").write_text('{"a": 1}')
    (finding,) = read_path(tmp_path / "other.json").findings
    assert "no bundle" in finding.reason


def test_a_bundle_with_a_broken_category_is_a_finding(tmp_path: Path) -> None:
    """What is no object of records is said to be none."""
    path = tmp_path / "x.json"
    path.write_text('{"format": "horde_model_reference/bundle", "categories": {"blip": []}}')
    (finding,) = read_path(path).findings
    assert finding.record == "blip"


def test_one_file_of_a_category_can_be_read_alone(legacy: Path) -> None:
    """`import models.csv` and `import clip.json` work without their folder."""
    assert set(read_path(legacy / "text" / "models.csv").records) == {"text_generation"}
    assert set(read_path(legacy / "image" / "clip.json").records) == {"clip"}


def test_the_format_can_be_said_instead_of_recognised(legacy: Path, tmp_path: Path) -> None:
    """`v2` takes no legacy file, `legacy` no v2 file."""
    (tmp_path / "legacy").mkdir()
    (tmp_path / "legacy" / "clip.json").write_bytes((legacy / "image" / "clip.json").read_bytes())
    (tmp_path / "blip.json").write_text('{"A": {"name": "A"}}')
    assert set(read_folder(tmp_path, choice="v2").records) == {"blip"}
    assert set(read_folder(tmp_path, choice="legacy").records) >= {"clip"}


def test_a_file_that_may_not_be_opened_is_a_finding(tmp_path: Path) -> None:
    """A folder where a file is expected stands for any error of the system."""
    loop = tmp_path / "blip.json"
    (tmp_path / "clip.json").write_text('{"A": {"name": "A"}}')
    loop.symlink_to("blip.json")
    assert set(read_path(tmp_path).records) == {"clip"}


def test_prune_spares_a_record_that_could_not_be_read(store: SqlStore, tmp_path: Path) -> None:
    """A typing error in a file must not delete the record that it damaged."""
    (tmp_path / "blip.json").write_text('{"A": {"name": "A"}, "B": {"name": "B"}, "C": {"name": "C"}}')
    import_records(store, read_path(tmp_path), actor="tests")
    (tmp_path / "blip.json").write_text('{"A": {"name": "A"}, "B": {"name": 5}}')
    report = import_records(store, read_path(tmp_path), actor="tests", prune=True)
    assert dict(report.deleted) == {"blip": 1}
    assert list(store.entries("blip")) == ["A", "B"]
