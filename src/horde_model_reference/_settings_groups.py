"""The groups of settings, and what their fields are built of. Clients import them from `settings`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from horde_model_reference._settings_reading import database_url, listed, listed_loosely

__all__ = [
    "DEFAULT_AUDIT_MAX_SEGMENT_BYTES",
    "DEFAULT_PENDING_QUEUE_SEGMENT_BYTES",
    "GITHUB_IMAGE_REPO_NAME",
    "GITHUB_REPO_BRANCH",
    "GITHUB_REPO_OWNER",
    "GITHUB_TEXT_REPO_NAME",
    "AuditSettings",
    "CanonicalFormat",
    "DatabaseUrl",
    "Format",
    "GithubProxySettings",
    "GithubRepoSettings",
    "ImageBaselineSettings",
    "ImageGithubRepoSettings",
    "LicensingSettings",
    "LooseTexts",
    "Mode",
    "PendingQueueSettings",
    "R2Settings",
    "RedisSettings",
    "ReplicateMode",
    "TextGithubRepoSettings",
    "TextGuidanceSettings",
    "Texts",
    "group_of",
    "setting",
]

DEFAULT_AUDIT_MAX_SEGMENT_BYTES = 5 * 1024 * 1024
DEFAULT_PENDING_QUEUE_SEGMENT_BYTES = 5 * 1024 * 1024
GITHUB_REPO_OWNER = "Haidra-Org"
GITHUB_REPO_BRANCH = "main"
GITHUB_IMAGE_REPO_NAME = "AI-Horde-image-model-reference"
GITHUB_TEXT_REPO_NAME = "AI-Horde-text-model-reference"

_FOLDERS = "library (`MAKE_FOLDERS`)"


class ReplicateMode(StrEnum):
    """Whether this process owns the reference and accepts writes, or only reads it."""

    PRIMARY = "PRIMARY"
    REPLICA = "REPLICA"


class CanonicalFormat(StrEnum):
    """The format that accepts writes; the other one is rendered from it."""

    legacy = "legacy"
    v2 = "v2"
    LEGACY = "legacy"


def setting(default: object, meaning: str, *, read_by: str | None = None, **more: Any) -> Any:
    """A documented field. `read_by` is None as long as nothing acts on the setting, and the documentation says so."""
    return Field(default=default, description=meaning, json_schema_extra={"read_by": read_by}, **more)


def group_of(kind: type[BaseModel], meaning: str) -> Any:
    """A field that is a group of settings; `meaning` is its heading in the documentation."""
    return Field(default_factory=kind, description=meaning)


def _one_of(kind: type[StrEnum], spell: Callable[[str], str]) -> BeforeValidator:
    allowed = ", ".join(kind)

    def parse(value: object) -> StrEnum:
        try:
            return kind(spell(str(value)))
        except ValueError:
            raise ValueError(f"must be one of {allowed}") from None

    return BeforeValidator(parse)


Texts: TypeAlias = Annotated[list[str], BeforeValidator(listed)]
LooseTexts: TypeAlias = Annotated[list[str], BeforeValidator(listed_loosely)]
DatabaseUrl: TypeAlias = Annotated[SecretStr | None, BeforeValidator(database_url)]
Mode: TypeAlias = Annotated[ReplicateMode, _one_of(ReplicateMode, str.upper)]
Format: TypeAlias = Annotated[
    CanonicalFormat, _one_of(CanonicalFormat, lambda text: "legacy" if text.lower() == "legacy" else text)
]


class _Group(BaseModel):
    """Settings under one name; given one by one (`GROUP__FIELD`), whole as a JSON object, or both."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _FolderGroup(_Group):
    """A group that has files of its own: in `relative_subdir` of the data root, or of another root."""

    relative_subdir: str
    root_path_override: str | None = setting(
        None, "Folder to use instead of the data root for these files.", read_by=_FOLDERS
    )


class RedisSettings(_Group):
    """How several PRIMARY processes on different hosts tell each other of changes."""

    use_redis: bool = setting(False, "Use Redis between PRIMARY processes. Refused in REPLICA mode.")
    url: str = setting("redis://localhost:6379/0", "Address of the Redis server; a password in it is never shown.")
    pool_size: int = setting(10, "Connections kept open.")
    socket_timeout: int = setting(5, "Seconds to wait for an answer.")
    socket_connect_timeout: int = setting(5, "Seconds to wait for a connection.")
    retry_max_attempts: int = setting(3, "Attempts before Redis counts as unreachable.")
    retry_backoff_seconds: float = setting(0.5, "Seconds before the second attempt; doubled for each further one.")
    key_prefix: str = setting("horde:model_ref", "What every key and channel name begins with.")
    ttl_seconds: int | None = setting(None, "Seconds until an entry expires; unset: `CACHE_TTL_SECONDS`.")
    use_pubsub: bool = setting(True, "Announce changes to other processes at once.")


class AuditSettings(_FolderGroup):
    """The log of who changed what."""

    enabled: bool = setting(True, "Write the audit files beside the database's own event log.")
    max_segment_bytes: int = setting(DEFAULT_AUDIT_MAX_SEGMENT_BYTES, "Size at which a new audit file is begun.")
    relative_subdir: str = setting("audit", "Folder of the audit files, under the data root.", read_by=_FOLDERS)


class PendingQueueSettings(_FolderGroup):
    """The queue of proposed changes, and who may propose and approve."""

    enabled: bool = setting(True, "Changes are proposed and reviewed; off: approvers write at once.")
    relative_subdir: str = setting(
        "pending_queue", "Folder of the queue's files, under the data root.", read_by=_FOLDERS
    )
    requestor_ids: Texts = setting([], "AI Horde user ids that may propose changes (approvers may as well).")
    approver_ids: Texts = setting([], "AI Horde user ids that may approve, reject and apply changes.")
    max_segment_bytes: int = setting(DEFAULT_PENDING_QUEUE_SEGMENT_BYTES, "Reserved; has no effect.")
    allow_self_approval: bool = setting(False, "Let a proposer approve their own change.")


class LicensingSettings(_FolderGroup):
    """Licences and the files they apply to."""

    relative_subdir: str = setting("licensing", "Folder of the licence files, under the data root.", read_by=_FOLDERS)
    editor_ids: Texts = setting([], "AI Horde user ids that may edit licences.")
    require_explicit_model_assignments: bool = setting(False, "Refuse a record whose licence nobody stated.")


class TextGuidanceSettings(_FolderGroup):
    """Prompt formats and profiles of text models."""

    relative_subdir: str = setting(
        "text_guidance", "Folder of the guidance catalogue, under the data root.", read_by=_FOLDERS
    )


class ImageBaselineSettings(_FolderGroup):
    """The catalogue of image baselines."""

    relative_subdir: str = setting(
        "baselines", "Folder of the baseline catalogue, under the data root.", read_by=_FOLDERS
    )


class R2Settings(_Group):
    """A mirror of model files in an S3-compatible bucket."""

    gateway_url: str | None = setting(None, "Address that the mirror's files are downloaded from; unset: no mirror.")
    manifest_ttl_seconds: int = setting(300, "Seconds for which the mirror's manifest is kept.")
    upload_bucket: str | None = setting(None, "Bucket that files are uploaded to.")
    upload_endpoint_url: str | None = setting(None, "Address of the bucket's S3 interface.")
    upload_access_key_id: str | None = setting(None, "Access key id for uploads.")
    upload_secret_access_key: str | None = setting(None, "Secret access key for uploads; never shown.", repr=False)
    upload_region: str = setting("auto", "Region of the bucket.")


class GithubProxySettings(_Group):
    """A host that relays GitHub, for where GitHub itself cannot be reached."""

    github_proxy_url_base: str | None = Field(default=None, description="Address put in front of GitHub's own URLs.")


class GithubRepoSettings(_Group):
    """A repository that publishes reference files in the legacy format."""

    owner: str = setting(GITHUB_REPO_OWNER, "User or organisation that owns the repository.")
    name: str
    branch: str = setting(GITHUB_REPO_BRANCH, "Branch that is read.")
    proxy_settings: GithubProxySettings | None = setting(
        None, 'A relay, as JSON: `{"github_proxy_url_base": "https://..."}`; unset: `GITHUB_PROXY_URL_BASE`.'
    )

    @property
    def url_base_only(self) -> str:
        """What a file name is appended to; through the relay, where one is set."""
        relay = self.proxy_settings.github_proxy_url_base if self.proxy_settings else None
        raw = f"https://raw.githubusercontent.com/{self.owner}/{self.name}/refs/heads/{self.branch}/"
        return f"{relay.rstrip('/')}/{raw}" if relay else raw

    @property
    def git_clone_url(self) -> str:
        """Never through a relay: a clone is what changes are pushed from."""
        return f"https://github.com/{self.owner}/{self.name}.git"


class ImageGithubRepoSettings(GithubRepoSettings):
    """The repository of the image categories."""

    name: str = setting(GITHUB_IMAGE_REPO_NAME, "Name of the repository.")


class TextGithubRepoSettings(GithubRepoSettings):
    """The repository of the text models."""

    name: str = setting(GITHUB_TEXT_REPO_NAME, "Name of the repository.")
