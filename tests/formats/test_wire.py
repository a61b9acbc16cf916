"""Records as they go over HTTP: what every reader may rely on is there, and what a record says is never changed."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_model_reference.domain.categories import get_all_registered_categories, get_category_descriptor
from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.formats.wire import wire_document, wire_documents

CATEGORIES = [str(category) for category in get_all_registered_categories()]
PROMISED = ("record_type", "model_classification", "licensing", "guidance")
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5)
DOCUMENTS = st.dictionaries(st.sampled_from((*PROMISED, "name", "mine")), JSON)


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_empty_document_gets_the_defaults_of_its_category(category: str) -> None:
    """Type, classification and licensing everywhere, guidance for text models alone."""
    document = wire_document(category, {})
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
    wired = wire_document(category, document)
    assert list(wired.items())[: len(document)] == list(document.items())
    assert document == before


@given(st.sampled_from(CATEGORIES), DOCUMENTS)
def test_a_document_that_has_everything_stays_what_it_is(category: str, document: JsonObject) -> None:
    """A second time adds nothing, so a relay may do it again."""
    once = wire_document(category, document)
    assert list(wire_document(category, once).items()) == list(once.items())


def test_a_category_is_rendered_record_by_record() -> None:
    """Under the same keys, in the same order; what is no object is passed on."""
    wired = wire_documents("blip", {"b": {"name": "b"}, "a": 7})
    assert list(wired.items()) == [("b", wire_document("blip", {"name": "b"})), ("a", 7)]
