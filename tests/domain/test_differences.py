"""What changed between two versions of a record: every field, and what it means to who reviews it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_model_reference.domain.differences import Difference, DifferenceKind, compare_records, differences
from horde_model_reference.domain.findings import JsonObject, JsonValue

A, B = "a" * 64, "b" * 64
FILE: JsonObject = {"file_name": "m.ckpt", "file_url": "https://one.org/m.ckpt", "sha256sum": A, "size_bytes": 10}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.sampled_from(["name", "nsfw", "tags", "config", "description"]), JSON, max_size=4)


def record(*files: JsonValue, **fields: JsonValue) -> JsonObject:
    """A document with these files."""
    return {"name": "m", **fields, "config": {"download": [*files]}}


def only(before: JsonObject, after: JsonObject) -> Difference:
    """The one difference there is."""
    (found,) = differences(before, after)
    return found


@pytest.mark.parametrize(
    ("change", "words", "alarming"),
    [
        ({"file_url": "https://two.org/m.ckpt"}, "URL host changed from one.org to two.org, hash unchanged", False),
        ({"file_url": "https://one.org/n/m.ckpt"}, "URL changed, hash unchanged", False),
        ({"file_url": "http://[bad"}, "URL host changed from one.org to none, hash unchanged", False),
        ({"file_url": None}, "URL host changed from one.org to none, hash unchanged", False),
        ({"sha256sum": B}, "file replaced under the same URL: hash changed", True),
        ({"sha256sum": B, "size_bytes": 11}, "file replaced under the same URL: hash and size changed", True),
        ({"sha256sum": B, "file_url": "https://one.org/2"}, "file replaced: hash changed, and the URL with it", False),
        (
            {"sha256sum": B, "size_bytes": 1, "file_url": "https://two.org/"},
            "file replaced: hash and size changed, and the URL with it",
            False,
        ),
        ({"sha256sum": "FIXME"}, "hash removed: the file can no longer be verified", True),
        ({"sha256sum": None}, "hash removed: the file can no longer be verified", True),
        ({"size_bytes": 12}, "size changed from 10 to 12, hash unchanged", False),
        ({"file_name": "n.ckpt"}, "file renamed from m.ckpt, hash unchanged", False),
    ],
)
def test_a_change_of_a_file_says_what_a_worker_will_get(change: JsonObject, words: str, alarming: bool) -> None:
    """Moved, replaced, re-hashed, unverifiable: and whether somebody must look."""
    found = only(record(FILE), record({**FILE, **change}))
    assert (found.words, found.alarming, found.kind) == (words, alarming, DifferenceKind.MODIFIED)
    assert found.path == f"config.download[{change.get('file_name', 'm.ckpt')}]"


def test_a_hash_that_becomes_known_is_welcome_and_an_unknown_file_that_moves_is_not() -> None:
    """What cannot be verified may be anything after it has moved."""
    unknown: JsonObject = {**FILE, "sha256sum": "fixme"}
    assert only(record(unknown), record(FILE)).words == "hash added"
    moved = only(record(unknown), record({**FILE, "file_url": "https://two.org/"}))
    assert (moved.words, moved.alarming) == ("hash added, and the URL changed", False)
    away = only(record(unknown), record({**unknown, "file_url": "https://two.org/"}))
    assert (away.words, away.alarming) == ("URL host changed from one.org to two.org, hash unknown", True)


def test_the_letter_case_of_a_hash_is_no_difference() -> None:
    """Nor is a null where there was nothing."""
    assert differences(record(FILE), record({**FILE, "sha256sum": A.upper()})) == []
    assert differences(record(FILE), record(FILE, version=None)) == []


def test_files_come_and_go_and_other_fields_of_a_file_are_compared_too() -> None:
    """Each with the file's name in its path."""
    other: JsonObject = {**FILE, "file_name": "vae.pt", "sha256sum": B}
    assert [(d.path, d.kind, d.words) for d in differences(record(FILE), record(other))] == [
        ("config.download[m.ckpt]", "removed", "file removed"),
        ("config.download[vae.pt]", "added", "file added"),
    ]
    slow = only(record(FILE), record({**FILE, "known_slow_download": True}))
    assert (slow.path, slow.words) == (
        "config.download[m.ckpt].known_slow_download",
        "config.download[m.ckpt].known_slow_download added: true",
    )
    assert [d.kind for d in differences({"config": {}}, record(FILE, name=None))] == ["added"]


def test_an_unknown_hash_does_not_make_two_files_the_same() -> None:
    """Only a real hash recognises a file under another name."""
    first, second = ({**FILE, "file_name": name, "sha256sum": "FIXME"} for name in ("a", "b"))
    assert [d.kind for d in differences(record(first), record(second))] == ["removed", "added"]


def test_files_without_a_name_or_with_the_same_one_are_told_apart_by_place() -> None:
    """Whatever a document holds, comparing it does not fail."""
    assert differences(record(FILE, FILE, "text", {}), record(FILE, FILE, "text", {})) == []
    assert [d.path for d in differences(record(FILE, FILE), record(FILE))] == ["config.download[m.ckpt#1]"]
    assert only({"config": {"download": 3}}, {"config": {"download": 4}}).words == "config.download changed from 3 to 4"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"baseline": "sd_1"}, {"baseline": "sdxl"}, "baseline changed from sd_1 to sdxl"),
        ({"nsfw": False}, {"nsfw": True}, "now marked as not safe for work"),
        ({"nsfw": True}, {"nsfw": False}, "no longer marked as not safe for work"),
        ({"description": "a"}, {"description": "b"}, "description changed"),
        ({}, {"description": "b"}, "description added"),
        ({"description": "b"}, {}, "description removed"),
        ({"tags": ["a", "b"]}, {"tags": ["b", "c"]}, "tags: added c; removed a"),
        ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}, "tags: order or number of equal values changed"),
        ({"tags": ["a"]}, {"tags": ["a", "a"]}, "tags: order or number of equal values changed"),
        ({"tags": None}, {"tags": ["a"]}, "tags: added a"),
        ({"version": "1"}, {"version": ""}, 'version changed from 1 to ""'),
        ({"version": "1"}, {}, "version removed: 1"),
        ({}, {"style": "x" * 99}, "style added: " + "x" * 59 + "…"),
        (
            {"requirements": {"min_steps": 1}},
            {"requirements": {"min_steps": 2}},
            "requirements.min_steps changed from 1 to 2",
        ),
        ({}, {"requirements": {"min_steps": 2}}, "requirements added"),
        ({"flag": 1}, {"flag": True}, "flag changed from 1 to true"),
        ({"list": [{"a": 1}]}, {"list": [{"a": True}]}, 'list: added {"a":true}; removed {"a":1}'),
        ({"list": [{"a": 1}]}, {"list": [{"b": 1}]}, 'list: added {"b":1}; removed {"a":1}'),
    ],
)
def test_a_change_of_a_field_is_put_in_words(before: JsonObject, after: JsonObject, words: str) -> None:
    """Short values are shown, long ones cut, lists taken apart; true is not 1."""
    assert only(before, after).words == words


def test_a_record_as_a_whole_can_come_and_go() -> None:
    """None is "no record"."""
    assert differences(None, None) == []
    added, removed = differences(None, record())[0], differences(record(), None)[0]
    assert (added.kind, added.path, added.words) == (DifferenceKind.ADDED, "", "record added")
    assert (removed.kind, removed.after) == (DifferenceKind.REMOVED, None)


def test_collections_are_compared_by_name_and_a_renaming_is_recognised() -> None:
    """By the hashes of the files, where they leave no doubt."""
    before = {"still": record(), "same": record(FILE), "old": record({**FILE, "sha256sum": B}), "gone": record()}
    after = {
        "still": record(),
        "same": record(FILE, nsfw=True),
        "new": record({**FILE, "sha256sum": B}),
        "more": record(),
    }
    found = compare_records(before, after)
    assert [(each.name, each.kind, each.before_name) for each in found] == [
        ("gone", "removed", ""),
        ("more", "added", ""),
        ("new", "renamed", "old"),
        ("same", "modified", ""),
    ]
    doubtful = compare_records({"a": record(FILE), "b": record(FILE)}, {"c": record(FILE)})
    assert [each.kind for each in doubtful] == ["removed", "removed", "added"]
    assert compare_records({"a": {"name": "a"}}, {"b": {"name": "b", "config": 3}})[0].kind == "removed"


@given(DOCUMENTS, DOCUMENTS)
def test_equal_documents_do_not_differ_and_differences_turn_round(before: JsonObject, after: JsonObject) -> None:
    """Whatever JSON a document holds."""
    assert differences(before, before) == []
    there, back = differences(before, after), differences(after, before)
    assert {(d.path, str(d.before), str(d.after)) for d in there} == {
        (d.path, str(d.after), str(d.before)) for d in back
    }


@pytest.mark.parametrize(
    ("field", "before", "after", "words"),
    [
        ("nsfw", None, False, "nsfw added: false"),
        ("nsfw", False, None, "nsfw removed: false"),
        ("min_bridge_version", 0, None, "min_bridge_version removed: 0"),
        ("inpainting", False, True, "inpainting changed from false to true"),
    ],
)
def test_false_and_zero_are_values(field: str, before: JsonValue, after: JsonValue, words: str) -> None:
    """They were once told as lists whose order changed, and a model nobody had marked was `no longer marked`."""
    assert [each.words for each in differences({field: before}, {field: after})] == [words]


def test_no_file_hides_behind_the_place_of_another() -> None:
    """A file called `x#2` beside two called `x`: its change was not shown to the reviewer."""

    def document(sha256: str) -> JsonObject:
        names = ("x#2", "x", "x")
        files: list[JsonValue] = [
            {"file_name": n, "file_url": "https://x.org", "sha256sum": sha256 if n == "x#2" else n} for n in names
        ]
        return {"config": {"download": files}}

    [found] = differences(document("a" * 64), document("b" * 64))
    assert found.alarming
    assert found.path == "config.download[x#2]"
