"""The parts that records are made of, and the one decision they all share: what happens to a field nobody knows.

Normally it is kept, so that a record written by a later version survives a read and a write. In a test environment
(`AI_HORDE_TESTING`, as captured at import) it is refused, so that a misspelt field fails a test. What is said of a text
model, and what a model may be used for, are claims: frozen, and without further fields.

Records come by the hundred thousand. Beside its fields each object notes which of them were given, and unknown ones:
half of the memory of a typical record, and nearly always the same as in the one before. After `share` records hold that
together; before anything could change it, a record takes a copy of its own, so that nobody can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import copy
from datetime import date
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, StringConstraints, model_validator
from pydantic.config import JsonDict

from horde_model_reference.horde_environment import horde_environment

__all__ = ["SCHEMA_VERSION", "DownloadRecord", "FineTuneSeriesInfo", "GenericModelRecordConfig"]
__all__ += ["GenericModelRecordMetadata", "GuidanceSource", "LicenseAssignment", "LicenseDefinition", "LicenseEvidence"]
__all__ += ["LicenseObligation", "LicensedAsset", "LicensedAssetKind", "LicensingRecordMetadata", "ModelLicensing"]
__all__ += ["PermissionStatus", "RecordPart", "Sharing", "Stripped", "SupportClaim", "SupportStatus", "TextCapability"]
__all__ += ["TextContextWindow", "TextGuidanceStatus", "TextGuidanceSummary", "TextInteractionMode"]
__all__ += ["get_default_config", "license_identifiers", "share", "unknown_model_licensing"]

SCHEMA_VERSION: Final = "2.1.0"
"""The version of the v2 format that this package writes."""
Stripped = Annotated[str, StringConstraints(strip_whitespace=True)]
"""Text without white space around it."""
_STRICT: Final = horde_environment().ai_horde_testing


def get_default_config() -> ConfigDict:
    """The configuration of clients' own models: unknown fields are dropped, or refused with `AI_HORDE_TESTING`."""
    return ConfigDict(extra="forbid" if _STRICT else "ignore", populate_by_name=True)


_NAMES, _EXTRA = (BaseModel.__dict__[slot] for slot in ("__pydantic_fields_set__", "__pydantic_extra__"))


class _Names(set[str]):
    def __copy__(self) -> set[str]:
        return set(self)


class _Nothing(dict[str, Any]):  # always empty, so that there is nothing in it to delete
    def __copy__(self) -> dict[str, Any]:
        return {}


_NOTHING = _Nothing()


class Sharing(BaseModel):
    """A model whose objects may share, and stop before they are changed or hand out what they share."""

    if not TYPE_CHECKING:  # pragma: no branch  (to a type checker it is a plain model)

        def __setattr__(self, name: str, value: object) -> None:
            _stop_sharing(self)
            super().__setattr__(name, value)

        model_extra = property(lambda self: _stop_sharing(self).__pydantic_extra__)
        model_fields_set = property(lambda self: _stop_sharing(self).__pydantic_fields_set__)

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        return state | {slot.__name__: copy(state[slot.__name__]) for slot in (_NAMES, _EXTRA)}


def share(models: Iterable[Sharing]) -> None:
    """Let all of these share what is equal in them."""
    names_of, give_names, extra_of, give_extra = _NAMES.__get__, _NAMES.__set__, _EXTRA.__get__, _EXTRA.__set__
    known: dict[frozenset[str], _Names] = {}
    for model in models:
        names = frozenset(names_of(model))
        shared = known.get(names)
        if shared is None:
            shared = known[names] = _Names(names)
        give_names(model, shared)
        if extra_of(model) == {}:
            give_extra(model, _NOTHING)


def _stop_sharing(model: Sharing) -> Sharing:
    for slot in (_NAMES, _EXTRA):
        value = slot.__get__(model)
        if isinstance(value, _Names | _Nothing):
            slot.__set__(model, copy(value))
    return model


def _hide_extra(schema: JsonDict) -> None:
    if schema.get("additionalProperties") is True:
        del schema["additionalProperties"]


class RecordPart(Sharing):
    """What a record and its parts have in common."""

    model_config = ConfigDict(
        extra="forbid" if _STRICT else "allow",
        populate_by_name=True,
        allow_inf_nan=False,
        defer_build=True,
        json_schema_extra=_hide_extra,  # a published schema lists what we know; it does not invite more
    )


class DownloadRecord(RecordPart):
    """One file of a model. `sha256sum` is lower-case hexadecimal, or the word FIXME where nobody has computed it."""

    file_name: str
    file_url: str
    sha256sum: str = "FIXME"
    content_hash: str | None = None
    file_purpose: str | None = None
    known_slow_download: bool | None = None
    size_bytes: int | None = None


class GenericModelRecordConfig(RecordPart):
    """The files of a model, and the hashes of components inside them by component kind."""

    download: list[DownloadRecord] = Field(default_factory=list)
    embedded_component_hashes: dict[str, str] | None = None


class GenericModelRecordMetadata(RecordPart):
    """Who wrote a record, and when, in unix seconds."""

    schema_version: str = SCHEMA_VERSION
    created_at: int | None = None
    updated_at: int | None = None
    created_by: str | None = None
    updated_by: str | None = None


class FineTuneSeriesInfo(RecordPart):
    """The series of fine-tunes that a model belongs to."""

    name: str
    version: str | None = None
    author: str | None = None
    description: str | None = None
    homepage: str | None = None


TextInteractionMode = StrEnum("TextInteractionMode", "COMPLETION INSTRUCTION CHAT")
"""How a text model is spoken to."""
TextCapability = StrEnum("TextCapability", "TOOL_CALLING STRUCTURED_OUTPUT")
"""What a text model can do beyond plain text."""
SupportStatus = StrEnum("SupportStatus", "SUPPORTED UNSUPPORTED UNKNOWN")
"""Whether something is supported, as far as anybody knows."""
TextGuidanceStatus = StrEnum("TextGuidanceStatus", "PUBLISHED LEGACY_LABEL UNDOCUMENTED")
"""Whether there is guidance on how to prompt the model."""


class _Claim(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class GuidanceSource(_Claim):
    """Where a claim can be checked."""

    url: HttpUrl
    title: str | None = None
    note: str | None = None


class SupportClaim(_Claim):
    """One claim; `qualification` says under which conditions it holds."""

    status: SupportStatus
    sources: list[GuidanceSource] = Field(default_factory=list)
    qualification: str | None = None


class TextContextWindow(_Claim):
    """How many tokens the model takes, as its authors or a test say."""

    maximum_tokens: int = Field(ge=1)
    sources: list[GuidanceSource] = Field(default_factory=list)
    qualification: str | None = None


class TextGuidanceSummary(_Claim):
    """Which guidance profiles apply to the model, by id."""

    status: TextGuidanceStatus
    primary_profile_id: str | None = None
    supplemental_profile_ids: list[str] = Field(default_factory=list)


# -- what a model may be used for: reviewed conclusions, by an SPDX expression and the identifiers in it. `NOASSERTION`
# says that nobody has reviewed the model; then no permission may be claimed.

_TOKEN = re.compile(r"[()]|[A-Za-z0-9][A-Za-z0-9.:_-]*\+?")
_SIGNS = {"(": "(", ")": ")", "AND": "&", "OR": "&", "WITH": "w"}
_WELL_FORMED = re.compile(r"\(*n(?:wn)?\)*(?:&\(*n(?:wn)?\)*)*")
"""What may follow what, `n` being a name. Parentheses are counted beside it."""

PermissionStatus = StrEnum("PermissionStatus", "ALLOWED ALLOWED_WITH_CONDITIONS PROHIBITED UNKNOWN")
"""Whether something is permitted, as far as anybody reviewed it."""
LicenseObligation = StrEnum(
    "LicenseObligation",
    "ATTRIBUTION INCLUDE_LICENSE SHARE_ALIKE DISCLOSE_SOURCE NETWORK_SOURCE_DISCLOSURE "
    "RESPONSIBLE_USE_RESTRICTIONS OTHER",
)
"""What a user must do in return."""
LicensedAssetKind = StrEnum("LicensedAssetKind", "SOFTWARE_COMPONENT CUSTOM_NODE OTHER")
"""What a licensed thing is that is no model."""


def license_identifiers(expression: str) -> tuple[frozenset[str], frozenset[str]]:
    """The licences and the exceptions (after `WITH`) that an SPDX expression names, without a trailing `+`.

    Raises `ValueError` where it is no such expression. Operators are upper case, as SPDX demands.
    Example: `"MIT OR GPL-2.0-only WITH GCC-exception-2.0"` gives `({MIT, GPL-2.0-only}, {GCC-exception-2.0})`.
    """
    tokens = _TOKEN.findall(expression)
    shape = "".join(_SIGNS.get(token, "n") for token in tokens)
    depth = [*accumulate((sign == "(") - (sign == ")") for sign in shape)]
    whole = "".join(tokens) == "".join(expression.split())
    if not (whole and _WELL_FORMED.fullmatch(shape)) or min(depth) < 0 or depth[-1]:
        raise ValueError(f"Invalid license expression: {expression}")
    named: tuple[set[str], set[str]] = (set(), set())
    for before, token in pairwise(("", *tokens)):
        if token not in _SIGNS and token not in ("NOASSERTION", "NONE"):
            named[before == "WITH"].add(token.removesuffix("+"))
    return frozenset(named[0]), frozenset(named[1])


class LicensingRecordMetadata(_Claim):
    """Who wrote a licence definition or asset, and when (unix seconds)."""

    revision: int = Field(default=1, ge=1)
    created_at: int | None = None
    created_by: str | None = None
    updated_at: int | None = None
    updated_by: str | None = None


class LicenseEvidence(_Claim):
    """Where a conclusion was drawn from: an address or a document."""

    source: str = Field(min_length=1)
    description: str | None = None
    checked_at: date | None = None


class LicenseDefinition(_Claim):
    """One licence, and what it permits in general."""

    license_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    spdx_identifier: str | None = None
    canonical_url: str = Field(min_length=1)
    commercial_use: PermissionStatus
    redistribution: PermissionStatus
    obligations: tuple[LicenseObligation, ...] = ()
    restrictions: tuple[str, ...] = ()
    notes: str | None = None
    deprecated: bool = False
    metadata: LicensingRecordMetadata = Field(default_factory=LicensingRecordMetadata)


class LicenseAssignment(_Claim):
    """A reviewed conclusion about one thing. With `NOASSERTION` in the expression both permissions must be unknown.

    `license_ids` are exactly the licences in the expression; exceptions may be listed, too.
    """

    license_expression: str = Field(min_length=1)
    license_ids: tuple[str, ...] = ()
    commercial_use: PermissionStatus
    redistribution: PermissionStatus
    obligations: tuple[LicenseObligation, ...] = ()
    attribution: str | None = None
    evidence: tuple[LicenseEvidence, ...] = ()
    reviewed_by: str | None = None
    reviewed_at: date | None = None
    notes: str | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        licenses, exceptions = license_identifiers(self.license_expression)
        listed = {identifier.removesuffix("+") for identifier in self.license_ids}
        if not licenses <= listed <= licenses | exceptions:
            raise ValueError(f"license_ids must be exactly the identifiers in license_expression: {sorted(licenses)}")
        claims = {self.commercial_use, self.redistribution}
        if "NOASSERTION" in _TOKEN.findall(self.license_expression) and claims != {PermissionStatus.UNKNOWN}:
            raise ValueError("NOASSERTION requires commercial_use and redistribution to be 'unknown'")
        return self


class ModelLicensing(LicenseAssignment):
    """The conclusion about a model; `files` holds another one for single downloads, by file name."""

    files: dict[str, LicenseAssignment] = Field(default_factory=dict)


class LicensedAsset(_Claim):
    """Something that is no model, with the conclusion about it: a program that workers run, a custom node."""

    asset_kind: LicensedAssetKind
    asset_identifier: str = Field(min_length=1)
    display_name: str = Field(min_length=1)
    source_url: str | None = None
    version: str | None = None
    locations: tuple[str, ...] = ()
    related_assets: tuple[str, ...] = ()
    licensing: LicenseAssignment
    notes: str | None = None
    metadata: LicensingRecordMetadata = Field(default_factory=LicensingRecordMetadata)


def unknown_model_licensing(notes: str = "No reviewed licensing conclusion is currently available.") -> ModelLicensing:
    """The block that is shown for a model that nobody has reviewed."""
    unknown = PermissionStatus.UNKNOWN
    return ModelLicensing(license_expression="NOASSERTION", commercial_use=unknown, redistribution=unknown, notes=notes)
