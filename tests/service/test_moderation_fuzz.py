"""Generated requests to every route of moderation, by somebody who may do everything: none is a server error, and what
they do to the queue harms nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from horde_model_reference.domain.findings import JsonObject
from horde_model_reference.settings import CanonicalFormat
from tests.service.moderated import Moderated, blip, legacy_blip, moderated

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]
_EXAMPLES = {GenerationMode.POSITIVE: 8, GenerationMode.NEGATIVE: 4}
"""Of each operation: a number and not a time, so that every machine asks the same."""
_NUMBERS = ("change_id", "batch_id")


@pytest.fixture(scope="module", params=list(CanonicalFormat), ids=str)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moderated]:
    """A PRIMARY with one change of each status that there is."""
    with moderated(tmp_path_factory.mktemp("fuzz"), canonical=request.param) as served:
        _fill(served)
        yield served


def _record(served: Moderated, name: str) -> JsonObject:
    return blip(name) if served.settings.canonical_format is CanonicalFormat.v2 else legacy_blip(name)


def _fill(served: Moderated) -> None:
    served.applied(served.proposed(_record(served, "applied")))
    _pending, approved = (served.proposed(_record(served, name)) for name in ("pending", "approved"))
    served.approved(approved)


def _operations(served: Moderated) -> list[Operation]:
    """Those that need a key; the proposals of v2 only where changes are accepted in that format."""
    document = schemathesis.openapi.from_dict(served.app.openapi())
    found = [each.ok() for each in document.get_all_operations() if isinstance(each, Ok)]
    if served.settings.canonical_format is not CanonicalFormat.v2:
        found = [each for each in found if each.method == "get" or "/v1/" in each.path or "/pending_queue" in each.path]
    return [each for each in found if each.method != "get" or "/pending" in each.path or "/me/" in each.path]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=str)
def test_no_generated_request_is_a_server_error(
    service: Moderated, mode: GenerationMode, subtests: pytest.Subtests
) -> None:
    """Good and bad ones, aimed at what is there or anywhere: each answer has a status that the document has, below 500;
    and afterwards the queue works, and both logs hold together."""
    operations, answered = _operations(service), Counter[int]()
    assert len(operations) >= 65
    for operation in operations:
        with subtests.test(operation.label):
            answered += _asked(service, operation, mode)
    assert answered.keys() >= ({422} if mode is GenerationMode.NEGATIVE else {200, 202, 404, 422}), answered
    _fill_again(service)
    assert service.store.verify() == []


def _fill_again(served: Moderated) -> None:
    name = f"after {served.store.head()}"
    served.applied(served.proposed(_record(served, name)))
    assert name in served.told("GET", "v2/blip")
    for path in ("changes?limit=500", "audit/current", "audit/batches"):
        served.told("GET", f"v2/pending_queue/{path}", "key-approver")
    assert served.ask("GET", "v2/pending_queue/audit/export", "key-approver").is_success


def _asked(served: Moderated, operation: Operation, mode: GenerationMode) -> Counter[int]:
    """The statuses of the answers."""
    answered: Counter[int] = Counter()
    documented = {int(status) for status in operation.definition.raw["responses"]}

    @settings(max_examples=_EXAMPLES[mode], derandomize=True, database=None, suppress_health_check=[*HealthCheck])
    @given(case=operation.as_strategy(generation_mode=mode), number=st.integers(1, 6), aims=st.booleans())
    def check(case: Case[Any], number: int, aims: bool) -> None:
        if aims:
            _aim(case, number, _record(served, f"generated {number}"))
        case.headers["apikey"] = "key-approver"
        status = case.call(base_url=f"{served.http.base_url}/api", timeout=20).status_code
        answered[status] += 1
        assert status < 500, (status, case.as_curl_command())
        assert status in documented | {422}, (status, case.as_curl_command())

    check()
    return answered


def _aim(case: Case[Any], number: int, record: JsonObject) -> None:
    """Names and numbers by chance are never there, and most records by chance are none."""
    for name in _NUMBERS:
        if name in case.path_parameters:
            case.path_parameters[name] = number
    if "model_category_name" in case.path_parameters:
        case.path_parameters |= {"model_category_name": "blip"}
    if "model_name" in case.path_parameters:
        case.path_parameters["model_name"] = "applied"
    if isinstance(case.body, dict):
        for name in ("change_ids", "approved_ids", "rejected_ids"):
            if name in case.body:
                case.body[name] = [number + 10 * (name == "rejected_ids")]
    if case.method in ("POST", "PUT") and "/pending_queue" not in case.path and isinstance(case.body, dict):
        named: JsonObject = {"name": "applied"} if case.method == "PUT" else {}
        case.body = record | {key: case.body[key] for key in case.body.keys() - record.keys()} | named
