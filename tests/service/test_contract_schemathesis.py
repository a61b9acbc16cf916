"""Our OpenAPI document taken at its word: generated requests, good and bad, and every answer is what it documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckFunction, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from horde_model_reference.domain.categories import CANONICAL_CATEGORIES
from horde_model_reference.service.application import create_app
from horde_model_reference.settings import CanonicalFormat, ReplicateMode, make_settings
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.wiring import Parts
from tests.service.servers import running

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]
_ENDLESS = "/model_references/v2/changes/stream"
"""Not asked: it goes on until the reader goes away, and its own tests read it."""
_WITH_KEYS = ("/pending", "/me/roles")
"""Reads that need a key, which the generated requests do not have."""
_OF_LEGACY = "/model_references/v1/metadata/"
"""Asked of a PRIMARY that accepts changes in the legacy format: the other one answers 503, as documented."""
_NOT_ASKED: list[CheckFunction] = [positive_data_acceptance]
"""A question may be valid and have no answer: a revision that is not there yet, a field that no record has."""
_OF_LISTS = "/search"
"""Their bad questions are asked by hand: in an address every text is a list of one text, which is not seen."""
_BAD_SEARCHES = {
    "limit": "0 501 x",
    "offset": "-1 x",
    "nsfw": "maybe",
    "sort_desc": "maybe",
    "commercial_use": "never",
    "redistribution": "never",
}
_EXAMPLES = {GenerationMode.POSITIVE: 24, GenerationMode.NEGATIVE: 8}
_SEEN = {GenerationMode.POSITIVE: {200, 404, 410, 422}, GenerationMode.NEGATIVE: {422}}
"""Statuses that must be among the answers, or the questions are not the ones that were meant."""


@pytest.fixture(scope="module")
def urls(parts: Parts) -> Iterator[dict[CanonicalFormat, str]]:
    """The invented reference, served once for each format in which changes may be accepted."""
    v2, legacy = (
        create_app(parts, make_settings(replicate_mode=ReplicateMode.PRIMARY, canonical_format=each))
        for each in _FORMATS
    )
    with running(v2) as one, running(legacy) as other:
        yield dict(zip(_FORMATS, (one, other), strict=True))


_FORMATS = (CanonicalFormat.v2, CanonicalFormat.legacy)


def _operations() -> list[Operation]:
    document = schemathesis.openapi.from_dict(create_app().openapi())
    found = list(document.exclude(path=_ENDLESS).get_all_operations())
    reads = [each.ok() for each in found if isinstance(each, Ok) and each.ok().method.upper() == "GET"]
    return [each for each in reads if not any(word in each.path for word in _WITH_KEYS)]


@pytest.mark.parametrize("mode", _EXAMPLES)
def test_every_answer_is_as_documented(
    mode: GenerationMode, urls: dict[CanonicalFormat, str], store: SqlStore, subtests: pytest.Subtests
) -> None:
    """No server error, no status, content type or body that the document does not have, no bad question accepted."""
    names = [name for category in CANONICAL_CATEGORIES for name in store.entries(category)]
    operations = _operations()
    assert len(operations) >= 53
    answered: Counter[int] = Counter()
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not list(operation.iter_parameters()):
            continue  # nothing to get wrong
        url = urls[_FORMATS[operation.path.startswith(_OF_LEGACY)]]
        with subtests.test(operation.label):
            answered += _asked(operation, mode, f"{url}/api", names, store.head())
    assert answered.keys() >= _SEEN[mode], answered


def _asked(operation: Operation, mode: GenerationMode, url: str, names: list[str], head: int) -> Counter[int]:
    """The statuses of the answers to generated requests."""
    excluded = [*_NOT_ASKED, *([negative_data_rejection] if operation.path.endswith(_OF_LISTS) else [])]
    answered: Counter[int] = Counter()

    @settings(max_examples=_EXAMPLES[mode], derandomize=True, database=None, suppress_health_check=[*HealthCheck])
    @given(case=operation.as_strategy(generation_mode=mode), name=st.sampled_from(names), aims=st.booleans())
    def check(case: Case[Any], name: str, aims: bool) -> None:
        _aim(case, name, head, at_what_is_there=aims and mode is GenerationMode.POSITIVE)
        answered[case.call_and_validate(base_url=url, excluded_checks=excluded, timeout=20).status_code] += 1

    check()
    return answered


def _aim(case: Case[Any], name: str, head: int, *, at_what_is_there: bool) -> None:
    """Names and revisions by chance are never there; and what waits for changes need not wait long."""
    if at_what_is_there:
        if "model_name" in case.path_parameters:
            case.path_parameters["model_name"] = name
        for parameter in ("at", "since"):
            if isinstance(revision := case.query.get(parameter), int):
                case.query[parameter] = revision % (head + 2)
    if isinstance(wait := case.query.get("wait"), int | float):
        case.query["wait"] = wait / 1000


@pytest.mark.parametrize("path", ["search", "image_generation/search"])
def test_a_bad_search_is_refused(path: str, client: httpx.Client) -> None:
    """With 422, and a list that names the parameter."""
    for name, values in _BAD_SEARCHES.items():
        for value in values.split():
            answer = client.get(f"/api/model_references/v2/{path}", params={name: value})
            assert answer.status_code == 422, (name, value)
            assert [fault["loc"] for fault in answer.json()["detail"]] == [["query", name]]
    known = "sort_by=name&limit=500&sort_desc=true"
    assert client.get(f"/api/model_references/v2/{path}?{known}").status_code == 200
    assert client.get(f"/api/model_references/v2/{path}?sort_by=nothing").status_code == 400
