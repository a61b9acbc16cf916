"""`list`, `show`, `query`, `stats` and `status`: what this machine reads, and from where."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import Annotated, Any, TypeAlias, get_args, get_origin

from pydantic_core import to_jsonable_python
from typer import Argument, BadParameter, Option

import horde_model_reference as library
from horde_model_reference.cli.context import At, CategoryArgument, CategoryChoice, Session, categories, known
from horde_model_reference.cli.output import Table, at_time, tell
from horde_model_reference.domain.differences import host_of
from horde_model_reference.domain.events import Entry
from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.errors import ReferenceUnavailable
from horde_model_reference.formats.json_codec import decode_object, encode

__all__ = ["list_", "query", "show", "stats", "status"]

_EVERY = "all"
_BEST = ("name", "baseline", "controlnet_style", "style", "parameters_count", "nsfw", "version", "size_on_disk_bytes")
_COUNTED = ("baseline", "style", "controlnet_style", "nsfw", "inpainting", "quantization", "tags")
_TOP = 12
_NOT_READ: tuple[object, ...] = (0, None, None, 0, "cannot be had", True, None, None)
_Kind: TypeAlias = "type[library.GenericModelRecord]"
_Records: TypeAlias = "Collection[library.GenericModelRecord]"

Limit = Annotated[int | None, Option(min=1, help="At most that many.")]
Offset = Annotated[int, Option(min=0, help="Without the first so many.")]


def list_(session: Session, category: CategoryChoice = None, limit: Limit = None, offset: Offset = 0) -> None:
    """The categories with how many records each has, or the models of one category."""
    if category is None:
        session.all_records()
        table = _categories(_known_of_each(session), "category", "domain", "purpose", "records", "revision", "source")
    else:
        records, kind = session.records(category).values(), library.get_record_type_for_category(category)
        table = _table(category, kind, list(records), _columns_of(kind))
    shown = table.rows[offset:][:limit]
    replace(table, rows=shown).print(session.as_json)
    if len(shown) < len(table.rows):
        tell(f"{len(shown)} of {len(table.rows)} shown")


def show(
    session: Session,
    category: CategoryArgument,
    name: Annotated[str, Argument(help="The model, exactly as `list` writes it.")],
    at: At = "",
    legacy: Annotated[bool, Option("--legacy", help="In the format of the two GitHub repositories.")] = False,
) -> None:
    """One record, field by field."""
    from horde_model_reference.exchange.exporting import legacy_entries
    from horde_model_reference.reference import model_not_found

    if at or (legacy and session.reads_store):
        entries = session.store.entries(known(category), at=session.revision(at or "head"))
    else:
        documents = session.parts.reference.raw(category, fresh=not session.reads_store)
        entries = {key: Entry(0, 0, encode(document).decode()) for key, document in documents.items()}
    if name not in entries:
        missing = model_not_found(name, category, entries)
        if at:
            missing.add_note(f"This is what the store held at revision {session.revision(at)}.")
        raise missing
    document = decode_object(entries[name].document, where=name)
    if legacy:
        document = legacy_entries(category, {name: entries[name]})[name]
    Table(["field", "value"], list(_flat(document)), f"{category}: {name}").print(session.as_json, document)


def query(
    session: Session,
    category: CategoryArgument,
    filters: Annotated[list[str] | None, Argument(metavar="[FIELD=VALUE]...", help="Conditions, as above.")] = None,
    sort: Annotated[str, Option(help="Fields to order by, comma separated; a leading - turns one round.")] = "",
    columns: Annotated[str, Option(help="Fields to print, comma separated; a__b reaches into nested ones.")] = "",
    limit: Limit = None,
    offset: Offset = 0,
    as_csv: Annotated[bool, Option("--csv", help="Print comma separated values.")] = False,
) -> None:
    """The models of a category for which all filters hold; the category `all` means every one.

    A filter is FIELD=VALUE, or FIELD__OP=VALUE with gt, gte, lt, lte, ne, in or contains. A list field such as tags
    holds its VALUE. `in` takes several values with commas between. `none` is a missing value. a__b reaches into
    a nested field, and is `none` where a record has no such.

    With --json and no --columns, whole records.
    """
    from horde_model_reference.domain.query import build_cross_category_query, build_query

    record_type: _Kind = library.GenericModelRecord
    if category == _EVERY:
        selection: library.ModelQuery[Any] = build_cross_category_query(session.all_records())
    else:
        records, record_type = session.records(category), library.get_record_type_for_category(category)
        selection = build_query(records, record_type)
    selection = selection.where(*(_condition(record_type, text) for text in filters or ()))
    chosen = _names(columns) or _columns_of(record_type) + ["record_type"] * (category == _EVERY)
    try:
        everything = selection.order_by(*_names(sort)).to_list()
    except TypeError as error:
        raise BadParameter(str(error)) from None
    found = everything[offset:][:limit]
    table = _table(category, record_type, found, chosen)
    if as_csv:
        table.print_csv()
    else:
        whole = None if columns else [record.model_dump(mode="json", by_alias=True) for record in found]
        table.print(session.as_json, whole)
    if len(found) < len(everything):
        tell(f"{len(found)} of {len(everything)} shown")


def stats(session: Session, category: CategoryChoice = None) -> None:
    """Counts: of all categories, or inside one by baseline, style, tag, download host and so on."""
    if category is not None:
        table = Table(["of", "value", "records"], list(_counted(session.records(category).values())), category)
    else:
        columns = ["category", "records", "nsfw", "files", "without_hash", "size_on_disk_bytes"]
        table = Table(columns, [_totals(each, records.values()) for each, records in session.all_records().items()])
    table.print(session.as_json)


def status(session: Session) -> None:
    """What this installation reads: mode, data root, store, and of each category the source, revision, age and faults.

    `checked_seconds`: how long ago it was last known to be current at its source. `stale`: it should be newer, and
    `fault` says why it is not. The source is asked now; what is printed is what a reader gets.
    """
    settings = session.settings
    facts: dict[str, object] = {"mode": "REPLICA", "data_root": str(session.data_root)}
    if session.reads_store:
        store = session.store
        facts |= {"mode": "PRIMARY", "store": store.url, "revision": store.head(), "mirror": settings.mirror_enabled}
    else:
        facts |= {"offline": session.is_offline, "primary_api_url": settings.primary_api_url}
    try:
        session.all_records()
    except ReferenceUnavailable as error:
        facts["fault"] = error.reason or str(error)
    rows = _known_of_each(session)
    Table(("what", "value"), [*facts.items()]).print(session.as_json, {**facts, "categories": rows})
    if not session.as_json:
        print()
        shown = ("revision", "changed", "checked_seconds", "stale", "set_aside", "fault")
        _categories(rows, "category", "records", "source", *shown).print()


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _columns_of(record_type: _Kind) -> list[str]:
    """The columns that tell the models of a class apart best."""
    return [name for name in _BEST if name in record_type.model_fields]


def _table(title: str, record_type: _Kind, records: Sequence[object], columns: Sequence[str]) -> Table:
    """The values of (nested) fields, None where a path ends early. Raises `UnknownField`."""
    from horde_model_reference.domain.predicates import parse_path, reader

    values = [map(reader(parse_path(record_type, column), strict=False), records) for column in columns]
    return Table(columns, [to_jsonable_python(row) for row in zip(*values, strict=True)], title)


def _categories(rows: list[dict[str, object]], *columns: str) -> Table:
    return Table(columns, [[row[name] for name in columns] for row in rows], "Categories")


def _known_of_each(session: Session) -> list[dict[str, object]]:
    """What is known of each category, of those read and of those that cannot be had."""
    facts = "category domain purpose records source revision set_aside fault stale checked_seconds next_attempt_seconds"
    names = (*facts.split(), "changed", "age_seconds")
    held, now, rows = {each.category: each for each in session.parts.reference.status()}, time.time(), []
    for category, kind in categories().items():
        each, moved, read = held.get(category), session.parts.last_updated(category), _NOT_READ
        if each:
            times = (round(each.age, 1), round(each.next_attempt, 1))
            read = (each.records, each.source, each.revision, len(each.set_aside), each.fault, each.stale, *times)
        when = (at_time(moved * 1000), int(now - moved)) if moved else (None, None)
        rows.append(dict(zip(names, (category, kind.domain, kind.purpose, *read, *when), strict=True)))
    return rows


def _flat(value: JsonValue, path: str = "") -> Iterator[tuple[str, JsonValue]]:
    """(path, value) of everything in a document that is neither an object nor a list of such."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{number}]")
    else:
        yield path, value


def _totals(category: str, records: _Records) -> list[object]:
    files = [file for record in records for file in record.config.download]
    without = sum(file.sha256sum in ("", "FIXME") for file in files)
    nsfw = sum(bool(getattr(record, "nsfw", False)) for record in records)
    size = sum(getattr(record, "size_on_disk_bytes", None) or 0 for record in records)
    return [category, len(records), nsfw, len(files), without, size]


def _counted(records: _Records) -> Iterator[tuple[str, object, int]]:
    yield "records", None, len(records)
    values = {name: [getattr(record, name, None) for record in records] for name in _COUNTED}
    values["host"] = [[*{host_of(file.file_url) for file in record.config.download}] for record in records]
    for of, held in values.items():
        counter = Counter(each for value in held for each in (value if isinstance(value, list) else [value]))
        there = [(value, count) for value, count in counter.most_common() if value is not None]
        yield from ((of, value, count) for value, count in there[:_TOP])
        if len(there) > _TOP:
            yield of, f"({len(there) - _TOP} others)", sum(count for _, count in there[_TOP:])


def _condition(record_type: _Kind, text: str) -> library.Predicate:
    """A filter as a predicate. Raises `UnknownField`, which names the close ones."""
    from horde_model_reference.domain.predicates import OPERATORS, comparison, parse_path

    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise BadParameter(f"{text!r} is no filter; write FIELD=VALUE, for example nsfw=false")
    field, _, operation = name.rpartition("__")
    if not field or operation not in OPERATORS:
        field, operation = name, "eq"
    path = parse_path(record_type, field, OPERATORS)
    kinds = _kinds(record_type.model_fields[path[0]].annotation) if len(path) == 1 else set[object]()
    several = operation in ("in", "not_in")
    values = [_value(field, kinds, part) for part in (value.split(",") if several else [value])]
    if list in kinds and operation in ("eq", "ne", "in", "not_in") and values != [None]:
        held = reduce(or_, (comparison(path, "contains", each) for each in values))
        return ~held if operation in ("ne", "not_in") else held
    return comparison(path, operation, values if several else values[0], strict=False)  # a missing key is `none`


def _kinds(annotation: object) -> set[object]:
    """The types in a field's annotation: what it holds, and what that is made of."""
    return {get_origin(annotation) or annotation}.union(*map(_kinds, get_args(annotation)))


def _value(field: str, kinds: set[object], text: str) -> object:
    """The text as what the field holds; in a nested one, whose type nobody declared, as what it looks like."""
    from pydantic import TypeAdapter, ValidationError

    word = text.strip().lower()
    if word in ("none", "null"):
        return None
    if any(isinstance(kind, type) and issubclass(kind, str) for kind in kinds):
        return text
    is_truth = bool in kinds or (word in ("true", "false") and not kinds)
    try:
        return TypeAdapter[object](bool if is_truth else int | float).validate_strings(word)
    except ValidationError:
        if not kinds & {bool, int, float}:
            return text
        raise BadParameter(f"{field} is {'true or false' if is_truth else 'a number'}, not {text!r}") from None
