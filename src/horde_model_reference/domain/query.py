"""Selecting among records already in memory: queries for programs, and the searches that the service answers.

A query is an immutable builder, evaluated when asked for a result. Building it checks names, so that a misspelt field
fails where it is written; values are looked at by the terminals (`to_list`, `first`, `count`, …), each of which
evaluates anew. Records come back as they are, not copied.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import compress
from typing import Any, Generic, Self, SupportsIndex, TypeAlias, TypeVar

from horde_model_reference.domain import predicates as conditions
from horde_model_reference.domain import records
from horde_model_reference.domain.categories import MODEL_DOMAIN, MODEL_PURPOSE, get_all_registered_categories
from horde_model_reference.domain.names import HORDE_SOURCE_ID
from horde_model_reference.domain.predicates import FieldRef, OrderSpec, Predicate, parse_path, reader, require_field
from horde_model_reference.domain.record_parts import SCHEMA_VERSION, PermissionStatus
from horde_model_reference.domain.records import GenericModelRecord
from horde_model_reference.domain.text_names import parse_text_model_name, strip_backend_prefix

__all__ = ["ControlNetQuery", "Found", "ImageGenerationQuery", "ModelQuery", "Narrowed", "Search", "TextModelQuery"]
__all__ += [
    "Unsortable",
    "build_cross_category_query",
    "build_image_query",
    "build_query",
    "build_text_query",
    "in_order",
]

R = TypeVar("R", bound=GenericModelRecord)
_TAGS = operator.attrgetter("tags")
_COLLECTIONS = (list, tuple, set, frozenset)

Records: TypeAlias = Mapping[str, R] | Sequence[tuple[R, str]]
"""What a query is built from: records by name (all of the source `horde`), or (record, source id) pairs."""
OrderKey: TypeAlias = str | FieldRef[Any] | OrderSpec
"""`"name"`, `"-size_on_disk_bytes"` (descending), `ImageFields.name`, or an `OrderSpec`."""


Found: TypeAlias = tuple[str, str, GenericModelRecord]
Narrowed: TypeAlias = dict[tuple[object, ...], list[Found]]
"""A category, the key of a record in it, and the record."""
_EQUAL = ("nsfw", "baseline", "inpainting")


class ModelQuery(Generic[R]):
    """A selection of records of one class. Every method that narrows or orders gives a new query."""

    _predicates: tuple[Predicate, ...] = ()
    _order: tuple[OrderSpec, ...] = ()
    _offset: int | None = None
    _limit: int | None = None

    def __init__(self, record_type: type[R], records: Records[R]) -> None:
        self._record_type = record_type
        # By identity: records are mutable, so they have no hash, and two sources may hold equal ones.
        self._source_of: Mapping[int, str] = {}
        if isinstance(records, Mapping):
            self._records: Sequence[R] = tuple(records.values())
        else:
            self._records = tuple(record for record, _ in records)
            self._source_of = {id(record): source for record, source in records}

    def where(self, *predicates: Predicate | Callable[[R], object], **fields: object) -> Self:
        """Only records for which all of it holds.

        A keyword is a field, `a__b` a way into a nested model or dict, with an operator at the end if it is not
        equality: `gt gte lt lte ne in contains`. A list of values means any of them, `None` a missing value; an order
        comparison never matches a missing value. Conditions apply from left to right, positional ones first: each sees
        only what those before it left. Raises `UnknownField`, a `ValueError`, for a field that the records do not have;
        the terminals raise `TypeError` for values that cannot be compared, `ValueError` for a path that ends early.

        Example: `query.where(ImageFields.nsfw == False, baseline=["flux_1", "qwen_image"], name__contains="XL")`
        """
        added = []
        for predicate in predicates:
            if not callable(predicate):
                raise TypeError(f"where() takes predicates, functions of a record and keywords, not {predicate!r}")
            added.append(predicate if isinstance(predicate, Predicate) else _by_function(predicate))
            for field in added[-1].fields:
                require_field(self._record_type, field)
        for keyword, value in fields.items():
            path, operation = _parsed_keyword(self._record_type, keyword)
            if isinstance(value, _COLLECTIONS):
                operation = {"eq": "in", "ne": "not_in"}.get(operation, operation)
            added.append(conditions.comparison(path, operation, value))
        return self._with(_predicates=(*self._predicates, *added))

    def supported_only(self) -> Self:
        """Only records of which this version knows everything that it knows a list of: category, domain, purpose,
        baseline, style and the like, and the major version of their schema. A newer PRIMARY may send others."""
        return self.where(_is_supported)

    def tags_any(self, *tags: str | Iterable[str]) -> Self:
        """Only records with at least one of these tags; given none, no record."""
        return self._tagged(tags, lambda wanted, own: not wanted.isdisjoint(own))

    def tags_all(self, *tags: str | Iterable[str]) -> Self:
        """Only records with each of these tags; given none, records that have any tag at all."""
        return self._tagged(tags, lambda wanted, own: bool(own) and wanted.issubset(own))

    def tags_none(self, *tags: str | Iterable[str]) -> Self:
        """Only records without any of these tags; given none, all records."""
        return self._tagged(tags, lambda wanted, own: wanted.isdisjoint(own))

    def order_by(self, *keys: OrderKey, descending: bool = False) -> Self:
        """In this order, which replaces an earlier one; ties keep theirs. Missing values are last, descending first."""
        specs = (key.asc() if isinstance(key, FieldRef) else key for key in keys)
        return self._with(_order=tuple(_order_spec(self._record_type, spec, descending) for spec in specs))

    def limit(self, count: SupportsIndex | None) -> Self:
        """At most that many: the slice `[:count]`, also for a negative number. Replaces an earlier limit."""
        return self._with(_limit=None if count is None else operator.index(count))

    def offset(self, count: SupportsIndex | None) -> Self:
        """Without the first so many: the slice `[count:]`, taken before the limit, also for a negative number."""
        return self._with(_offset=None if count is None else operator.index(count))

    def to_list(self) -> list[R]:
        """The records selected, in order."""
        records: Sequence[R] = self._records
        for predicate in self._predicates:
            records = list(compress(records, predicate.select(records)))
        for spec in reversed(self._order):
            records = _arranged(records, spec)
        return list(records[self._offset :][: self._limit])

    def to_dict(self) -> dict[str, R]:
        """Name -> record. Across categories names can repeat: the first record of a name stays."""
        found: dict[str, R] = {}
        for record in self.to_list():
            found.setdefault(record.name, record)
        return found

    def to_list_with_source(self) -> list[tuple[R, str]]:
        """(record, source id) pairs, in order."""
        return [(record, self._source_of.get(id(record), HORDE_SOURCE_ID)) for record in self.to_list()]

    def names(self) -> list[str]:
        """The names of the records selected, in order."""
        return [record.name for record in self.to_list()]

    def first(self) -> R | None:
        """The first record selected, or `None`."""
        return next(iter(self.to_list()), None)

    def count(self) -> int:
        """How many records are selected, limit and offset applied."""
        return len(self.to_list())

    def exists(self) -> bool:
        """Whether any record is selected."""
        return bool(self.to_list())

    def distinct(self, field: str | FieldRef[Any]) -> list[object]:
        """The values of a field, each once, in the order met; of a list field, its elements. Raises as `group_by`."""
        return list(self.group_by(field))

    def group_by(self, field: str | FieldRef[Any]) -> dict[object, list[R]]:
        """Value of a field -> its records. A record with a list is under each element of it, so `tags` works.

        Raises `ValueError` where the values have no hash, as dicts and nested models do.
        """
        path = field.path if isinstance(field, FieldRef) else parse_path(self._record_type, field)
        require_field(self._record_type, path[0])
        read, groups = reader(path), dict[object, list[R]]()
        for record in self.to_list():
            value = read(record)
            try:
                for key in dict.fromkeys(value) if isinstance(value, _COLLECTIONS) else (value,):
                    groups.setdefault(key, []).append(record)
            except TypeError as error:
                raise ValueError(f"{'__'.join(path)} of {record.name!r} cannot be a key: {error}") from error
        return groups

    def __iter__(self) -> Iterator[R]:
        return iter(self.to_list())

    def __repr__(self) -> str:
        kind, conditions = self._record_type.__name__, len(self._predicates)
        return f"<{type(self).__name__} of {len(self._records)} {kind}, {conditions} conditions>"

    def _with(self, **changes: object) -> Self:
        # A query is rebuilt at every step of its chain, and must not cost more than its evaluation.
        query = object.__new__(type(self))
        query.__dict__.update(self.__dict__, **changes)
        return query

    def _tagged(self, tags: Iterable[str | Iterable[str]], test: Callable[[frozenset[str], Any], bool]) -> Self:
        wanted = frozenset(tag for given in tags for tag in ([given] if isinstance(given, str) else given))
        judged = Predicate(lambda records: [test(wanted, own or ()) for own in map(_TAGS, records)], ("tags",))
        return self.where(judged)


class _GenerationQuery(ModelQuery[R]):
    def for_baseline(self, *baselines: str) -> Self:
        """Only models on one of these baselines."""
        return self.where(baseline=baselines)

    def for_style(self, *styles: str) -> Self:
        """Only models of one of these styles."""
        return self.where(style=styles)

    def nsfw(self) -> Self:
        """Only models marked as not safe for work."""
        return self.where(nsfw=True)

    def sfw(self) -> Self:
        """Only models that are safe for work."""
        return self.where(nsfw=False)


class ImageGenerationQuery(_GenerationQuery[records.ImageGenerationModelRecord]):
    """A query of `image_generation`, with its usual questions as methods."""

    def inpainting(self, wanted: bool = True) -> Self:
        """Only inpainting models, or only the others."""
        return self.where(FieldRef("inpainting") if wanted else ~FieldRef("inpainting"))


class TextModelQuery(_GenerationQuery[records.TextGenerationModelRecord]):
    """A query of `text_generation`, with its usual questions as methods."""

    def in_group(self, *groups: str) -> Self:
        """Only models of one of these groups (`text_model_group`)."""
        return self.where(text_model_group=groups)

    def parameters_between(self, at_least: float | None = None, at_most: float | None = None) -> Self:
        """Only models of that size in parameters (`7e9`), both ends included; an end left out is open."""
        bounds = {"parameters_count__gte": at_least, "parameters_count__lte": at_most}
        return self.where(**{bound: value for bound, value in bounds.items() if value is not None})


class ControlNetQuery(ModelQuery[records.ControlNetModelRecord]):
    """A query of `controlnet`, with its usual question as a method."""

    def for_style(self, *styles: str) -> Self:
        """Only models of one of these control styles (`controlnet_style`)."""
        return self.where(controlnet_style=styles)


_QUERY_CLASSES: dict[type[GenericModelRecord], type[ModelQuery[Any]]] = {
    records.ImageGenerationModelRecord: ImageGenerationQuery,
    records.TextGenerationModelRecord: TextModelQuery,
    records.ControlNetModelRecord: ControlNetQuery,
    GenericModelRecord: ModelQuery,
}

build_image_query = partial(ImageGenerationQuery, records.ImageGenerationModelRecord)
"""A query of `image_generation` records."""
build_text_query = partial(TextModelQuery, records.TextGenerationModelRecord)
"""A query of `text_generation` records."""


def build_query(records: Records[R], record_type: type[R]) -> ModelQuery[R]:
    """A query of records of any class: an `ImageGenerationQuery` and so on where there is one for the class."""
    nearest = next(_QUERY_CLASSES[cls] for cls in record_type.__mro__ if cls in _QUERY_CLASSES)
    return nearest(record_type, records)


def build_cross_category_query(categories: Mapping[str, Records[GenericModelRecord]]) -> ModelQuery[GenericModelRecord]:
    """A query by the fields that all records have; its order, and so its pages, follow the registered categories."""
    pairs: list[tuple[GenericModelRecord, str]] = []
    for category in dict.fromkeys([*get_all_registered_categories(), *categories]):
        pairs += build_query(categories.get(category, {}), GenericModelRecord).to_list_with_source()
    return build_query(pairs, GenericModelRecord)


@lru_cache(maxsize=1024)
def _parsed_keyword(record_type: type[GenericModelRecord], keyword: str) -> tuple[conditions.Path, str]:
    field, _, last = keyword.rpartition("__")
    if field and last in conditions.OPERATORS:
        return parse_path(record_type, field), last
    return parse_path(record_type, keyword), "eq"


@lru_cache(maxsize=1024)
def _order_spec(record_type: type[GenericModelRecord], key: str | OrderSpec, descending: bool) -> OrderSpec:
    spec = OrderSpec(key.removeprefix("-"), key.startswith("-")) if isinstance(key, str) else key
    return OrderSpec("__".join(parse_path(record_type, spec.field)), spec.descending is not descending)


def _arranged(records: Sequence[R], spec: OrderSpec) -> list[R]:
    read = reader(tuple(spec.field.split("__")))
    try:
        return sorted(records, key=read, reverse=spec.descending)
    except TypeError:  # a missing value, most likely; to look for one first would cost every query
        missing = [record for record in records if read(record) is None]
    try:
        present = sorted((r for r in records if read(r) is not None), key=read, reverse=spec.descending)
    except TypeError as error:
        raise TypeError(f"cannot order by {spec.field}: {error}") from error
    return missing + present if spec.descending else present + missing


def _by_function(judge: Callable[[Any], object]) -> Predicate:
    return Predicate(lambda records: map(bool, map(judge, records)))


def _is_supported(record: GenericModelRecord) -> bool:
    kind, major = record.model_classification, record.metadata.schema_version.partition(".")[0]
    return (
        record.record_type in get_all_registered_categories()
        and kind.domain in MODEL_DOMAIN.__members__
        and kind.purpose in MODEL_PURPOSE.__members__
        and not record.unknown_values()
        and not (major.isdigit() and int(major) > int(SCHEMA_VERSION.partition(".")[0]))
    )


class Unsortable(ValueError):
    """No record has a value under that name by which it could be sorted."""


@dataclass(frozen=True)
class Search:
    """What a record must be. None asks for nothing; a record that lacks the field is not what was asked for.

    `backend` wants names with that backend's prefix, `exclude_backend_variations` names without any, and `quantized`
    such as name a quantisation, or do not. Upper and lower case are alike in `name_contains`.
    """

    nsfw: bool | None = None
    baseline: str | None = None
    inpainting: bool | None = None
    tags_any: list[str] | None = None
    tags_all: list[str] | None = None
    tags_none: list[str] | None = None
    name_contains: str | None = None
    backend: str | None = None
    exclude_backend_variations: bool = False
    quantized: bool | None = None
    license_id: str | None = None
    commercial_use: PermissionStatus | None = None
    redistribution: PermissionStatus | None = None

    def among(self, records: Iterable[Found], known: Narrowed | None = None) -> list[Found]:
        """Those that are what was asked for, in the order they came in. `known` is kept for searches of the same."""
        plain = tuple(getattr(self, field) for field in _EQUAL)
        if known is None or (found := known.get(plain)) is None:
            found = list(records)
            for field, wanted in zip(_EQUAL, plain, strict=True):  # what nobody asked for costs no pass
                if wanted is not None:
                    found = [each for each in found if each[2].__dict__.get(field) == wanted]
            if known is not None and len(known) < 64:
                known[plain] = found
        if any((self.name_contains, self.backend, self.exclude_backend_variations, self.quantized is not None)):
            found = [each for each in found if self._accepts_name(each[1])]
        if self.tags_any and (wanted := frozenset(self.tags_any)):
            found = [each for each in found if not wanted.isdisjoint(_tags(each[2]))]
        if self.tags_all and (wanted := frozenset(self.tags_all)):
            found = [each for each in found if wanted.issubset(_tags(each[2]))]
        if self.tags_none and (wanted := frozenset(self.tags_none)):
            found = [each for each in found if wanted.isdisjoint(_tags(each[2]))]
        if any((self.license_id is not None, self.commercial_use, self.redistribution)):
            found = [each for each in found if self._accepts_licence(each[2])]
        return found

    def _accepts_name(self, name: str) -> bool:
        return (
            (not self.name_contains or self.name_contains.casefold() in name.casefold())
            and (not self.backend or name.startswith(f"{self.backend}/"))
            and not (self.exclude_backend_variations and strip_backend_prefix(name) != name)
            and (self.quantized is None or (parse_text_model_name(name).quant is not None) == self.quantized)
        )

    def _accepts_licence(self, record: GenericModelRecord) -> bool:
        uses = {"commercial_use": self.commercial_use, "redistribution": self.redistribution}
        stated = record.licensing
        return (self.license_id is None or (stated is not None and self.license_id in stated.license_ids)) and all(
            wanted is None or getattr(stated, use, PermissionStatus.UNKNOWN) == wanted for use, wanted in uses.items()
        )


def in_order(found: list[Found], field: str, *, descending: bool = False) -> list[Found]:
    """Sorted by that field, those without it last; equals stay in the order they came in. Raises `Unsortable`."""
    keyed, absent, known = list[tuple[tuple[int, float, str], Found]](), list[Found](), not found
    for each in found:
        name = _attribute(type(each[2]), field)
        value = getattr(each[2], name) if name else None
        known |= name is not None
        if isinstance(value, int | float):
            keyed.append(((0, value, ""), each))
        elif isinstance(value, str):
            keyed.append(((1, 0.0, value.casefold()), each))
        else:
            absent.append(each)
    if not known:
        raise Unsortable(f"None of the records found has a field {field!r} to sort by")
    keyed.sort(key=operator.itemgetter(0), reverse=descending)
    return [each for _, each in keyed] + absent


def _tags(record: GenericModelRecord) -> list[str]:
    return getattr(record, "tags", None) or []


@lru_cache(maxsize=1024)
def _attribute(record_type: type[GenericModelRecord], name: str) -> str | None:
    """The name that the class has for it: a field goes by its alias, too."""
    fields = record_type.model_fields
    return name if name in fields else next((each for each, field in fields.items() if field.alias == name), None)
