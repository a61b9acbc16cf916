"""Records as they go over HTTP: what every reader may rely on is there, and what a record says is never changed."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_model_reference.domain.categories import get_all_registered_categories, get_category_descriptor
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.formats.json_codec import encode
from horde_model_reference.formats.wire import wire_document

CATEGORIES = [str(category) for category in get_all_registered_categories()]
PROMISED = ("record_type", "model_classification", "licensing", "guidance")
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5)
DOCUMENTS = st.dictionaries(st.sampled_from((*PROMISED, "name", "mine")), JSON)


def wired_object(category: str, document: JsonObject, times: tuple[int, int] | None = None) -> JsonObject:
    """The document as it goes over HTTP: an object stays one."""
    wired = wire_document(category, document, times)
    assert isinstance(wired, dict)
    return wired


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_empty_document_gets_the_defaults_of_its_category(category: str) -> None:
    """Type, classification and licensing everywhere, guidance for text models alone."""
    document = wired_object(category, {})
    descriptor = get_category_descriptor(category)
    assert document["record_type"] == category
    assert document["model_classification"] == {"domain": descriptor.domain, "purpose": descriptor.purpose}
    assert isinstance(document["licensing"], dict)
    assert document["licensing"]["license_expression"] == "NOASSERTION"
    assert ("guidance" in document) == (category == "text_generation")


@given(st.sampled_from(CATEGORIES), DOCUMENTS)
def test_what_a_document_has_stays_first_and_as_it_is(category: str, document: JsonObject) -> None:
    """Also where it says null; the document that was passed is not changed."""
    before = deepcopy(document)
    wired = wired_object(category, document)
    assert list(wired.items())[: len(document)] == list(document.items())
    assert document == before


@given(st.sampled_from(CATEGORIES), DOCUMENTS)
def test_a_document_that_has_everything_stays_what_it_is(category: str, document: JsonObject) -> None:
    """A second time adds nothing, so a relay may do it again."""
    once = wired_object(category, document)
    assert list(wired_object(category, once).items()) == list(once.items())


TIMES = st.none() | st.tuples(st.integers(0), st.integers(0))


@given(st.sampled_from(CATEGORIES), DOCUMENTS, TIMES, TIMES)
def test_a_relay_adds_no_times_to_those_that_are_there(
    category: str, document: JsonObject, times: tuple[int, int] | None, later: tuple[int, int] | None
) -> None:
    """What was told once is told on as it is."""
    once = wired_object(category, document, times or (0, 0))
    assert encode(wired_object(category, once, later)) == encode(once)


@given(st.sampled_from(CATEGORIES), DOCUMENTS, st.dictionaries(st.sampled_from(("created_at", "mine")), JSON))
def test_the_times_of_a_record_stand_in_its_metadata(category: str, document: JsonObject, metadata: JsonObject) -> None:
    """Where the document says nothing of its own; nothing that was passed is changed, and the rest stays as it is."""
    document = {**document, "metadata": metadata}
    before = deepcopy(document)
    told = wired_object(category, document, (7, 8))["metadata"]
    assert isinstance(told, dict)
    assert told["updated_at"] == 8
    assert told["created_at"] == (7 if metadata.get("created_at") is None else metadata["created_at"])
    assert {key: told[key] for key in metadata if metadata[key] is not None} == {
        key: value for key, value in metadata.items() if value is not None
    }
    assert document == before


@pytest.mark.parametrize("metadata", [None, 7, "x", []])
def test_metadata_that_is_no_object_stays_as_it_is(metadata: JsonValue) -> None:
    """One bad record is one bad record: it is told as written."""
    assert wired_object("blip", {"name": "a", "metadata": metadata}, (7, 8))["metadata"] == metadata


def test_what_is_no_object_is_passed_on() -> None:
    """With and without times."""
    assert wire_document("blip", 7) == wire_document("blip", 7, (1, 2)) == 7
