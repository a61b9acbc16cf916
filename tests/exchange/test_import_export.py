"""Taking a reference in and writing it out: nothing is lost, repeating changes nothing, faults stay where they are."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from horde_model_reference.domain.events import Kind
from horde_model_reference.domain.findings import Severity
from horde_model_reference.errors import MalformedInput
from horde_model_reference.exchange.exporting import Mirror, bundle, legacy_entries, write_legacy, write_v2
from horde_model_reference.exchange.importing import PEER_FILES, import_records, read_folder, read_path, take_over
from horde_model_reference.stores.sql import SqlStore, UnitOfWork

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


def test_a_dry_run_tells_what_an_import_does_and_does_nothing(filled: SqlStore, tmp_path: Path) -> None:
    """Creations, updates, deletions, documents beside them and the revision; and nobody is told of a change."""
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "x.json").write_text("{}")
    (tmp_path / "clip.json").write_text('{"New": {"name": "New"}, "ViT-L/14": {"name": "ViT-L/14"}}')
    told: list[str] = []
    filled.subscribe(lambda: told.append("changed"))
    before, clips = filled.head(), filled.entries("clip")
    tried, done = (
        import_records(filled, read_path(tmp_path), actor="tests", prune=True, dry_run=dry_run)
        for dry_run in (True, False)
    )
    assert tried == done
    assert (told, tried.revision) == (["changed"], before + tried.changes + 1)
    assert filled.entries("clip", at=before) == clips


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


def test_a_legacy_canonical_data_root_keeps_what_exists_in_v2_alone(
    store: SqlStore, legacy: Path, tmp_path: Path
) -> None:
    """What has no legacy format or no legacy file is taken from v2: the mirror would empty those files."""
    (tmp_path / "legacy").mkdir()
    (tmp_path / "legacy" / "clip.json").write_bytes((legacy / "image" / "clip.json").read_bytes())
    (tmp_path / "clip.json").write_text('{"stale": {"name": "stale"}}')
    for category in ("controlnet_annotator", "esrgan"):
        download = {"file_name": "a.pth", "file_url": "https://x.org/a.pth"}
        record = {"name": "A", "record_type": category, "config": {"download": [download]}}
        (tmp_path / f"{category}.json").write_text(json.dumps({"A": record}))
    report = take_over(store, tmp_path, prefer_legacy=True)
    assert report is not None
    assert not any(finding.severity is Severity.ERROR for finding in report.findings)
    assert list(store.entries("controlnet_annotator")) == ["A"] == list(store.entries("esrgan"))
    assert "stale" not in store.entries("clip")


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
            "config.download.0.file_name",
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
    with pytest.raises(FileNotFoundError):
        read_path(tmp_path / "nowhere")
    (tmp_path / "other.json").write_text('{"a": 1}')
    (finding,) = read_path(tmp_path / "other.json").findings
    assert "no bundle" in finding.reason


def test_a_bundle_with_a_broken_category_is_a_finding(tmp_path: Path) -> None:
    """What is no object of records is said to be none."""
    path = tmp_path / "x.json"
    path.write_text('{"format": "horde_model_reference/bundle", "version": 1, "categories": {"blip": []}}')
    (finding,) = read_path(path).findings
    assert finding.record == "blip"


def test_a_bundle_record_with_an_origin_that_is_no_object_is_set_aside(tmp_path: Path) -> None:
    """The legacy format is rendered from origins: one such record would stop every export and the mirror."""
    rows = {"bad": {"document": {"name": "bad"}, "origin": "text"}, "good": {"document": {"name": "good"}}}
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"format": "horde_model_reference/bundle", "version": 1, "categories": {"clip": rows}}))
    incoming = read_path(path)
    assert [record.name for record in incoming.records["clip"]] == ["good"]
    assert [(finding.record, finding.field) for finding in incoming.findings] == [("bad", "origin")]


def test_what_another_program_manages_is_not_taken_in(tmp_path: Path) -> None:
    """The engine keeps `lora.json` itself; nobody could read it here."""
    (tmp_path / "lora.json").write_text('{"mine": {"name": "mine"}}')
    incoming = read_path(tmp_path / "lora.json")
    assert incoming.total == 0
    assert [finding.severity for finding in incoming.findings] == [Severity.ERROR]


def test_one_file_of_a_category_can_be_read_alone(legacy: Path) -> None:
    """`import models.csv` and `import clip.json` work without their folder."""
    assert set(read_path(legacy / "text" / "models.csv").records) == {"text_generation"}
    assert set(read_path(legacy / "image" / "clip.json").records) == {"clip"}


def test_the_format_can_be_said_instead_of_recognised(legacy: Path, tmp_path: Path) -> None:
    """`v2` looks for no legacy file; `legacy` reads what is there as legacy, a flat folder included."""
    (tmp_path / "legacy").mkdir()
    (tmp_path / "legacy" / "clip.json").write_bytes((legacy / "image" / "clip.json").read_bytes())
    (tmp_path / "blip.json").write_text('{"A": {"name": "A"}}')
    assert set(read_folder(tmp_path, choice="v2").records) == {"blip"}
    read = read_folder(tmp_path, choice="legacy")
    assert set(read.records) == {"blip", "clip"}
    assert all(record.origin for records in read.records.values() for record in records)


@pytest.mark.parametrize("place", ["blip.json", "legacy/blip.json"])
@pytest.mark.parametrize("kind", ["a link to itself", "a folder"])
def test_a_file_that_may_not_be_opened_is_a_finding(place: str, kind: str, tmp_path: Path) -> None:
    """What is there and cannot be read is said, not passed over; the others are read."""
    odd = tmp_path / place
    odd.parent.mkdir(exist_ok=True)
    if kind == "a folder":
        odd.mkdir()
    else:
        odd.symlink_to(odd.name)
    (tmp_path / "clip.json").write_text('{"A": {"name": "A"}}')
    incoming = read_path(tmp_path)
    assert set(incoming.records) == {"clip"}
    assert [(finding.file, finding.severity) for finding in incoming.findings] == [(str(odd), Severity.ERROR)]


def test_prune_spares_a_record_that_could_not_be_read(store: SqlStore, tmp_path: Path) -> None:
    """A typing error in a file must not delete the record that it damaged."""
    (tmp_path / "blip.json").write_text('{"A": {"name": "A"}, "B": {"name": "B"}, "C": {"name": "C"}}')
    import_records(store, read_path(tmp_path), actor="tests")
    (tmp_path / "blip.json").write_text('{"A": {"name": "A"}, "B": {"name": 5}}')
    report = import_records(store, read_path(tmp_path), actor="tests", prune=True)
    assert dict(report.deleted) == {"blip": 1}
    assert list(store.entries("blip")) == ["A", "B"]


def test_prune_deletes_nothing_where_a_row_has_no_name(store: SqlStore, tmp_path: Path) -> None:
    """A stray quote in `models.csv` once deleted the model whose row it damaged."""
    (tmp_path / "models.csv").write_text("name,parameters_bn\na,7\nb,7\n")
    import_records(store, read_path(tmp_path), actor="tests")
    (tmp_path / "models.csv").write_text('name,parameters_bn\na,7\n"b"x,7\n')
    report = import_records(store, read_path(tmp_path), actor="tests", prune=True)
    assert not report.deleted
    assert list(store.entries("text_generation")) == ["a", "b"]


def test_a_process_that_takes_over_late_undoes_nothing(tmp_path: Path) -> None:
    """Two workers start at once; a change that was made between reading the files and taking them in was lost."""
    (tmp_path / "clip.json").write_text('{"A": {"name": "A", "description": "old"}}')

    class Late(SqlStore):
        @contextmanager
        def begin(self, *, actor: str, at_ms: int | None = None) -> Iterator[UnitOfWork]:
            if actor == "system":
                take_over(other, tmp_path)
                with other.begin(actor="curator") as unit:
                    unit.put("clip", "A", '{"name":"A","description":"new"}')
            with super().begin(actor=actor, at_ms=at_ms) as unit:
                yield unit

    address = f"sqlite:///{tmp_path / 'reference.sqlite3'}"
    late, other = Late(address), SqlStore(address)
    assert take_over(late, tmp_path) is None
    assert json.loads(late.entries("clip")["A"].document)["description"] == "new"
    late.close()
    other.close()


def test_a_file_that_was_not_taken_over_in_full_stays_beside_its_mirror(store: SqlStore, tmp_path: Path) -> None:
    """The mirror once wrote `{}` over a file with one comma too few, and dropped records with one bad field."""
    broken, partly = '{"A": {"name": "A"}', '{"A": {"name": "A"}, "B": {"name": "B", "description": 5}}'
    (tmp_path / "esrgan.json").write_text(broken)
    (tmp_path / "clip.json").write_text(partly)
    (tmp_path / "blip.json").write_text('{"A": {"name": "A"}}')
    take_over(store, tmp_path)
    Mirror(store, tmp_path).refresh()
    assert (tmp_path / "esrgan.json.set-aside").read_text() == broken
    assert (tmp_path / "clip.json.set-aside").read_text() == partly
    assert not (tmp_path / "blip.json.set-aside").exists()


def test_a_category_that_nobody_knows_is_a_finding(tmp_path: Path) -> None:
    """Stored under `../../x`, it stopped `doctor`, and the next bundle left it out without a word."""
    rows = {"A": {"document": {"name": "A"}}}
    bundle_of = {"format": "horde_model_reference/bundle", "version": 1, "categories": {"../../x": rows, "clip": rows}}
    (tmp_path / "x.json").write_text(json.dumps(bundle_of))
    incoming = read_path(tmp_path / "x.json")
    assert set(incoming.records) == {"clip"}
    assert "../../x is no category" in incoming.findings[0].reason


ONE_BAD = {
    "NaN": b'{"A": {"name": "A"}, "B": {"name": "B", "size_on_disk_bytes": NaN}}',
    "5,000 digits": b'{"A": {"name": "A"}, "B": {"name": "B", "size_on_disk_bytes": ' + b"9" * 5_000 + b"}}",
    "a lone surrogate": b'{"A": {"name": "A"}, "B": {"name": "B", "description": "\\ud800"}}',
}


@pytest.mark.parametrize("data", ONE_BAD.values(), ids=ONE_BAD.keys())
def test_a_value_that_json_does_not_have_costs_its_record_alone(data: bytes, store: SqlStore, tmp_path: Path) -> None:
    """In a v2 file as in a legacy one."""
    (tmp_path / "blip.json").write_bytes(data)
    incoming = read_path(tmp_path)
    assert [(finding.record, finding.severity) for finding in incoming.findings] == [("B", Severity.ERROR)]
    import_records(store, incoming, actor="tests")
    assert list(store.entries("blip")) == ["A"]


def test_a_name_given_twice_in_a_v2_file_is_a_finding(tmp_path: Path) -> None:
    """The last one counts, as everywhere in JSON, but nobody meant it."""
    (tmp_path / "blip.json").write_text('{"A": {"name": "A", "version": "1"}, "A": {"name": "A", "version": "2"}}')
    incoming = read_path(tmp_path)
    (finding,) = incoming.findings
    assert (finding.record, finding.severity) == ("A", Severity.WARNING)
    assert '"2"' in incoming.records["blip"][0].document


def test_what_a_v2_file_has_damaged_is_taken_from_its_legacy_file(
    legacy: Path, store: SqlStore, tmp_path: Path
) -> None:
    """One record, or the whole file; the damage is reported all the same."""
    (tmp_path / "legacy").mkdir()
    for name in ("blip.json", "esrgan.json"):
        (tmp_path / "legacy" / name).write_bytes((legacy / "image" / name).read_bytes())
    names = list(json.loads((legacy / "image" / "blip.json").read_bytes()))
    (tmp_path / "blip.json").write_text(json.dumps({names[0]: {"name": 5}, names[1]: {"name": names[1]}}))
    (tmp_path / "esrgan.json").write_text('{"trunc')
    report = take_over(store, tmp_path)
    assert report is not None
    assert {Path(f.file).name for f in report.findings if f.severity is Severity.ERROR} == {"blip.json", "esrgan.json"}
    assert set(store.entries("blip")) == set(names)
    assert legacy_entries("esrgan", store.entries("esrgan")) == json.loads(
        (legacy / "image" / "esrgan.json").read_bytes()
    )


def test_a_bundle_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """It may mean something that this version does not know."""
    (tmp_path / "x.json").write_text('{"format": "horde_model_reference/bundle", "version": 99, "categories": {}}')
    (finding,) = read_path(tmp_path / "x.json").findings
    assert "version 99" in finding.reason


def test_a_document_is_stored_as_its_record_was_read(store: SqlStore, tmp_path: Path) -> None:
    """Text for a number or a truth, a field by its Python name: every reader gets the same meaning; the rest stays."""
    image: dict[str, object] = {
        "name": "I",
        "baseline": "flux_1",
        "nsfw": "false",
        "min_bridge_version": "13",
        "tags": [" a "],
        "new": "7",
    }
    image["config"] = {"download": [{"file_name": "f", "file_url": "u", "size_bytes": "5"}]}
    (tmp_path / "stable_diffusion.json").write_text(json.dumps({"I": image}))
    (tmp_path / "text_generation.json").write_text('{"T": {"name": "T", "parameters_count": 7}}')
    import_records(store, read_path(tmp_path), actor="tests")
    stored = json.loads(store.snapshot("image_generation").body)["I"]
    download = {"file_name": "f", "file_url": "u", "size_bytes": 5}
    assert stored == image | {"nsfw": False, "min_bridge_version": 13, "config": {"download": [download]}}
    assert json.loads(store.snapshot("text_generation").body) == {"T": {"name": "T", "parameters": 7}}
