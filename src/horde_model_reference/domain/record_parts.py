"""The parts that records are made of, and the one decision they all share: what happens to a field nobody knows.

Normally it is kept, so that a record written by a later version survives a read and a write. In a test environment
(`AI_HORDE_TESTING`) it is refused, so that a misspelt field fails a test. A class needs that answer when it is defined:
it is read once, from the environment that the package captured when it was imported.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from horde_model_reference.domain.sharing import Sharing
from horde_model_reference.horde_environment import horde_environment

__all__ = ["RECORD_CONFIG", "SCHEMA_VERSION", "DownloadRecord", "FineTuneSeriesInfo", "GenericModelRecordConfig"]
__all__ += ["GenericModelRecordMetadata", "Stripped", "get_default_config"]

SCHEMA_VERSION: Final = "2.1.0"
"""The version of the v2 format that this package writes."""

Stripped = Annotated[str, StringConstraints(strip_whitespace=True)]
"""Text without white space around it."""

_STRICT: Final = horde_environment().ai_horde_testing


def get_default_config() -> ConfigDict:
    """The configuration of clients' own models: unknown fields are dropped, or refused with `AI_HORDE_TESTING`."""
    return ConfigDict(extra="forbid" if _STRICT else "ignore", populate_by_name=True)


def _hide_extra(schema: JsonDict) -> None:
    if schema.get("additionalProperties") is True:
        del schema["additionalProperties"]


RECORD_CONFIG = ConfigDict(
    extra="forbid" if _STRICT else "allow",
    populate_by_name=True,
    allow_inf_nan=False,
    defer_build=True,
    json_schema_extra=_hide_extra,  # a published schema lists what we know; it does not invite more
)


class DownloadRecord(Sharing):
    """One file of a model: where it is and how to verify it.

    `sha256sum` is lower-case hexadecimal, or the word FIXME where nobody has computed it.
    """

    model_config = RECORD_CONFIG

    file_name: str
    file_url: str
    sha256sum: str = "FIXME"
    content_hash: str | None = None
    file_purpose: str | None = None
    known_slow_download: bool | None = None
    size_bytes: int | None = None


class GenericModelRecordConfig(Sharing):
    """The files of a model, and the hashes of components inside them by component kind."""

    model_config = RECORD_CONFIG

    download: list[DownloadRecord] = Field(default_factory=list)
    embedded_component_hashes: dict[str, str] | None = None


class GenericModelRecordMetadata(Sharing):
    """Who wrote a record, and when, in unix seconds."""

    model_config = RECORD_CONFIG

    schema_version: str = SCHEMA_VERSION
    created_at: int | None = None
    updated_at: int | None = None
    created_by: str | None = None
    updated_by: str | None = None


class FineTuneSeriesInfo(Sharing):
    """The series of fine-tunes that a model belongs to."""

    model_config = RECORD_CONFIG

    name: str
    version: str | None = None
    author: str | None = None
    description: str | None = None
    homepage: str | None = None
