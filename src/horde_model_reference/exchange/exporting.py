"""Writing the reference out: as v2 files, as legacy files, or as one bundle that an import gives back exactly."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from horde_model_reference.domain.categories import Category, get_all_registered_categories, get_category_descriptor
from horde_model_reference.domain.events import Entry
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.exchange.incoming import BUNDLE_FORMAT, BUNDLE_VERSION
from horde_model_reference.files import write_atomically
from horde_model_reference.formats.json_codec import decode, decode_object, encode_pretty
from horde_model_reference.formats.legacy import legacy_format

__all__ = ["Exportable", "bundle", "legacy_entries", "legacy_file", "v2_file", "write_legacy", "write_v2"]


class Exportable(Protocol):
    """A store, or one as it was: what writing it out asks for."""

    def head(self) -> int: ...
    def counts(self) -> dict[Category, int]: ...
    def entries(self, category: Category) -> dict[str, Entry]: ...


def legacy_entries(category: Category, entries: dict[str, Entry]) -> dict[str, JsonObject]:
    """The records of a category as they read in the legacy format: what nobody changed is the original again."""
    form = legacy_format(category)
    return {
        name: form.from_v2(category, name, decode_object(entry.document), _object(entry.origin))
        for name, entry in entries.items()
    }


def legacy_file(category: Category, entries: dict[str, Entry]) -> bytes:
    """The category's file in the legacy format."""
    return legacy_format(category).write(legacy_entries(category, entries))


def v2_file(entries: dict[str, Entry]) -> bytes:
    """A category's v2 file."""
    return encode_pretty({name: decode(entry.document) for name, entry in entries.items()})


def write_v2(store: Exportable, folder: Path, categories: Iterable[Category] = ()) -> list[Path]:
    """One v2 file a category; all that have records, or those named. Gives back what was written."""
    written = []
    for category in categories or store.counts():
        path = folder / get_category_descriptor(category).v2_filename(category)
        write_atomically(path, v2_file(store.entries(category)))
        written.append(path)
    return written


def write_legacy(store: Exportable, folder: Path, categories: Iterable[Category] = ()) -> list[Path]:
    """One legacy file a category, for those that have a legacy format."""
    written = []
    for category in categories or store.counts():
        descriptor = get_category_descriptor(category)
        if descriptor.has_legacy_format:
            path = folder / descriptor.legacy_filename(category)
            write_atomically(path, legacy_file(category, store.entries(category)))
            written.append(path)
    return written


def bundle(store: Exportable) -> bytes:
    """Everything in one JSON file: documents with their origins, by category, and the revision they are at."""
    counts = store.counts()
    categories: dict[str, JsonValue] = {
        category: {name: _row(entry) for name, entry in store.entries(category).items()}
        for category in get_all_registered_categories()
        if category in counts
    }
    return encode_pretty(
        {"format": BUNDLE_FORMAT, "version": BUNDLE_VERSION, "revision": store.head(), "categories": categories}
    )


def _row(entry: Entry) -> JsonObject:
    row: JsonObject = {"document": decode(entry.document)}
    if entry.origin is not None:
        row["origin"] = decode(entry.origin)
    return row


def _object(origin: str | None) -> JsonObject | None:
    return None if origin is None else decode_object(origin)
