"""The AI Horde's `find_user` on loopback, as well or as badly as a test wants.

    with AiHorde({"key-plain": "Plain#3"}) as horde:
        Users(horde.url, HttpNetwork(), ...)
        horde.mood = "500"            # from now on; None: well again

`mood` is what ails it, or bytes to answer instead; `next_moods` is for the coming requests, one each.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping

from tests.reading.simulators import Asked, Loopback, Reset, http

__all__ = ["AiHorde"]

_PAGE = b"<!doctype html><title>Just a moment...</title>"


class AiHorde(Loopback):
    """Users by key. `elsewhere` is where it redirects to; `gate` holds answers back while it is clear."""

    def __init__(self, users: Mapping[str, object] | None = None) -> None:
        super().__init__(self._answer)
        self.users: dict[str, object] = dict(users or {})
        self.mood: str | bytes | None = None
        self.next_moods: list[str | bytes | None] = []
        self.elsewhere = ""
        self.gate = threading.Event()
        self.gate.set()

    def __enter__(self) -> AiHorde:
        super().__enter__()
        return self

    @property
    def url(self) -> str:
        """What `HORDE_URL` is set to."""
        return super().url + "/api/"

    @property
    def keys(self) -> list[str]:
        """Every key that it was asked about, in order."""
        return [asked.headers.get("apikey", "") for asked in self.requests]

    def _answer(self, asked: Asked) -> Iterator[bytes]:
        mood = self.next_moods.pop(0) if self.next_moods else self.mood
        self.gate.wait(30)
        if isinstance(mood, bytes):
            yield http(200, mood)
        elif mood is not None:
            yield from self._unwell(mood)
        elif asked.path != "/api/v2/find_user":
            yield http(404, b'{"message": "no such route"}')
        elif (name := self.users.get(asked.headers.get("apikey", ""))) is None:
            yield http(404, b'{"message": "User with api_key not found.", "rc": "UserNotFound"}')
        else:
            yield http(200, json.dumps({"username": name, "kudos": 12.0}).encode())

    def _unwell(self, mood: str) -> Iterator[bytes]:
        """A mood is `dead` (the connection is reset), `huge`, `page`, `redirect`, or `STATUS [SECONDS]`, which may end
        in ` page`."""
        if mood == "dead":
            raise Reset
        if mood == "huge":
            yield http(200, b'{"username": "Big#1", "about": "' + b"x" * 200_000 + b'"}')
        elif mood == "page":
            yield http(200, _PAGE, content_type="text/html")
        elif mood == "redirect":
            yield http(302, location=self.elsewhere)
        else:
            status, *rest = mood.split()
            wait = {"retry_after": rest[0]} if rest and rest[0].isdigit() else {}
            yield http(int(status), _PAGE if "page" in rest else b'{"message": "no"}', **wait)
