"""A provider of the records that PRIMARY has been asked to publish: for who runs models before everybody has them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from urllib.parse import quote

from horde_model_reference._log import logger
from horde_model_reference.domain.records import GenericModelRecord
from horde_model_reference.domain.validation import validate_records
from horde_model_reference.errors import MalformedInput, SourceUnavailable
from horde_model_reference.flow import Flow, Request, Response, run
from horde_model_reference.horde.attempts import answered
from horde_model_reference.providers.base import ModelProvider
from horde_model_reference.single_flight import SingleFlight
from horde_model_reference.transport import HttpNetwork

__all__ = ["PENDING_SOURCE_ID", "PendingModelProvider"]

PENDING_SOURCE_ID = "pending"
Records = dict[str, GenericModelRecord]

_log = logger("providers.pending")


class PendingModelProvider(ModelProvider):
    """The proposed records of these categories at a PRIMARY (its address ends in `/api`), read with a user's key.

    It asks at most once in `cache_ttl_seconds` and category, in up to `retry_max_attempts` attempts that together take
    no longer than `timeout_seconds`, and never raises: a record that is wrong is left out.
    """

    def __init__(
        self,
        *,
        primary_api_url: str,
        apikey: str,
        categories: Iterable[str],
        cache_ttl_seconds: float = 60,
        timeout_seconds: float = 10,
        retry_max_attempts: int = 3,
        retry_backoff_seconds: float = 0.5,
    ) -> None:
        self._url = f"{primary_api_url.rstrip('/')}/model_references/v2"
        self._headers = {"apikey": re.sub(r"[^!-~]", "", apikey)}  # else it were quoted by who refuses to send it
        self._categories = {str(category) for category in categories}
        self._ttl, self._deadline = cache_ttl_seconds, timeout_seconds
        self._pauses = [retry_backoff_seconds * 2**attempt for attempt in range(retry_max_attempts - 1)]
        self._network, self._asking = HttpNetwork(), SingleFlight[Records | None]()
        self._answers: dict[str, tuple[float, Records | None]] = {}
        self._faults: dict[str, str] = {}

    @property
    def source_id(self) -> str:
        return PENDING_SOURCE_ID

    def provided_categories(self) -> set[str]:
        return set(self._categories)

    def fetch_category(self, category: str, *, force_refresh: bool = False) -> Records | None:
        """The proposed records by name; where PRIMARY does not tell, what it told last. `None` where it told nothing,
        or does not tell now and `force_refresh` was asked for."""
        until, records = self._answers.get(category, (0.0, None))
        if category in self._categories and (force_refresh or time.monotonic() >= until):
            fresh = self._asking.do(category, lambda: run(self._asked(category), self._network), anew=force_refresh)
            records = fresh if fresh is not None or force_refresh else records
            self._answers[category] = time.monotonic() + self._ttl, records
        return None if records is None else dict(records)

    def _asked(self, category: str) -> Flow[Records | None]:
        request = Request(f"{self._url}/{quote(category, safe='')}/pending", self._headers, self._deadline)
        records = None
        try:
            response: Response = yield from answered(request, pauses=self._pauses)
            if response.status != 200:
                raise SourceUnavailable(request.url, f"HTTP {response.status}")
            records, wrong = validate_records(category, response.body)
            fault = "; ".join(map(str, wrong))
        except (SourceUnavailable, MalformedInput) as error:
            fault = str(error)
        if fault != self._faults.get(category, ""):
            _log.warning("Pending records of %s: %s", category, fault or "all can be read again")
        self._faults[category] = fault
        return records
