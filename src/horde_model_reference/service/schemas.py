"""What answers and questions look like in the OpenAPI document: the names and shapes that clients know."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from horde_model_reference.domain.categories import Category, get_all_registered_categories
from horde_model_reference.domain.licensing import PermissionStatus
from horde_model_reference.domain.search import Search
from horde_model_reference.settings import CanonicalFormat, ReplicateMode

__all__ = ["AIHordeStatus", "BackendInfo", "CategoryLastUpdatedResponse", "CategoryName", "ContainsMessage"]
__all__ += ["ErrorDetail", "ErrorResponse", "HeartbeatResponse", "LastUpdatedResponse", "Manifest", "ManifestEntry"]
__all__ += ["ReferenceState", "SearchQuestion", "SearchQuestionOfCategory", "SearchResponse"]

CategoryName = Annotated[str, WithJsonSchema({"type": "string", "enum": [*get_all_registered_categories()]})]


class ContainsMessage(BaseModel):
    """Something for people."""

    message: str


class BackendInfo(BaseModel):
    """Whether a service owns the reference, in which format it accepts changes, and whether it does now."""

    replicate_mode: ReplicateMode
    canonical_format: CanonicalFormat
    writable: bool


class AIHordeStatus(BaseModel):
    """How asking the AI Horde went lately."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    degraded: bool = False
    consecutive_failures: int = 0
    seconds_until_retry: float | None = None


class ReferenceState(BaseModel):
    """What is served: at which revision, and how many seconds ago it was last known to be current."""

    revision: int
    age: int = 0
    stale: list[Category] = []


class HeartbeatResponse(BaseModel):
    """`ok`, or `degraded` where what is served is older than it should be."""

    status: str
    ai_horde: AIHordeStatus
    reference: ReferenceState


class LastUpdatedResponse(BaseModel):
    """Unix seconds of the last change of any category; null where there never was one."""

    last_updated: int | None


class CategoryLastUpdatedResponse(LastUpdatedResponse):
    """The same of one category."""

    category: str


class ManifestEntry(BaseModel):
    """One category as it is served without a content coding."""

    count: int
    bytes: int
    etag: str


class Manifest(BaseModel):
    """Everything that is served, at one revision."""

    revision: int
    categories: dict[str, ManifestEntry]


class ErrorDetail(BaseModel):
    """One thing that is wrong with a question."""

    loc: list[str | int] | None = None
    msg: str
    type: str | None = None


class ErrorResponse(BaseModel):
    """What went wrong, for clients that read `detail`; the other members are those of RFC 9457."""

    detail: str | list[ErrorDetail]
    type: str = "about:blank"
    title: str
    status: int


class SearchQuestion(BaseModel):
    """A search over all categories."""

    nsfw: bool | None = None
    name_contains: str | None = None
    tags_any: list[str] | None = None
    tags_all: list[str] | None = None
    tags_none: list[str] | None = None
    sort_by: str | None = None
    sort_desc: bool = False
    limit: int = Field(50, ge=1, le=500)
    offset: int = Field(0, ge=0)
    license_id: str | None = None
    commercial_use: PermissionStatus | None = None
    redistribution: PermissionStatus | None = None

    def search(self) -> Search:
        """The filters."""
        return Search(**{name: value for name, value in self if name in Search.__dataclass_fields__})


class SearchQuestionOfCategory(SearchQuestion):
    """A search in one category."""

    baseline: str | None = None
    inpainting: bool | None = None
    backend: str | None = None
    exclude_backend_variations: bool = False
    quantized: bool | None = None
    source: str = "horde"


class SearchResponse(BaseModel):
    """One page of what was found."""

    results: list[dict[str, Any]]
    total: int
    offset: int
    limit: int
    has_more: bool
