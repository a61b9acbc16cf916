"""What a machine can say of a proposal: what makes it impossible, and what a reviewer should look at.

`strictly` stands at the door: it gives the record as it will be kept, or refuses with one finding for each field that
is wrong. `prereview` looks at what came in and only tells. Both are tables of rules of one kind: a function that takes
the case and yields (field, reason).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from typing import TypeAlias, cast
from urllib.parse import urlsplit

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from horde_model_reference.domain.changes import NamedFinding
from horde_model_reference.domain.differences import Difference, differences
from horde_model_reference.domain.findings import Finding, JsonObject, JsonValue, Severity
from horde_model_reference.domain.names import require_model_name, require_relative_file
from horde_model_reference.domain.records import GenericModelRecord
from horde_model_reference.domain.text_names import has_legacy_text_backend_prefix, text_model_group
from horde_model_reference.domain.validation import as_read, validate_record
from horde_model_reference.domain.vocabulary import IMAGE_BASELINES, get_all_registered_baselines
from horde_model_reference.errors import HordeModelReferenceError, UnsafeName
from horde_model_reference.formats.wire import without_promised
from horde_model_reference.licensing import unknown_model_licensing

__all__ = ["CHECKS", "Neighbours", "ProposalInvalid", "as_stored", "files_of", "folded", "known_hash", "prereview"]
__all__ += ["strictly"]

_LONGEST, _MOST_ITEMS, _DEEPEST, _MOST_BYTES, _LARGEST, _MOST_TOLD = 20_000, 1_000, 16, 1_000_000, 2**63, 50
_MOST_IN = {"config.download": 200}
_UNSOUND = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, what changes the direction of the text after it, and halves of characters; line breaks are text."""
_BETWEEN, _BETWEEN_DIGITS = re.compile(r"(?<!\d)[\s_.-]+|[\s_.-]+(?!\d)"), re.compile(r"[\s_.-]+")
_CREATED = ("created_at", "created_by")
_SERVERS = frozenset(f"metadata.{key}" for key in (*_CREATED, "updated_at", "updated_by"))
_NOTHING: tuple[JsonValue, ...] = (None, "", [], {})
_ADULT = frozenset("adult ecchi erotic erotica explicit hentai nsfw nude nudity porn r18 sex xxx".split())
_IMAGE, _TEXT = "image_generation", "text_generation"
_NO_LICENSING = "No licensing conclusion was supplied when this model was created."
_LEGACY_LICENSING = "Legacy record has not received a reviewed license conclusion."
_UNKNOWN = [unknown_model_licensing(each).model_dump(mode="json") for each in (_NO_LICENSING, _LEGACY_LICENSING)]
_HUGGING_FACE = r"\Ahttps?://(?:[\w-]+\.)*(?:huggingface\.co|hf\.co)/.+"
_URLS = {
    r"\A\Z": "there is no URL, so nobody can download the file",
    r"\Ahttp:": "is not encrypted: who is in between can exchange the file",
    _HUGGING_FACE + "/(?:resolve|raw)/(?:main|master)/": "names a branch, whose files may change; name a commit",
    _HUGGING_FACE + "/blob/": "is a page about the file; the file itself is at /resolve/",
    r"\Ahttps://(?:raw\.githubusercontent|github)\.com/.+/(?:main|master)/": "names a branch, whose files may change",
    r"\Ahttps?://(?:[\w-]+\.)*civitai\.\w+/api/download/": "may be gated: the host asks for a token for some files",
    r"[?&](?:token|api_?key|access_token|x-amz-signature)=": "holds a token, which everybody would see",
}
"""What may be wrong with a URL that is one."""

Told: TypeAlias = Iterator[tuple[str, str]]


class ProposalInvalid(HordeModelReferenceError, ValueError):
    """The proposal cannot become a record. `findings` has one entry for each field that is wrong."""

    def __init__(self, findings: Sequence[NamedFinding]) -> None:
        super().__init__("; ".join(f"{each.field or 'the record'}: {each.reason}" for each in findings))
        self.findings = tuple(findings)


@dataclass(frozen=True)
class Neighbours:
    """What lies near a record: other `names` of its category that read the same, and per hash of its files the other
    records, as (category, name), that hold it."""

    names: tuple[str, ...] = ()
    holders: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Case:
    category: str
    name: str
    before: JsonObject | None
    document: JsonObject
    neighbours: Neighbours = field(default_factory=Neighbours)
    read: GenericModelRecord | None = None

    @cached_property
    def judged(self) -> tuple[GenericModelRecord | None, list[Finding]]:
        return (self.read, []) if self.read is not None else validate_record(self.category, self.name, self.document)

    @cached_property
    def changes(self) -> list[Difference]:
        return differences(self.before, self.document) if self.before is not None else []

    def found(self, rules: Sequence[Rule]) -> tuple[NamedFinding, ...]:
        """What the rules say, of each not more than anybody would read."""
        return tuple(
            NamedFinding(check=check, severity=severity, field=place, reason=reason)
            for check, severity, rule in rules
            for place, reason in islice(rule(self), _MOST_TOLD)
        )


Rule: TypeAlias = tuple[str, Severity, Callable[[_Case], Told]]


def strictly(
    category: str, name: str, document: JsonValue, before: JsonObject | None = None
) -> tuple[JsonObject, tuple[NamedFinding, ...], GenericModelRecord]:
    """The v2 record that a proposal amounts to, written out as its class does; what was put right; and that class's.

    `before` is the stored record that it replaces, None where it creates one: that decides about the name, the baseline
    and the licensing, and is where the fields come from that are the server's. Raises `ProposalInvalid`.
    """
    if not isinstance(document, dict):
        raise ProposalInvalid([NamedFinding(check="schema", severity=Severity.ERROR, reason="a record is an object")])
    if wrong := _Case(category, name, before, document).found(_BOUNDS):
        raise ProposalInvalid(wrong)
    case = _Case(category, name, before, _settled(category, name, from_json(to_json(document)), before))
    told = case.found((("hash", Severity.WARNING, _settle_hashes),))
    wrong, record = case.found(_STRICT), case.judged[0]
    if wrong or record is None:
        raise ProposalInvalid(wrong)
    return record.model_dump(mode="json", exclude_none=True, warnings=False), told, record


def prereview(
    category: str,
    name: str,
    before: JsonObject | None,
    after: JsonObject | None,
    neighbours: Neighbours | None = None,
    read: GenericModelRecord | None = None,
) -> tuple[NamedFinding, ...]:
    """What a person should look at in a change from `before` to `after`, v2 documents as stored; None is "no record".

    An `ERROR` is what nobody should publish: no valid record, or other bytes under the same address. All else warns.
    `read` is `after` as its class, where somebody has it.
    """
    return () if after is None else _Case(category, name, before, after, neighbours or Neighbours(), read).found(CHECKS)


def as_stored(category: str, name: str, payload: JsonObject) -> JsonObject:
    """The payload under the names that files use: `parameters` for the `parameters_count` of clients."""
    if "parameters_count" not in payload:
        return payload
    record, _ = validate_record(category, name, payload)
    return payload if record is None else cast("JsonObject", as_read(record, payload))


def folded(name: str) -> str:
    """The same for names that a reader could take for one another: letter case, separators (except between digits,
    `v1.5` is not `v15`) and the way in which a character is encoded do not count."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return _BETWEEN_DIGITS.sub("-", _BETWEEN.sub("", plain)) or plain


def files_of(document: JsonObject) -> list[tuple[str, JsonObject]]:
    """The path and the document of each file of a record, which may be a malformed one."""
    config = document.get("config")
    listed = config.get("download") if isinstance(config, dict) else None
    files = enumerate(listed if isinstance(listed, list) else [])
    return [(f"config.download.{place}", file) for place, file in files if isinstance(file, dict)]


def known_hash(file: JsonObject) -> str:
    """The SHA-256 of a file in small letters, empty where it is not known."""
    text = str(file.get("sha256sum")).strip().lower()
    return text if re.fullmatch("[0-9a-f]{64}", text) else ""


# -- at the door --


def _settled(category: str, name: str, given: JsonObject, before: JsonObject | None) -> JsonObject:
    """The proposal with what the server adds, and without what only the server may say."""
    held, proposal = before or {}, {"name": name, **without_promised(category, given)}
    metadata, was = proposal.get("metadata"), held.get("metadata")
    if isinstance(metadata, dict | None):
        own = {key: value for key, value in (metadata or {}).items() if f"metadata.{key}" not in _SERVERS}
        proposal["metadata"] = own | {key: was[key] for key in _CREATED if isinstance(was, dict) and key in was}
    if "licensing" not in proposal or (before is None and proposal["licensing"] is None):
        proposal["licensing"] = held.get("licensing") or _UNKNOWN[before is not None]
    if category == _TEXT and not proposal.get("text_model_group"):
        proposal["text_model_group"] = text_model_group(name)
    return proposal


def _settle_hashes(case: _Case) -> Told:
    for path, file in files_of(case.document):
        value = file.get("sha256sum", "")
        if value is None or str(value).strip().upper() == "FIXME":
            file["sha256sum"] = "FIXME"
        elif (normal := known_hash(file)) and normal != value:
            file["sha256sum"] = normal
            yield f"{path}.sha256sum", "was not written in small letters; it was put right"


def _out_of_bounds(case: _Case) -> Told:
    wrong = list(islice(_excesses(case.document), _MOST_TOLD))
    if not wrong and len(to_json(case.document)) > _MOST_BYTES:
        wrong = [("", f"is larger than {_MOST_BYTES:,} bytes")]
    return iter(wrong)


def _excesses(document: JsonObject) -> Told:
    """What nobody could store, send or read. A bad key is told of where it is, since it may be unprintable."""
    left: list[tuple[str, JsonValue, int]] = [("", document, 0)]
    while left:
        path, value, depth = left.pop()
        if value is None or isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            if not -_LARGEST < value < _LARGEST:  # NaN is not between anything
                yield path, "is no number that can be kept"
            continue
        text = value if isinstance(value, str) else "".join(value) if isinstance(value, dict) else ""
        most = _MOST_IN.get(path, _MOST_ITEMS)
        if len(text) > _LONGEST or (not isinstance(value, str) and len(value) > most):
            yield path, f"is too long: {_LONGEST:,} characters or {most:,} items are allowed"
        elif bad := _UNSOUND.search(text):
            yield path, f"holds U+{ord(bad[0]):04X}, a control, direction-changing or incomplete character"
        elif depth > _DEEPEST:
            yield path, f"is nested more than {_DEEPEST} levels deep"
        elif not isinstance(value, str):
            inside = [*value.items()] if isinstance(value, dict) else [*enumerate(value)]
            left += ((f"{path}.{key}" if path else str(key), child, depth + 1) for key, child in reversed(inside))


def _bad_names(case: _Case) -> Told:
    name = case.name
    if case.document["name"] != name:
        yield "name", "is not the name that the change is for"
    if case.before is not None:  # what has such a name must still be possible to correct
        return
    try:
        require_model_name(name)
    except UnsafeName as error:
        yield "name", error.reason
    if not unicodedata.is_normalized("NFC", name):
        yield "name", "is not in Unicode's normal form C: it would look like another name without being it"
    if not name.isprintable() or name != name.strip() or "://" in name or {".", ".."} & {*name.split("/")}:
        yield "name", "has unprintable characters or space around it, or is a URL or a path"


def _bad_files(case: _Case) -> Told:
    for path, file in files_of(case.document):
        try:
            if not require_relative_file(str(file.get("file_name", "?"))).strip():
                yield f"{path}.file_name", "is empty"
        except UnsafeName as error:
            yield f"{path}.file_name", error.reason
        if file.get("sha256sum", "") not in ("", "FIXME") and not known_hash(file):
            yield f"{path}.sha256sum", "is neither 64 hexadecimal digits nor FIXME, which says that nobody computed it"
        if isinstance(size := file.get("size_bytes"), int) and size < 0:
            yield f"{path}.size_bytes", "is less than nothing"


def _bad_urls(case: _Case) -> Told:
    urls = [(f"{path}.file_url", file.get("file_url")) for path, file in files_of(case.document)]
    urls += [(key, case.document.get(key)) for key in ("homepage", "url")]
    showcases, series = case.document.get("showcases"), case.document.get("finetune_series")
    urls += [(f"showcases.{n}", url) for n, url in enumerate(showcases if isinstance(showcases, list) else [])]
    urls += [("finetune_series.homepage", series.get("homepage"))] if isinstance(series, dict) else []
    for path, url in urls:
        if isinstance(url, str) and url and not _is_url(url):
            yield path, "is no http(s) URL with a host and without a user name"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        sound = bool(parts.hostname) and parts.port != 0 and parts.scheme in ("http", "https")
    except ValueError:
        return False
    return sound and "@" not in parts.netloc and not re.search(r'[\s\\<>"]', text)


def _contradictions(case: _Case) -> Told:
    baseline = case.document.get("baseline")
    if case.category == _IMAGE and case.before is None and baseline not in (None, *get_all_registered_baselines()):
        yield "baseline", f"{str(baseline)[:80]!r} is not the canonical name of a baseline that this service knows"
    if (kind := case.document.get("record_type", case.category)) != case.category:
        yield "record_type", f"is {str(kind)[:80]!r}, but the category is {str(case.category)!r}"
    if case.document["licensing"] is None:
        yield "licensing", "cannot be taken away; leave it out to keep it as it is"


# -- before a person looks --


def _schema(case: _Case) -> Told:
    return ((each.field, each.reason) for each in case.judged[1])


def _unknown_fields(value: object, path: str = "") -> Told:
    if isinstance(value, BaseModel):
        for key in value.model_extra or ():
            close = get_close_matches(key, list(type(value).model_fields), 1)
            yield path + key, f"is no field that this version knows{f'; is {close[0]} meant?' if close else ''}"
    for place, child in enumerate(value) if isinstance(value, list) else vars(value).items() if value else ():
        if isinstance(child, BaseModel | list):
            yield from _unknown_fields(child, f"{path}{place}.")


def _vocabulary(case: _Case) -> Told:
    for known, value in case.judged[0].unknown_values() if case.judged[0] else ():
        yield known.field, f"{value[:80]!r} is not known to this version; it is kept as written"
    baseline = case.document.get("baseline")
    names_one = case.category == _IMAGE and isinstance(baseline, str) and baseline in IMAGE_BASELINES
    if names_one and baseline not in get_all_registered_baselines():
        yield "baseline", f"{baseline!r} is another name of a baseline; programs expect the canonical one"


def _near_names(case: _Case) -> Told:
    for name in case.neighbours.names if case.before is None else ():
        yield "name", f"reads like {name!r}, which is there already"
    if case.category == _TEXT and has_legacy_text_backend_prefix(case.name):
        yield "name", "begins with the name of a backend; workers add that themselves"


def _shared_files(case: _Case) -> Told:
    for path, file in files_of(case.document):
        for category, name in case.neighbours.holders.get(known_hash(file), ()):
            yield f"{path}.sha256sum", f"the same file is in {category}/{name}"


def _unverified(case: _Case) -> Told:
    for path, file in files_of(case.document):
        if not known_hash(file):
            yield f"{path}.sha256sum", "there is no hash, so nobody can verify the file"
        if file.get("size_bytes") is None and case.document.get("size_on_disk_bytes") is None:
            yield f"{path}.size_bytes", "there is no size"


def _doubtful_urls(case: _Case) -> Told:
    for path, file in files_of(case.document):
        url = str(file.get("file_url") or "")
        yield from ((f"{path}.file_url", why) for what, why in _URLS.items() if re.search(what, url, re.IGNORECASE))


def _nsfw(case: _Case) -> Told:
    tags, nsfw = case.document.get("tags"), case.document.get("nsfw")
    words = {str(tag).strip().casefold() for tag in (tags if isinstance(tags, list) else ())}
    if said := sorted(words & (_ADULT if nsfw is False else {"sfw", "safe"} if nsfw is True else set())):
        yield "nsfw", f"is {str(nsfw).lower()}, but the tags say {', '.join(said)}"


def _lost(case: _Case) -> Told:
    for each in case.changes:
        if each.path not in _SERVERS and each.before not in _NOTHING and each.after in _NOTHING:
            yield each.path, f"was there before: {each.words}"


_E, _W = Severity.ERROR, Severity.WARNING
_BOUNDS: tuple[Rule, ...] = (("bounds", _E, _out_of_bounds),)
_STRICT: tuple[Rule, ...] = (
    ("name", _E, _bad_names),
    ("file", _E, _bad_files),
    ("url", _E, _bad_urls),
    ("contradiction", _E, _contradictions),
    ("schema", _E, _schema),
)
CHECKS: tuple[Rule, ...] = (
    ("schema", _E, _schema),
    ("difference", _E, lambda case: ((each.path, each.words) for each in case.changes if each.alarming)),
    ("unknown_field", _W, lambda case: _unknown_fields(case.judged[0])),
    ("vocabulary", _W, _vocabulary),
    ("near_name", _W, _near_names),
    ("shared_file", _W, _shared_files),
    ("unverified", _W, _unverified),
    ("doubtful_url", _W, _doubtful_urls),
    ("nsfw", _W, _nsfw),
    ("lost_field", _W, _lost),
)
"""What `prereview` looks at, in the order in which it is told."""
