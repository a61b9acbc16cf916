"""What a model may be used for: reviewed conclusions about licences, as frozen values.

A conclusion names licences by an SPDX expression and lists the identifiers in it, so that a reader can look each one up
without parsing. `NOASSERTION` says that nobody has reviewed the model; then no permission may be claimed.
"""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["LICENSE_DATA_SCHEMA_VERSION", "LicenseAssignment", "LicenseDefinition", "LicenseEvidence"]
__all__ += ["LicenseObligation", "LicensedAsset", "LicensedAssetKind", "LicensingRecordMetadata", "ModelLicensing"]
__all__ += ["PermissionStatus", "license_identifiers", "unknown_model_licensing"]

LICENSE_DATA_SCHEMA_VERSION = 1
_TOKEN = re.compile(r"[()]|[A-Za-z0-9][A-Za-z0-9.:_-]*\+?")
_SIGNS = {"(": "(", ")": ")", "AND": "&", "OR": "&", "WITH": "w"}
_NO_CONCLUSION = frozenset({"NOASSERTION", "NONE"})
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
        if token not in _SIGNS and token not in _NO_CONCLUSION:
            named[before == "WITH"].add(token.removesuffix("+"))
    return frozenset(named[0]), frozenset(named[1])


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class LicensingRecordMetadata(_Value):
    """Who wrote a licence definition or asset, and when (unix seconds)."""

    revision: int = Field(default=1, ge=1)
    created_at: int | None = None
    created_by: str | None = None
    updated_at: int | None = None
    updated_by: str | None = None


class LicenseEvidence(_Value):
    """Where a conclusion was drawn from: an address or a document."""

    source: str = Field(min_length=1)
    description: str | None = None
    checked_at: date | None = None


class LicenseDefinition(_Value):
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


class LicenseAssignment(_Value):
    """A reviewed conclusion about one thing.

    `license_ids` are exactly the licences in the expression (exceptions may be listed too), and an expression with
    `NOASSERTION` leaves both permissions unknown; anything else is refused.
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


class LicensedAsset(_Value):
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
