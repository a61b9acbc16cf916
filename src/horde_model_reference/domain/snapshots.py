"""A category as a whole: its records at one revision, and how they came about.

A snapshot holds all records as the bytes they are stored, hashed and served in. Typed records, raw documents, HTTP
bodies and files on disk all derive from a snapshot; nothing writes back into one.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, Field

from horde_model_reference.domain.categories import Category
from horde_model_reference.domain.events import Event, Operation
from horde_model_reference.domain.findings import JsonObject

__all__ = ["CategoryMetadata", "Delta", "Snapshot", "content_etag", "join_documents"]


def content_etag(body: bytes) -> str:
    """A strong entity tag, quoted: the hash of exactly these bytes, so equal in every process that holds them."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def join_documents(documents: Iterable[tuple[bytes, bytes]]) -> bytes:
    """One JSON object out of (name as a JSON string, document as JSON) pairs, without parsing either."""
    body = io.BytesIO()
    separator = b"{"
    for name, document in documents:
        body.writelines((separator, name, b":", document))
        separator = b","
    body.write(b"}" if body.tell() else b"{}")
    return body.getvalue()


@dataclass(frozen=True)
class Delta:
    """How a body came out of `base`: first `gone` were taken out, then `records` put in, each where it was or last.

    Whoever has read `base` need read no more than this.
    """

    base: bytes
    gone: frozenset[str]
    records: JsonObject


@dataclass(frozen=True)
class Snapshot:
    """`body` is compact UTF-8 JSON `{name: document}` in the order the records were created.

    `revision` is the newest of the whole reference at which this body was current, None where the source counts none
    (files, GitHub); `mark` tells the history that led there from another (PRIMARY restored from a backup). `source`
    names where it was read, `tag` is what that source calls this version, where that is not the tag of the content.
    `checked` is the Unix time at which it was last known to be current there, 0 for just now; `older` is how many
    seconds before that the source itself had last known. `instead` says what was wrong with the sources that should
    have been read, where this is a substitute; `retry_after` is in how many seconds to ask them again.
    """

    category: Category
    body: bytes
    revision: int | None = None
    source: str = ""
    tag: str | None = field(default=None, compare=False)
    mark: str | None = field(default=None, compare=False)
    checked: float = field(default=0.0, compare=False)
    older: float = field(default=0.0, compare=False)
    instead: str = field(default="", compare=False)
    retry_after: float | None = field(default=None, compare=False)
    delta: Delta | None = field(default=None, compare=False, repr=False)

    def still_current(self, revision: int | None, mark: str | None = None) -> Snapshot:
        """The same records, known to be current just now at `revision`, of the history known by `mark`."""
        mark = self.mark if revision == self.revision and mark is None else mark
        return Snapshot(self.category, self.body, revision, self.source, self.tag, mark)


class CategoryMetadata(BaseModel, defer_build=True):
    """How often a category changed, when, and how: counts go back to the first event, times are Unix seconds."""

    category: Category
    last_updated: int
    last_operation_type: Operation | None = None
    last_operation_model: str | None = None
    total_creates: int = Field(default=0, ge=0)
    total_updates: int = Field(default=0, ge=0)
    total_deletes: int = Field(default=0, ge=0)
    total_models: int = Field(default=0, ge=0)
    initialization_time: int
    last_successful_operation: int
    error_count: int = 0
    metadata_schema_version: str = "1.0.0"
    backend_type: str

    @classmethod
    def of(cls, counts: Mapping[Operation, int], first_at: int, last: Event, backend: str) -> CategoryMetadata:
        """What events amount to: how many there are of each operation, the first one's time, and the last one."""
        created, updated, deleted = (counts.get(operation, 0) for operation in Operation)
        return cls(
            category=last.category,
            last_updated=last.at // 1000,
            last_operation_type=last.operation,
            last_operation_model=last.name,
            total_creates=created,
            total_updates=updated,
            total_deletes=deleted,
            total_models=created - deleted,
            initialization_time=first_at // 1000,
            last_successful_operation=last.at // 1000,
            backend_type=backend,
        )
