"""The two places on the network that publish the reference: a PRIMARY, and the repositories on GitHub."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
from horde_model_reference.sources.base import Answer, Ask, Found, require_ours

__all__ = ["GitHubSource", "PrimarySource"]

_log = logger("sources")
_OK, _NO_CONTENT, _NOT_MODIFIED = 200, 204, 304
_GONE = 410
_ABSENT = (404, _GONE, 422)  # what a PRIMARY says of a category, an older one also of a route, that it does not have
_RECORD_AFTER: dict[str, type] = {"create": dict, "update": dict, "delete": type(None)}
_BUSY = (429, 503)  # what holds for everything that could be asked of it now
_NO_ROUTE = re.compile(rb'"detail": ?"Not Found"')
_AGE, _REVISION = "age", "x-reference-revision"  # the first: seconds since a relay, or a cache, last knew this is so
_PAGE = "with a page of HTML: a sign-in page, a proxy's error, or a wrong address"
_NUMBER = re.compile(r"[0-9]{1,15}\Z")
_MARK = re.compile(r"[0-9a-f]{8}\Z")
_LAST, _LONGEST_TAG, _BYTES_A_VALUE = 10**15, 256, 16
_HOLDS_LOST, _WITHOUT_SECONDS = 3, 600.0


@dataclass
class PrimarySource:
    """PRIMARY, or any service that speaks its read interface, at `name`. What the reader has with a revision costs one
    request for all categories: the changes since then. One that has no feed, or cannot tell, is asked for each category
    on a condition; one that cannot hold a question for long is not made to."""

    name: str
    deadline: float
    max_bytes: int
    _no_feed_until: float = field(default=0.0, init=False)
    _no_hold_until: float = field(default=0.0, init=False)
    _holds_lost: int = field(default=0, init=False)
    _has_answered: bool = field(default=False, init=False)

    def read(self, ask: Ask) -> Flow[Found]:
        found: Found = {}
        try:
            changed = yield from self._changed(ask)
            found = changed or {}
            if ask.wait and changed is not None:
                unheard = SourceUnavailable(self.name, "has no feed of changes", absent=True)
                return ask.without(found).refused(unheard) | found
            for category, known in ask.without(found).wanted.items():
                found[category] = yield from self._whole(category, known)
        except SourceUnavailable as refusal:  # nobody there: the others need not be asked for
            return ask.without(found).refused(_said_by(self.name, refusal)) | found
        return found

    def _whole(self, category: Category, known: Snapshot | None) -> Flow[Answer]:
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
            about_it = b'"detail"' in response.body and not _NO_ROUTE.search(response.body)
            known_route = self._has_answered or about_it
            doubt = "" if known_route else "; is PRIMARY_API_URL right?"
            return SourceUnavailable(self.name, f"answered {response.status} for {url}{doubt}", absent=known_route)
        mark, revision = _mark(response), _number(response, _REVISION)
        older = float(_number(response, _AGE) or 0)
        if response.status == _NOT_MODIFIED and mine is not None:
            return replace(mine.still_current(_later(mine.revision, revision), mark), older=older)
        if response.status not in (_OK, *_BUSY):
            return SourceUnavailable(self.name, f"answered {response.status}")
        _require(self.name, response, _OK)
        try:
            body: bytes = yield Call(lambda: encode(_decoded(response, self.max_bytes, where=category)))
        except MalformedInput as error:
            is_page = response.body.lstrip().startswith(b"<")
            what = _PAGE if is_page else f"something else than records: {error}"
            return SourceUnavailable(self.name, f"answered {what}")
        return Snapshot(category, body, revision, source=self.name, tag=_tag(response), mark=mark, older=older)

    def _changed(self, ask: Ask) -> Flow[Found | None]:
        """What the feed says about the categories that can be followed; nothing where it cannot tell, and None where
        nobody can go on from what the reader has."""
        followed = ((c, k) for c, k in ask.wanted.items() if k is not None and k.source == self.name)
        mine = {category: known for category, known in followed if known.revision is not None}
        now = time.monotonic()
        if not mine or now < self._no_feed_until or (ask.wait and now < self._no_hold_until):
            return {}
        first = min(mine.values(), key=lambda known: known.revision or 0)
        since = first.revision or 0
        at, wait = f"&at={first.mark}" if first.mark else "", f"&wait={ask.wait:g}" if ask.wait else ""
        url = self._url(f"changes?since={since}{at}{wait}")
        try:
            response: Response = yield Fetch(Request(url, {}, self.deadline + ask.wait, self.max_bytes))
            if response.status == _GONE:
                return None
            if response.status in _ABSENT:
                self._no_feed_until = now + _WITHOUT_SECONDS
                return {}
            _require(self.name, response, _OK, _NO_CONTENT)
        except SourceUnavailable:
            self._holds_lost += bool(ask.wait)
            if self._holds_lost >= _HOLDS_LOST:
                self._holds_lost, self._no_hold_until = 0, now + _WITHOUT_SECONDS
            raise
        self._holds_lost = 0 if ask.wait else self._holds_lost
        self._has_answered = True
        found: Found = yield Call(partial(_applied, mine, since, response, self.max_bytes))
        older = float(_number(response, _AGE) or 0)
        return {c: replace(answer, older=older) for c, answer in found.items() if isinstance(answer, Snapshot)}

    def _url(self, path: str) -> str:
        return f"{self.name.rstrip('/')}/model_references/v2/{path}"


def _applied(known: Mapping[Category, Snapshot], since: int, response: Response, max_bytes: int) -> Found:
    """The snapshots after the changes; nothing where the answer is no feed of ours, or too long to be worth it."""
    mark = _mark(response)
    if response.status == _NO_CONTENT:
        now = _number(response, _REVISION)
        return {category: each.still_current(_later(each.revision, now), mark) for category, each in known.items()}
    try:
        answer = _decoded(response, max_bytes)
        revision, changes = answer.get("revision"), answer.get("changes")
        if type(revision) is not int or not isinstance(changes, list) or answer.get("more"):
            return {}
        if not since <= revision <= _LAST:
            return {}
        return {category: _patched(snapshot, changes, revision, mark) for category, snapshot in known.items()}
    except MalformedInput:
        return {}


def _patched(snapshot: Snapshot, changes: list[JsonValue], revision: int, mark: str | None) -> Snapshot:
    """The snapshot with its changes, byte for byte what PRIMARY has: an update keeps its place, a new one is last.
    Raises `MalformedInput` for an entry of the feed that cannot be applied."""
    records: JsonObject = {}
    gone: set[str] = set()
    for change in changes:
        if not isinstance(change, dict):
            raise MalformedInput("no change")
        name, record, at, operation = (change.get(key) for key in ("name", "record", "revision", "operation"))
        kind = _RECORD_AFTER.get(str(operation))
        if not isinstance(name, str) or type(at) is not int or kind is None or not isinstance(record, kind):
            raise MalformedInput("no change that can be applied")
        if change.get("category") != snapshot.category or at <= (snapshot.revision or 0):
            continue
        if operation in ("delete", "create"):
            records.pop(name, None)
            gone.add(name)
        if record is not None:
            records[name] = record
    if not (records or gone):
        return snapshot.still_current(_later(snapshot.revision, revision), mark)
    kept = {name: document for name, document in decode_object(snapshot.body).items() if name not in gone}
    body, delta = encode(kept | records), Delta(snapshot.body, frozenset(gone), records)
    made = replace(snapshot, body=body, revision=revision, tag=content_etag(body), mark=mark)
    return replace(made, checked=0.0, instead="", retry_after=None, delta=delta)


@dataclass(frozen=True)
class GitHubSource:
    """The legacy files of the two repositories, converted. `bases` is what a file name is appended to, by repository.
    What cannot be converted costs that record alone, as in an import."""

    bases: Mapping[str, str]
    deadline: float
    max_bytes: int
    name: str = "GitHub"

    def read(self, ask: Ask) -> Flow[Found]:
        answers = yield All([self._one(category, known) for category, known in ask.wanted.items()])
        return dict(zip(ask.wanted, answers, strict=True))

    def _one(self, category: Category, known: Snapshot | None) -> Flow[Answer]:
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
    entries, findings = form.read(data, where)
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


def _decoded(response: Response, max_bytes: int, *, where: str = "") -> JsonObject:
    """The body as JSON, of no more values than a body of that size has in earnest: each costs fifty times its bytes."""
    if sum(map(response.body.count, (b",", b"[", b"{"))) > max_bytes // _BYTES_A_VALUE:
        raise MalformedInput("more values than a reference has", where=where)
    return decode_object(response.body, where=where)


def _request(url: str, known: Snapshot | None, deadline: float, max_bytes: int) -> Request:
    """A request that an unchanged body need not be sent for."""
    tag = known.tag if known is not None else None
    condition = {"if-none-match" if '"' in tag else "if-modified-since": tag} if tag else {}
    return Request(url, condition, deadline, max_bytes)


def _require(source: str, response: Response, *statuses: int) -> None:
    """Refuse another status, with the pause that the answer asks for."""
    if response.status not in statuses:
        pause: float | None = _number(response, "retry-after")
        with suppress(ValueError, OverflowError):
            date = parsedate_to_datetime(response.headers.get("retry-after", ""))
            pause = max(0.0, date.timestamp() - time.time())
        raise SourceUnavailable(source, f"answered {response.status}", retry_after=pause)


def _said_by(source: str, refusal: SourceUnavailable) -> SourceUnavailable:
    """The refusal of one request as that of the source: the same for all that it was asked for."""
    return SourceUnavailable(source, refusal.reason, retry_after=refusal.retry_after)


def _tag(response: Response) -> str | None:
    tag = response.headers.get("etag") or response.headers.get("last-modified") or ""
    usable = 0 < len(tag) <= _LONGEST_TAG and tag.isascii() and tag.isprintable()
    return tag if usable else None  # what cannot be sent back is of no use


def _later(known: int | None, told: int | None) -> int | None:
    return max(known, told) if known is not None and told is not None else known or told


def _mark(response: Response) -> str | None:
    value = response.headers.get("x-reference-mark", "")
    return value if _MARK.match(value) else None


def _number(response: Response, name: str) -> int | None:
    value = response.headers.get(name, "")
    return int(value) if _NUMBER.match(value) else None
