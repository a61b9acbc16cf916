"""Writing the reference out: as v2 files, as legacy files, or as one bundle that an import gives back exactly.

Each takes the categories to write, by default those that have records, and the revision, by default the newest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from horde_model_reference.domain.categories import Category, get_all_registered_categories, get_category_descriptor
from horde_model_reference.domain.events import Entry
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.exchange.incoming import BUNDLE_FORMAT, BUNDLE_VERSION
from horde_model_reference.files import write_atomically
from horde_model_reference.formats.json_codec import decode, decode_object, encode_pretty
from horde_model_reference.formats.legacy import legacy_format
from horde_model_reference.stores.base import Store

__all__ = ["bundle", "entries_of", "legacy_entries", "legacy_file", "v2_file", "write_legacy", "write_v2"]

Entries = dict[str, Entry]


def entries_of(
    store: Store, categories: Iterable[Category] = (), at: int | None = None
) -> Iterator[tuple[Category, Entries]]:
    """The records of each category named, or of each that has any."""
    named = tuple(categories)
    for category in named or get_all_registered_categories():
        entries = store.entries(category, at=at)
        if entries or named:
            yield category, entries


def legacy_entries(category: Category, entries: Entries) -> dict[str, JsonObject]:
    """The records of a category as they read in the legacy format: what nobody changed is the original again."""
    form = legacy_format(category)
    origins = {name: decode_object(entry.origin) for name, entry in entries.items() if entry.origin is not None}
    return {
        name: form.from_v2(category, name, decode_object(entry.document), origins.get(name))
        for name, entry in entries.items()
    }


def legacy_file(category: Category, entries: Entries) -> bytes:
    """The category's file in the legacy format."""
    return legacy_format(category).write(legacy_entries(category, entries))


def v2_file(entries: Entries) -> bytes:
    """A category's v2 file."""
    return encode_pretty({name: decode(entry.document) for name, entry in entries.items()})


def write_v2(store: Store, folder: Path, categories: Iterable[Category] = (), at: int | None = None) -> list[Path]:
    """One v2 file a category; gives back what was written."""
    found = entries_of(store, categories, at)
    return [
        _write(folder / get_category_descriptor(each).v2_filename(each), v2_file(entries)) for each, entries in found
    ]


def write_legacy(store: Store, folder: Path, categories: Iterable[Category] = (), at: int | None = None) -> list[Path]:
    """One legacy file a category, for those that have a legacy format; gives back what was written."""
    kinds = get_all_registered_categories()
    return [
        _write(folder / kinds[each].legacy_filename(each), legacy_file(each, entries))
        for each, entries in entries_of(store, categories, at)
        if kinds[each].has_legacy_format
    ]


def bundle(store: Store, categories: Iterable[Category] = (), at: int | None = None) -> bytes:
    """Everything in one JSON file: documents with their origins, by category, and the revision they are at."""
    revision = store.head() if at is None else at
    found: JsonObject = {
        category: {name: _row(entry) for name, entry in entries.items()}
        for category, entries in entries_of(store, categories, revision)
    }
    facts = {"format": BUNDLE_FORMAT, "version": BUNDLE_VERSION, "revision": revision}
    return encode_pretty({**facts, "categories": found})


def _row(entry: Entry) -> dict[str, JsonValue]:
    origin = {} if entry.origin is None else {"origin": decode(entry.origin)}
    return {"document": decode(entry.document), **origin}


def _write(path: Path, data: bytes) -> Path:
    write_atomically(path, data)
    return path
