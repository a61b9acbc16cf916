"""Which legacy format a category has, and the v1 body of a category: what the two repositories publish.

A format gives, for each entry of a file, the *origin*: the entry exactly as written. Who keeps it beside the v2
document gets it back from `from_v2` with every field, as far as the document was not changed.
"""

from __future__ import annotations

from collections.abc import Mapping

from horde_model_reference.domain.categories import Category, get_all_registered_categories, get_category_descriptor
from horde_model_reference.domain.findings import Finding, JsonObject
from horde_model_reference.errors import UnknownCategory
from horde_model_reference.formats.legacy_csv import LEGACY_CSV, text_db, with_groups
from horde_model_reference.formats.legacy_fields import LegacyFormat
from horde_model_reference.formats.legacy_json import LEGACY_JSON

__all__ = ["LegacyFormat", "legacy_format", "read_entries", "v1_body"]

_BY_SUFFIX = {"csv": LEGACY_CSV, "json": LEGACY_JSON}


def read_entries(data: bytes, *, suffix: str = "json", where: str = "") -> tuple[dict[str, JsonObject], list[Finding]]:
    """The entries of a file of either format, or of v2, each as written; what is wrong with one costs it alone."""
    return _BY_SUFFIX[suffix].read(data, where)


def legacy_format(category: Category) -> LegacyFormat:
    """The format of the category's legacy file. Raises `UnknownCategory`, also for one that exists in v2 only."""
    descriptor = get_category_descriptor(category)
    if not descriptor.has_legacy_format:
        known = (str(name) for name, other in get_all_registered_categories().items() if other.has_legacy_format)
        raise UnknownCategory(f"{category} (in the legacy format)", tuple(known))
    return _BY_SUFFIX[descriptor.legacy_filename(category).rpartition(".")[2]]


def v1_body(
    category: Category,
    documents: Mapping[str, JsonObject],
    origins: Mapping[str, JsonObject],
    *,
    include_group: bool = False,
) -> JsonObject:
    """What `GET v1/{category}` answers: the legacy entries, or for text models the rendering of `db.json`.

    `origins` holds the entries as imported, for those keys that were. `include_group` adds the group of each text
    model, and changes nothing for other categories.
    """
    form = legacy_format(category)
    if form is LEGACY_CSV:
        rendered = text_db(documents)
        return {**(with_groups(rendered) if include_group else rendered)}
    return {key: form.from_v2(category, key, document, origins.get(key)) for key, document in documents.items()}
