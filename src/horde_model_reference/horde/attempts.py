"""Asking a server that may be overloaded: a few attempts within one deadline, with pauses between them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Fetch, Flow, Pause, Request, Response

__all__ = ["answered"]

_PAUSES = (0.2, 0.6)
_BUSY = (408, 425, 429)
_SECONDS = re.compile(r"[0-9]{1,5}\Z")


def answered(
    request: Request, *, pauses: Sequence[float] = _PAUSES, clock: Callable[[], float] = time.monotonic
) -> Flow[Response]:
    """What came back, asked again after each of the pauses (seconds) if that was nothing, a 429 or its like, or a 5xx.

    The deadline of the request is for all attempts; where none of it is left for a pause (the server may want a longer
    one), that was the last. Raises `SourceUnavailable` of the last attempt, with `retry_after` if the server said so.
    """
    ends, left = clock() + request.deadline, list(pauses)
    while True:
        try:
            response: Response = yield Fetch(replace(request, deadline=ends - clock()))
            if response.status < 500 and response.status not in _BUSY:
                return response
            told = response.headers.get("retry-after", "")
            seconds = float(told) if _SECONDS.match(told) else None
            fault = SourceUnavailable(request.url, f"HTTP {response.status}", retry_after=seconds)
        except SourceUnavailable as refusal:
            fault = refusal
        wait = max(left.pop(0), fault.retry_after or 0.0) if left else request.deadline
        if clock() + wait >= ends:
            raise fault
        yield Pause(wait)
