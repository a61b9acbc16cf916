"""The two places on the network that publish the reference: a PRIMARY, and the repositories on GitHub."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import partial
from urllib.parse import quote

from horde_model_reference._log import logger
from horde_model_reference.domain.categories import Category, get_category_descriptor
from horde_model_reference.domain.findings import JsonObject, JsonValue, Severity
from horde_model_reference.domain.snapshots import Delta, Snapshot, content_etag
from horde_model_reference.errors import MalformedInput, SourceUnavailable, UnknownCategory
from horde_model_reference.flow import All, Call, Fetch, Flow, Request, Response
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.sources.base import Ask, Found, require_ours

__all__ = ["GitHubSource", "PrimarySource"]

_log = logger("sources")
_OK, _NO_CONTENT, _NOT_MODIFIED = 200, 204, 304
_ABSENT = (404, 410, 422)
"""What a PRIMARY says of a category it does not have, an older one also of a route it does not have."""
_RECORD_AFTER: dict[str, type] = {"create": dict, "update": dict, "delete": type(None)}
_BUSY = (429, 503)
"""What holds for everything that could be asked of it now."""
_PAGE = "with a page of HTML: a sign-in page, a proxy's error, or a wrong address"
_REVISION = re.compile(r"[0-9]{1,18}\Z")
_HOLDS_LOST, _WITHOUT_SECONDS = 3, 600.0


@dataclass
class PrimarySource:
    """PRIMARY, or any service that speaks its read interface. `base_url` ends where `/model_references` begins.

    What the reader has with a revision costs one request for all categories together: the changes since then. A PRIMARY
    that has no feed, or cannot tell, is asked for each category on a condition; one that cannot hold a question for
    long is not made to.
    """

    base_url: str
    deadline: float
    max_bytes: int
    _no_feed_until: float = field(default=0.0, init=False)
    _no_hold_until: float = field(default=0.0, init=False)
    _holds_lost: int = field(default=0, init=False)
    _has_answered: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        return self.base_url

    def read(self, ask: Ask) -> Flow[Found]:
        found: Found = {}
        try:
            found = yield from self._changed(ask)
            if ask.wait:
                unheard = SourceUnavailable(self.name, "has no feed of changes", absent=True)
                return ask.without(found).refused(unheard) | found
            for category, known in ask.without(found).wanted.items():
                found[category] = yield from self._whole(category, known)
        except SourceUnavailable as refusal:  # nobody there: the others need not be asked for
            return ask.without(found).refused(_said_by(self.name, refusal)) | found
        return found

    # -- one category, whole --

    def _whole(self, category: Category, known: Snapshot | None) -> Flow[Snapshot | SourceUnavailable]:
        try:
            require_ours(self.name, category)
        except SourceUnavailable as refusal:
            return refusal
        mine = known if known is not None and known.source == self.name else None
        url = self._url(quote(category, safe=""))
        response: Response = yield Fetch(_request(url, mine, self.deadline, self.max_bytes))
        self._has_answered |= mine is not None or response.status == _OK
        if response.status in _ABSENT:
            # The first answer it gives being this, the address is wrong rather than the category missing.
            doubt = "" if self._has_answered else "; is PRIMARY_API_URL right?"
            reason = f"answered {response.status} for {url}{doubt}"
            return SourceUnavailable(self.name, reason, absent=self._has_answered)
        if response.status == _NOT_MODIFIED and mine is not None:
            return mine.still_current(_later(mine.revision, _revision(response)))
        if response.status not in (_OK, *_BUSY):
            return SourceUnavailable(self.name, f"answered {response.status}")
        _require(self.name, response, _OK)
        try:
            body: bytes = yield Call(lambda: encode(decode_object(response.body, where=category)))
        except MalformedInput as error:
            page = response.body.lstrip().startswith(b"<")
            return SourceUnavailable(
                self.name, f"answered {_PAGE if page else f'something else than records: {error}'}"
            )
        return Snapshot(category, body, _revision(response), source=self.name, tag=_tag(response))

    # -- all categories, by what changed --

    def _changed(self, ask: Ask) -> Flow[Found]:
        """What the feed says about the categories that can be followed; nothing where it cannot tell."""
        mine = {
            category: known
            for category, known in ask.wanted.items()
            if known is not None and known.source == self.name and known.revision is not None
        }
        now = time.monotonic()
        if not mine or now < self._no_feed_until or (ask.wait and now < self._no_hold_until):
            return {}
        since = min(known.revision or 0 for known in mine.values())
        url = self._url(f"changes?since={since}" + (f"&wait={ask.wait:g}" if ask.wait else ""))
        try:
            response: Response = yield Fetch(Request(url, {}, self.deadline + ask.wait, self.max_bytes))
            if response.status in _ABSENT:
                self._no_feed_until = now + (_WITHOUT_SECONDS if response.status != 410 else 0.0)
                return {}
            _require(self.name, response, _OK, _NO_CONTENT)
        except SourceUnavailable:
            self._holds_lost += bool(ask.wait)
            if self._holds_lost >= _HOLDS_LOST:
                self._holds_lost, self._no_hold_until = 0, now + _WITHOUT_SECONDS
            raise
        self._holds_lost = 0 if ask.wait else self._holds_lost
        self._has_answered = True
        found: Found = yield Call(partial(_applied, mine, since, response))
        return found

    def _url(self, path: str) -> str:
        return f"{self.base_url.rstrip('/')}/model_references/v2/{path}"


def _applied(known: Mapping[Category, Snapshot], since: int, response: Response) -> Found:
    """The snapshots after the changes; nothing where the answer is no feed of ours, or too long to be worth it."""
    if response.status == _NO_CONTENT:
        now = _revision(response)
        return {category: each.still_current(_later(each.revision, now)) for category, each in known.items()}
    try:
        answer = decode_object(response.body)
        revision, changes = answer.get("revision"), answer.get("changes")
        if type(revision) is not int or revision < since or not isinstance(changes, list) or answer.get("more"):
            return {}
        return {category: _patched(snapshot, changes, revision) for category, snapshot in known.items()}
    except (MalformedInput, _NoChangeError):
        return {}


class _NoChangeError(Exception):
    """An entry of the feed that cannot be applied."""


def _patched(snapshot: Snapshot, changes: list[JsonValue], revision: int) -> Snapshot:
    """The snapshot with its changes, byte for byte what PRIMARY has: an update keeps its place, a new one is last."""
    records: JsonObject = {}
    gone: set[str] = set()
    for change in changes:
        if not isinstance(change, dict):
            raise _NoChangeError
        name, record, at, operation = (change.get(key) for key in ("name", "record", "revision", "operation"))
        kind = _RECORD_AFTER.get(str(operation))
        if not isinstance(name, str) or type(at) is not int or kind is None or not isinstance(record, kind):
            raise _NoChangeError
        if change.get("category") != snapshot.category or at <= (snapshot.revision or 0):
            continue
        if operation in ("delete", "create"):
            records.pop(name, None)
            gone.add(name)
        if record is not None:
            records[name] = record
    if not (records or gone):
        return snapshot.still_current(_later(snapshot.revision, revision))
    kept = {name: document for name, document in decode_object(snapshot.body).items() if name not in gone}
    body, delta = encode(kept | records), Delta(snapshot.body, frozenset(gone), records)
    return Snapshot(snapshot.category, body, revision, source=snapshot.source, tag=content_etag(body), delta=delta)


@dataclass(frozen=True)
class GitHubSource:
    """The legacy files of the two repositories, converted. `bases` is what a file name is appended to, by repository.

    What cannot be converted costs that record alone, as in an import.
    """

    bases: Mapping[str, str]
    deadline: float
    max_bytes: int
    name: str = "GitHub"

    def read(self, ask: Ask) -> Flow[Found]:
        answers = yield All([self._one(category, known) for category, known in ask.wanted.items()])
        return dict(zip(ask.wanted, answers, strict=True))

    def _one(self, category: Category, known: Snapshot | None) -> Flow[Snapshot | SourceUnavailable]:
        descriptor = get_category_descriptor(category)
        if descriptor.github_source is None:
            return SourceUnavailable(self.name, f"does not publish {category}", absent=True)
        url = self.bases[descriptor.github_source] + descriptor.legacy_filename(category)
        mine = known if known is not None and known.source == self.name else None
        try:
            response: Response = yield Fetch(_request(url, mine, self.deadline, self.max_bytes))
            if response.status == _NOT_MODIFIED and mine is not None:
                return mine.still_current(None)
            _require(self.name, response, _OK)
            body: bytes = yield Call(partial(_converted, category, response.body, url))
        except SourceUnavailable as refusal:
            return _said_by(self.name, refusal)
        except (MalformedInput, UnknownCategory) as error:
            return SourceUnavailable(self.name, f"published something else than records: {error}")
        return Snapshot(category, body, source=self.name, tag=_tag(response))


def _converted(category: Category, data: bytes, where: str) -> bytes:
    from horde_model_reference.formats.legacy import legacy_format  # only this source needs them
    from horde_model_reference.formats.wire import wire_document

    form = legacy_format(category)
    entries, findings = form.read(data, where=where)
    documents: JsonObject = {}
    for name, entry in entries.items():
        document, found = form.to_v2(category, name, entry)
        findings += found
        if document is not None:
            documents[name] = wire_document(category, document)
    wrong = [finding for finding in findings if finding.severity is Severity.ERROR]
    if wrong and not documents:
        raise MalformedInput(str(wrong[0]), where=where)
    if wrong:
        _log.warning("GitHub: %d entries of %s cannot be read; %s", len(wrong), category, wrong[0])
    return encode(documents)


# -- HTTP --


def _request(url: str, known: Snapshot | None, deadline: float, max_bytes: int) -> Request:
    """A request that an unchanged body need not be sent for."""
    tag = known.tag if known is not None else None
    condition = {"if-none-match" if '"' in tag else "if-modified-since": tag} if tag else {}
    return Request(url, condition, deadline, max_bytes)


def _require(source: str, response: Response, *statuses: int) -> None:
    """Refuse another status, with the pause that the answer asks for."""
    if response.status not in statuses:
        pause = _seconds(response.headers.get("retry-after", ""))
        raise SourceUnavailable(source, f"answered {response.status}", retry_after=pause)


def _said_by(source: str, refusal: SourceUnavailable) -> SourceUnavailable:
    """The refusal of one request as that of the source: the same for all that it was asked for."""
    return SourceUnavailable(source, refusal.reason, retry_after=refusal.retry_after)


def _seconds(retry_after: str) -> float | None:
    if _REVISION.match(retry_after):
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def _tag(response: Response) -> str | None:
    tag = response.headers.get("etag") or response.headers.get("last-modified") or ""
    return tag if tag.isascii() and tag.isprintable() and tag else None  # what cannot be sent back is of no use


def _later(known: int | None, told: int | None) -> int | None:
    return max(known, told) if known is not None and told is not None else known or told


def _revision(response: Response) -> int | None:
    value = response.headers.get("x-reference-revision", "")
    return int(value) if _REVISION.match(value) else None
