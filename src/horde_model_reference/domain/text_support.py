"""What a text model is said to support, and by whom: claims with their sources, as the text record carries them."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, HttpUrl

__all__ = ["GuidanceSource", "SupportClaim", "SupportStatus", "TextCapability", "TextContextWindow"]
__all__ += ["TextGuidanceStatus", "TextGuidanceSummary", "TextInteractionMode"]


TextInteractionMode = StrEnum("TextInteractionMode", "COMPLETION INSTRUCTION CHAT")
"""How a text model is spoken to."""

TextCapability = StrEnum("TextCapability", "TOOL_CALLING STRUCTURED_OUTPUT")
"""What a text model can do beyond plain text."""

SupportStatus = StrEnum("SupportStatus", "SUPPORTED UNSUPPORTED UNKNOWN")
"""Whether something is supported, as far as anybody knows."""

TextGuidanceStatus = StrEnum("TextGuidanceStatus", "PUBLISHED LEGACY_LABEL UNDOCUMENTED")
"""Whether there is guidance on how to prompt the model."""


class _Claim(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


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
