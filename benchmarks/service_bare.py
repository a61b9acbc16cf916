"""The floor of a Python server: one prepared answer, whatever is asked. What it tells lies in the file BARE_ANSWER.

BARE_ANSWER=answer.json uvicorn --lifespan off benchmarks.service_bare:app
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

__all__ = ["app"]

_told = json.loads(Path(os.environ["BARE_ANSWER"]).read_bytes())
_HEADERS = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in _told["headers"]]
_START: Message = {"type": "http.response.start", "status": _told["status"], "headers": _HEADERS}
_BODY: Message = {"type": "http.response.body", "body": Path(_told["body"]).read_bytes()}


async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer."""
    await send(_START)
    await send(_BODY)
