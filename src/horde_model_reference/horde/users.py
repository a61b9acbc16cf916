"""Whose AI Horde API key it is, and what its owner may do here (design.md D10).

A key is in memory only while the AI Horde is asked about it. What is remembered is its keyed hash, under a secret that
ends with the process, and not for long, so that a key which was taken back stops working. What the AI Horde cannot say
(it is down, or somebody else answers in its place) is never taken for a wrong key.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import TypeVar

from horde_model_reference._log import logger
from horde_model_reference.domain.changes import Actor, Role
from horde_model_reference.errors import HordeModelReferenceError, MalformedInput, SourceUnavailable, UsersUnavailable
from horde_model_reference.flow import Flow, Network, Request, Response, run, run_async
from horde_model_reference.formats.json_codec import decode_object
from horde_model_reference.horde.attempts import answered
from horde_model_reference.process import ForkLock
from horde_model_reference.single_flight import SingleFlight

__all__ = ["ATTEMPTS", "ENTRIES", "KNOWN_SECONDS", "UNKNOWN_SECONDS", "KeyUnknown", "TooManyAttempts", "Users"]

KNOWN_SECONDS, UNKNOWN_SECONDS = 60.0, 10.0
"""For how long it is remembered whose a key is, and that it is nobody's."""
ATTEMPTS, _WINDOW = 30, 60.0
"""So often in so many seconds may an address, and a key, make us ask the AI Horde or be refused."""
ENTRIES = 4096
"""So many keys, and addresses, are remembered; then the oldest is forgotten."""
_RETRY_SECONDS = 5.0
_KEY = re.compile(r"[!-~]{1,200}\Z")
V = TypeVar("V")

_log = logger("horde.users")


class KeyUnknown(HordeModelReferenceError):
    """The AI Horde has no user with that key."""

    def __init__(self) -> None:
        super().__init__("Invalid API key")


class TooManyAttempts(HordeModelReferenceError):
    """That address or key made too many attempts; `retry_after` is in how many seconds the next one is allowed."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too many attempts; the next one is allowed in {retry_after:.0f} s")
        self.retry_after = retry_after


class Users:
    """The users of the AI Horde at `base_url` (up to `v2/`), by their keys. Safe across threads, loops and forks.

    `requestors`, `approvers`, `editors`: the ids of who may propose, approve (and propose), edit licences; an empty
    list means nobody. `deadline` is for all attempts to ask together, in seconds.
    """

    def __init__(
        self,
        base_url: str,
        network: Network,
        *,
        requestors: Collection[str],
        approvers: Collection[str],
        editors: Collection[str],
        deadline: float = 10,
        max_bytes: int = 65_536,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._network, self._clock = f"{base_url.removesuffix('/')}/v2/find_user", network, clock
        self._deadline, self._max_bytes = deadline, max_bytes
        lists = {Role.requestor: (*requestors, *approvers), Role.approver: approvers, Role.license_editor: editors}
        self._roles = {role: frozenset(ids) for role, ids in lists.items()}
        self._secret, self._lock, self._asking = secrets.token_bytes(32), ForkLock(), SingleFlight[Actor]()
        self._told: dict[str, tuple[float, Actor | None]] = {}
        self._attempts: dict[str, deque[float]] = {}
        self._fault = ""

    def identify(self, key: str, address: str) -> Actor:
        """Whose key it is; `address` is any text that tells callers apart.

        Raises `KeyUnknown`, `TooManyAttempts`, and `UsersUnavailable` where the AI Horde does not tell.
        """
        known = self._remembered(key, address)
        return known or self._asking.do(self._mark(key), lambda: run(self._asked(key, address), self._network))

    async def identify_async(self, key: str, address: str) -> Actor:
        """The same inside an event loop, which never waits."""
        known, mark = self._remembered(key, address), self._mark(key)
        return known or await self._asking.do_async(mark, lambda: run_async(self._asked(key, address), self._network))

    def _mark(self, key: str) -> str:
        return hmac.digest(self._secret, key.encode("utf-8", "surrogatepass"), "sha256").hex()

    def _remembered(self, key: str, address: str, *, asks: bool = False) -> Actor | None:
        """The owner, where that is known already, which costs no attempt. Raises `KeyUnknown`, `TooManyAttempts`."""
        now, mark = self._clock(), self._mark(key)
        with self._lock:
            until, actor = self._told.get(mark, (now, None))
            if actor and now < until:
                return actor
            tries = [self._attempts.get(who) or deque(maxlen=ATTEMPTS) for who in (address, mark)]
            wait = max(times[0] + _WINDOW - now if len(times) == ATTEMPTS else 0 for times in tries)
            if wait > 0:
                raise TooManyAttempts(wait)
            is_refused = now < until or not _KEY.match(key)
            if asks or is_refused:
                for who, times in zip((address, mark), tries, strict=True):
                    times.append(now)
                    _keep(self._attempts, who, times)
        if is_refused:
            raise KeyUnknown
        return None

    def _asked(self, key: str, address: str) -> Flow[Actor]:
        actor = self._remembered(key, address, asks=True)  # another thread may have been told meanwhile
        if actor:
            return actor
        ends = self._clock() + self._deadline
        request = Request(self._url, {"apikey": key}, self._deadline, self._max_bytes)
        try:
            actor = self._owner((yield from answered(request, clock=self._clock)))
        except SourceUnavailable as refusal:
            self._note(refusal.reason)
            reason = "timed out" if self._clock() >= ends else "unavailable"
            raise UsersUnavailable(f"Auth service {reason}", refusal.retry_after or _RETRY_SECONDS) from refusal
        self._note("")
        with self._lock:
            _keep(self._told, self._mark(key), (self._clock() + (KNOWN_SECONDS if actor else UNKNOWN_SECONDS), actor))
        if actor is None:
            raise KeyUnknown
        return actor

    def _owner(self, response: Response) -> Actor | None:
        """Who that is, if anybody. Raises `SourceUnavailable` for what no AI Horde says about a key."""
        is_page = response.body.lstrip().startswith(b"<")  # of a proxy, or at a wrong address
        if 400 <= response.status < 500 and not is_page:
            return None
        try:
            username = decode_object(response.body).get("username") if response.status == 200 else None
        except MalformedInput as error:
            raise SourceUnavailable(self._url, error.reason) from None
        if not isinstance(username, str):
            raise SourceUnavailable(self._url, f"HTTP {response.status} without a user name")
        _, sign, number = username.rpartition("#")
        roles = frozenset(role for role, ids in self._roles.items() if number in ids)
        return Actor(id=number, username=username, roles=roles) if sign and number.strip() else None

    def _note(self, fault: str) -> None:
        if bool(fault) != bool(self._fault):
            _log.warning("The AI Horde %s", f"does not tell whose keys they are: {fault}" if fault else "tells again")
        self._fault = fault


def _keep(table: dict[str, V], key: str, value: V) -> None:
    """As the newest entry."""
    table.pop(key, None)
    table[key] = value
    if len(table) > ENTRIES:
        del table[next(iter(table))]
