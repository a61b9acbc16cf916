"""What many records hold together, and that none of them, nor anybody who uses them, can tell."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from horde_model_reference.domain import validation
from horde_model_reference.domain.record_parts import share
from horde_model_reference.domain.records import GenericModelRecord, ImageGenerationModelRecord
from horde_model_reference.domain.validation import validate_records

_DOCUMENT: dict[str, Any] = {
    "baseline": "b",
    "nsfw": False,
    "config": {"download": [{"file_name": "f", "file_url": "u"}]},
    "finetune_series": {"name": "s"},
}
_BODY = json.dumps({name: {"name": name, **_DOCUMENT} for name in "abc"}).encode()

Change = Callable[[ImageGenerationModelRecord], object]
_CHANGES: dict[str, Change] = {
    "a field is set": lambda r: setattr(r, "description", "d"),
    "an unknown field is set": lambda r: setattr(r, "zz", 1),
    "a field is deleted": lambda r: delattr(r, "style"),
    "the fields set are changed": lambda r: r.model_fields_set.add("style"),
    "the unknown fields are changed": lambda r: r.model_extra.update(zz=1),  # type: ignore[union-attr]
    "a part's field is set": lambda r: setattr(r.metadata, "created_at", 1),
    "a part's unknown field is set": lambda r: setattr(r.metadata, "zz", 1),
    "a part's fields set are changed": lambda r: r.config.model_fields_set.clear(),
    "a file's field is set": lambda r: setattr(r.config.download[0], "size_bytes", 1),
    "a file's unknown fields are changed": lambda r: r.config.download[0].model_extra.update(zz=1),  # type: ignore[union-attr]
    "the classification is changed": lambda r: setattr(r.model_classification, "domain", "text"),
}
_COPIES: dict[str, Callable[[ImageGenerationModelRecord], ImageGenerationModelRecord]] = {
    "model_copy": lambda r: r.model_copy(),
    "model_copy with update": lambda r: r.model_copy(update={"zz": 2, "description": "x"}),
    "deep model_copy": lambda r: r.model_copy(deep=True),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda r: pickle.loads(pickle.dumps(r)),
    "model_construct": lambda r: ImageGenerationModelRecord.model_construct(**r.__dict__),
    "validation": ImageGenerationModelRecord.model_validate,
}


@pytest.fixture(params=[0, 5_000], ids=["shared", "unshared"])
def records(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[ImageGenerationModelRecord]:
    """Three equal records but for the name; the same must hold for those that share as for those that do not."""
    monkeypatch.setattr(validation, "_MANY", request.param)
    read = list(validate_records("image_generation", _BODY)[0].values())
    return [record for record in read if isinstance(record, ImageGenerationModelRecord)]


def _dumps(record: GenericModelRecord) -> list[object]:
    ways: list[dict[str, Any]] = [{}, {"exclude_unset": True}, {"exclude_defaults": True}, {"mode": "json"}]
    dumps: list[object] = [record.model_dump(**way, warnings=False) for way in ways]
    return [*dumps, record.model_dump_json(exclude_unset=True, warnings=False), repr(record)]


def test_many_records_share_and_few_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal notes are one object, in the records and in their parts; below the limit each has its own."""
    for many, together in ((0, True), (3, True), (4, False)):
        monkeypatch.setattr(validation, "_MANY", many)
        a, b = list(validate_records("image_generation", _BODY)[0].values())[:2]
        for one, two in ((a, b), (a.metadata, b.metadata), (a.config.download[0], b.config.download[0])):
            assert (one.__pydantic_fields_set__ is two.__pydantic_fields_set__) is together
            assert (one.__pydantic_extra__ is two.__pydantic_extra__) is together


@pytest.mark.parametrize("change", _CHANGES)
def test_a_change_of_one_record_shows_in_no_other(records: list[ImageGenerationModelRecord], change: str) -> None:
    """And in itself exactly as in a record that was made alone."""
    changed, other, _ = records
    alone = ImageGenerationModelRecord.model_validate_json(json.dumps({"name": "a", **_DOCUMENT}))
    before = _dumps(other)
    for record in (changed, alone):
        _CHANGES[change](record)
    assert _dumps(other) == before
    assert _dumps(changed) == _dumps(alone)
    assert changed == alone


@pytest.mark.parametrize("make", _COPIES)
def test_a_copy_is_what_it_always_was(records: list[ImageGenerationModelRecord], make: str) -> None:
    """Equal to the copy of a record that was made alone; a change of it shows in no record that was shared."""
    alone = ImageGenerationModelRecord.model_validate_json(json.dumps({"name": "a", **_DOCUMENT}))
    made, expected = _COPIES[make](records[0]), _COPIES[make](alone)
    assert made == expected
    assert _dumps(made) == _dumps(expected)
    before = _dumps(records[1])
    setattr(made, "zz", 3)  # noqa: B010  (no field of the class)
    made.style = "anime"
    assert _dumps(records[1]) == before
    assert "zz" not in _dumps(records[1])[0]  # type: ignore[operator]


def test_records_pickled_together_come_back_apart(records: list[ImageGenerationModelRecord]) -> None:
    """One pickle of many records holds no link between them."""
    again = pickle.loads(pickle.dumps(records))
    assert [(type(r.__pydantic_fields_set__), type(r.__pydantic_extra__)) for r in again] == [(set, dict)] * 3
    again[0].zz = 1
    again[0].config.model_fields_set.clear()
    assert again[1:] == records[1:]
    assert [_dumps(record) for record in again[1:]] == [_dumps(record) for record in records[1:]]


def test_unknown_fields_are_never_shared() -> None:
    """Only the absence of them is."""
    one, two = (ImageGenerationModelRecord.model_validate({"name": n, **_DOCUMENT, "zz": [n]}) for n in "ab")
    share([one, two])
    assert (one.model_extra, two.model_extra) == ({"zz": ["a"]}, {"zz": ["b"]})
    del one.zz  # type: ignore[attr-defined]
    assert (one.model_extra, two.model_extra) == ({}, {"zz": ["b"]})
