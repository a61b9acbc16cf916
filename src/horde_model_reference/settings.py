"""Every setting: its name in the environment, type, default, meaning, and what reads it.

The fields of `HordeModelReferenceSettings` are the single table from which the parsing, `hmr config`,
`docs/configuration.md` and `.env.example` all come. Values are taken from the environment as it was captured at import,
keyword arguments override them, and `_combinations` puts right what cannot work together, with a line in the log each.
Only `wiring` reads settings; the rest gets arguments.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias, get_origin

from pydantic import BaseModel, BeforeValidator, Field, FilePath, PrivateAttr, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings import PydanticBaseSettingsSource as _Source

from horde_model_reference._environment import captured
from horde_model_reference._log import logger
from horde_model_reference.errors import SettingsInvalid
from horde_model_reference.horde_environment import setting
from horde_model_reference.process import ForkLock

__all__ = ["SECRETS", "CanonicalFormat", "HordeModelReferenceSettings", "Origin", "Path", "R2Settings", "ReplicateMode"]
__all__ += ["get_settings", "horde_model_reference_settings", "listed", "make_settings", "masked", "variable_name"]

horde_model_reference_settings: HordeModelReferenceSettings

ENV_PREFIX = "HORDE_MODEL_REFERENCE_"
Path: TypeAlias = tuple[str, ...]  # where a setting is: `("redis", "url")`
Origin: TypeAlias = Literal["default", "environment", "argument", "rule"]
"""Where a value is from; `rule` is a combination rule that turned the setting off."""
SECRETS: frozenset[Path] = frozenset({("database_url",), ("r2", "upload_secret_access_key")})
"""Settings that are never shown. In others only the passwords inside URLs are masked."""
_log = logger("settings")


class ReplicateMode(StrEnum):
    """Whether this process owns the reference and accepts writes, or only reads it. Read in any letter case."""

    PRIMARY = "PRIMARY"
    REPLICA = "REPLICA"

    @classmethod
    def _missing_(cls, value: object) -> ReplicateMode | None:
        return cls.__members__.get(str(value).upper())


class CanonicalFormat(StrEnum):
    """The format that accepts writes; the other one is rendered from it."""

    legacy = "legacy"
    v2 = "v2"
    LEGACY = "legacy"

    @classmethod
    def _missing_(cls, value: object) -> CanonicalFormat | None:
        return cls.legacy if str(value).lower() == "legacy" else None


def listed(value: object) -> object:
    """A list as JSON (items as they are) or comma separated (items stripped, empty ones dropped)."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("must be comma separated, or a JSON array") from None


def masked(text: str) -> str:
    """Without what follows the user name in a URL, and without secrets among its parameters."""
    text = re.sub(r"://([^/@:\s]*:)?\S*@", lambda found: f"://{found[1] or ''}***@", text)
    return re.sub(r"(?i)([?&](?:\w*password|passwd|secret|token)=)[^&\s]*", r"\1***", text)


def _paths_in(values: Mapping[str, object], above: Path = ()) -> Iterator[Path]:
    """Every path at which something was given, groups and what is in them."""
    for name, value in values.items():
        yield (*above, name)
        inner = dict(value) if isinstance(value, BaseModel) else value
        if isinstance(inner, Mapping):
            yield from _paths_in(inner, (*above, name))


def _database_url(value: object) -> object:
    """Empty counts as unset; what is no URL at all is refused."""
    if isinstance(value, str) and value and "://" not in value:
        raise ValueError("must be a URL such as postgresql://user:password@host/name or sqlite:///path/to/file")
    return value or None


def _stripped_texts(value: object) -> object:
    """Whatever is in a list as text."""
    items = listed(value)
    return [text for item in items if (text := str(item).strip())] if isinstance(items, list) else items


_used, _folder = partial(setting, by="library"), partial(setting, by="library (`MAKE_FOLDERS`)")
_served = partial(setting, by="service")
_Texts: TypeAlias = Annotated[list[str], BeforeValidator(listed)]
_LooseTexts: TypeAlias = Annotated[list[str], BeforeValidator(_stripped_texts)]
_DatabaseUrl: TypeAlias = Annotated[SecretStr | None, BeforeValidator(_database_url)]


class _Group(BaseModel, extra="ignore", hide_input_in_errors=True, defer_build=True):
    """Settings under one name; given one by one (`GROUP__FIELD`), whole as a JSON object, or both."""


class _FolderGroup(_Group):
    """A group that has files of its own: in `relative_subdir` of the data root, or of another root."""

    relative_subdir: str
    root_path_override: str | None = _folder(None, "Folder to use instead of the data root for these files.")


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
    max_segment_bytes: int = setting(5 * 1024 * 1024, "Size at which a new audit file is begun.")
    relative_subdir: str = _folder("audit", "Folder of the audit files, under the data root.")


class PendingQueueSettings(_FolderGroup):
    """The queue of proposed changes, and who may propose and approve."""

    enabled: bool = setting(True, "Changes are proposed and reviewed; off: approvers write at once.", by="service")
    relative_subdir: str = _folder("pending_queue", "Folder of the queue's files, under the data root.")
    requestor_ids: _Texts = setting(
        [], "AI Horde user ids that may propose changes (approvers may as well).", by="service"
    )
    approver_ids: _Texts = setting([], "AI Horde user ids that may approve, reject and apply changes.", by="service")
    max_segment_bytes: int = setting(5 * 1024 * 1024, "Reserved; has no effect.")
    allow_self_approval: bool = setting(False, "Let a proposer approve their own change.", by="service, hmr")
    checked_hosts: _Texts = setting(
        [],
        "Hosts that are asked about proposed files (do they answer, with that size and hash); none: no network check.",
        by="service, hmr",
    )


class LicensingSettings(_FolderGroup):
    """Licences and the files they apply to."""

    relative_subdir: str = _folder("licensing", "Folder of the licence files, under the data root.")
    editor_ids: _Texts = setting([], "AI Horde user ids that may edit licences.", by="service")
    require_explicit_model_assignments: bool = setting(False, "Refuse a record whose licence nobody stated.")


class TextGuidanceSettings(_FolderGroup):
    """Prompt formats and profiles of text models."""

    relative_subdir: str = _folder("text_guidance", "Folder of the guidance catalogue, under the data root.")


class ImageBaselineSettings(_FolderGroup):
    """The catalogue of image baselines."""

    relative_subdir: str = _folder("baselines", "Folder of the baseline catalogue, under the data root.")


class R2Settings(_Group):
    """A mirror of model files in an S3-compatible bucket."""

    gateway_url: str | None = setting(None, "Address that the mirror's files are downloaded from; unset: no mirror.")
    manifest_ttl_seconds: int = setting(300, "Seconds for which the mirror's manifest is kept.")
    upload_bucket: str | None = setting(None, "Bucket that files are uploaded to.")
    upload_endpoint_url: str | None = setting(None, "Address of the bucket's S3 interface.")
    upload_access_key_id: str | None = setting(None, "Access key id for uploads.")
    upload_secret_access_key: str | None = setting(None, "Secret access key for uploads; never shown.", repr=False)
    upload_region: str = setting("auto", "Region of the bucket.")


class ServiceSettings(_Group):
    """The HTTP service, as `hmr serve` runs it."""

    host: str = _served("127.0.0.1", "Address to listen on; 0.0.0.0 lets other machines in.")
    port: int = _served(19800, "Port to listen on; 0 takes a free one.", ge=0, le=65535)
    workers: int = _served(1, "Processes that serve.", ge=1)
    proxies: _Texts = _served([], "Addresses of proxies whose X-Forwarded headers are believed; * believes all.")
    tls_certificate: FilePath | None = _served(None, "File with the certificate; serves HTTPS.")
    tls_key: FilePath | None = _served(None, "File with its key, where that is not in it.")
    access_log: bool = _served(False, "Log each request as a line of JSON.")


class GithubProxySettings(_Group):
    """A host that relays GitHub, for where GitHub itself cannot be reached."""

    github_proxy_url_base: str | None = _used(None, "Address put in front of GitHub's own URLs.")


class GithubRepoSettings(_Group):
    """A repository that publishes reference files in the legacy format."""

    owner: str = _used("Haidra-Org", "User or organisation that owns the repository.")
    name: str
    branch: str = _used("main", "Branch that is read.")
    proxy_settings: GithubProxySettings | None = _used(None, "A relay, as JSON; unset: `GITHUB_PROXY_URL_BASE`.")

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

    name: str = _used("AI-Horde-image-model-reference", "Name of the repository.")


class TextGithubRepoSettings(GithubRepoSettings):
    """The repository of the text models."""

    name: str = _used("AI-Horde-text-model-reference", "Name of the repository.")


def _group(kind: type[BaseModel], heading: str) -> Any:
    return Field(default_factory=kind, description=heading)


class HordeModelReferenceSettings(BaseSettings):
    """All settings of this package. Attributes can be assigned to; what was built from them already stays as it is.

    Raises pydantic's `ValidationError`, a `ValueError`, for a bad value; `get_settings` words it for the operator.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", hide_input_in_errors=True
    )

    replicate_mode: ReplicateMode = setting(
        ReplicateMode.REPLICA, "`PRIMARY` owns the reference, `REPLICA` reads it. Any case.", by="library, service"
    )
    offline: bool = _used(False, "Read from the local disk only: no network at all, no Redis, no seeding.")
    make_folders: bool = _used(False, "Create the folders under the data root when the manager is built.")
    database_url: _DatabaseUrl = setting(None, "Database of a PRIMARY; unset: an SQLite file. Never shown.", by="store")
    mirror_enabled: bool = setting(
        True, "After each change, rewrite the JSON files that other programs read.", by="service, command line"
    )
    canonical_format: CanonicalFormat = setting(
        CanonicalFormat.v2, "Which format accepts writes: `v2` or `legacy`.", by="store, service"
    )
    primary_api_url: str | None = _used("https://models.aihorde.net/api", "PRIMARY that a REPLICA reads; empty: none.")
    primary_api_timeout: int = _used(10, "Seconds to wait for the PRIMARY to answer.", gt=0)
    first_load_timeout_seconds: float = _used(10.0, "Seconds a read waits for the network in all, if it must.", gt=0)
    follow_changes: bool = _used(True, "A REPLICA has PRIMARY hold its question until a change; off: it polls.")
    max_lost_share: float = _used(
        0.5, "Share of a category's records that may be gone at once before an answer is not believed.", ge=0, le=1
    )
    max_response_bytes: int = _used(32 * 1024 * 1024, "Largest HTTP answer that is read, in bytes, decompressed.", gt=0)
    cache_ttl_seconds: int = _used(60, "Seconds after which data is refreshed; not above 0: as soon as can be.")
    enable_github_fallback: bool = _used(True, "A REPLICA reads GitHub when the PRIMARY does not answer.")
    github_seed_enabled: bool = setting(False, "A PRIMARY with no data takes it from GitHub. Refused in REPLICA mode.")
    legacy_download_retry_max_attempts: int = setting(3, "Attempts to download a legacy file.")
    legacy_download_retry_backoff_seconds: int = setting(2, "Seconds between these attempts.")
    cache_hydration_enabled: bool = setting(False, "Refresh AI Horde statistics in the background.")
    cache_hydration_interval_seconds: int = setting(240, "Seconds between these refreshes.")
    cache_hydration_stale_ttl_seconds: int = setting(3600, "Seconds for which old statistics are still served.")
    cache_hydration_startup_delay_seconds: int = setting(5, "Seconds from the start to the first such refresh.")
    horde_api_timeout: int = setting(30, "Seconds to wait for the AI Horde to answer.")
    horde_api_cache_ttl: int = setting(60, "Seconds for which an answer of the AI Horde is kept.")
    statistics_cache_ttl: int = setting(300, "Seconds for which computed statistics are kept.")
    deletion_risk_cache_ttl: int = setting(300, "Seconds for which a deletion-risk report is kept.")
    enable_statistics_precompute: bool = setting(False, "Reserved; has no effect.")
    preferred_file_hosts: _Texts = setting(["huggingface.co"], "Hosts that model files should be downloaded from.")
    low_usage_threshold_percentage: float = setting(
        0.0065, "Share of its category's monthly use, in percent, below which an image model counts as little used."
    )
    text_gen_low_usage_threshold_percentage: float = setting(0.02, "The same for text models.")
    text_gen_ignore_download_hosts: bool = setting(True, "Do not judge text models by their download hosts.")
    text_gen_critical_usage_threshold: int = setting(10, "Monthly uses below which a workerless model is critical.")
    text_gen_critical_worker_threshold: int = setting(1, "Workers below which a little-used text model is critical.")
    cors_allowed_origins: _LooseTexts = setting([], "Web origins that may call; `*`: any; empty: none.", by="service")
    image_github_repo: ImageGithubRepoSettings = _group(ImageGithubRepoSettings, "GitHub: image categories")
    text_github_repo: TextGithubRepoSettings = _group(TextGithubRepoSettings, "GitHub: text models")
    redis: RedisSettings = _group(RedisSettings, "Redis")
    audit: AuditSettings = _group(AuditSettings, "Audit files")
    pending_queue: PendingQueueSettings = _group(PendingQueueSettings, "Pending queue")
    licensing: LicensingSettings = _group(LicensingSettings, "Licensing")
    text_guidance: TextGuidanceSettings = _group(TextGuidanceSettings, "Text guidance")
    image_baselines: ImageBaselineSettings = _group(ImageBaselineSettings, "Image baselines")
    service: ServiceSettings = _group(ServiceSettings, "HTTP service")
    r2: R2Settings = _group(R2Settings, "Mirror of model files (R2)")

    _given: dict[Path, Origin] = PrivateAttr(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._given = dict.fromkeys(_paths_in(values), "argument")
        for level, text, turned_off in _combinations(self):
            _log.log(level, text)
            for path in turned_off:
                self._turn_off(*path)

    def _turn_off(self, name: str, inner: str = "") -> None:
        """A group is replaced, not changed: the caller may have passed it and own it."""
        value = getattr(self, name)
        if getattr(value, inner) if inner else value:
            self._given[(name, inner) if inner else (name,)] = "rule"
        setattr(self, name, value.model_copy(update={inner: False}) if inner else False)

    def origins(self) -> dict[Path, Origin]:
        """Where the values are from that were given, or turned off; what is not in it is as it was, or was assigned."""
        return {**dict.fromkeys(_paths_in(_CapturedSource(type(self))()), "environment"), **self._given}

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: _Source, *_: _Source, **_others: _Source
    ) -> tuple[_Source, ...]:
        """Arguments, then the captured environment; neither `.env` files nor `os.environ` as it is now."""
        return init_settings, _CapturedSource(settings_cls)


class _CapturedSource(EnvSettingsSource):
    """The captured variables in place of `os.environ` as it is now. Unknown ones with our prefix are ignored."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        given = ((name.lower(), value) for name, value in captured().items())
        self.env_vars = dict(sorted(given, key=lambda pair: pair[0].count("__")))  # a whole group, then its fields

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Groups are decoded; lists, and what is no object, are left to validation, which names the variable."""
        is_group = get_origin(field.annotation) is not list and value.lstrip().startswith("{")
        try:
            return json.loads(value) if is_group else value
        except ValueError:
            return value

    def __call__(self) -> dict[str, Any]:
        """The values by nested field name; a relay for all of GitHub stands in both repositories."""
        tree = super().__call__()
        relay = captured().get("GITHUB_PROXY_URL_BASE")
        for repository in ("image_github_repo", "text_github_repo") if relay else ():
            group = tree.setdefault(repository, {})
            if isinstance(group, dict):
                group.setdefault("proxy_settings", {"github_proxy_url_base": relay})
        return tree


_REDIS: Path = ("redis", "use_redis")
_SEED: Path = ("github_seed_enabled",)


def _combinations(s: HordeModelReferenceSettings) -> Iterator[tuple[int, str, tuple[Path, ...]]]:
    """Level, text and what to turn off of each that applies; a later one sees what an earlier one turned off."""
    replica = s.replicate_mode is ReplicateMode.REPLICA
    legacy = s.canonical_format is CanonicalFormat.legacy
    if s.offline:
        yield logging.INFO, "offline: the local disk is read; PRIMARY, GitHub, Redis are not contacted", (_REDIS, _SEED)
    if replica and s.redis.use_redis:
        yield logging.WARNING, "USE_REDIS is ignored: Redis connects PRIMARY processes, this is a REPLICA", (_REDIS,)
    if replica and s.github_seed_enabled:
        yield logging.WARNING, "GITHUB_SEED_ENABLED is ignored: only a PRIMARY is seeded, this is a REPLICA", (_SEED,)
    if replica and not s.offline and not s.primary_api_url:
        yield logging.WARNING, "PRIMARY_API_URL is empty: this REPLICA has no PRIMARY to read", ()
    if not replica and not s.redis.use_redis:
        yield logging.INFO, "PRIMARY without REDIS__USE_REDIS: processes on other hosts hear of changes late", ()
    if legacy and replica:
        yield logging.WARNING, "CANONICAL_FORMAT=legacy says where writes go, but a REPLICA accepts none", ()
    if legacy and not replica:
        yield logging.INFO, "canonical format legacy: the v1 routes accept writes, the v2 routes are read-only", ()


# ---- the settings of this process ----

_lock = ForkLock()
_settings: HordeModelReferenceSettings | None = None


def get_settings() -> HordeModelReferenceSettings:
    """The settings of this process, built on first use; until that works, `SettingsInvalid` names each bad variable."""
    global _settings  # noqa: PLW0603  (the singleton that is documented)
    with _lock:
        if _settings is None:
            _settings = make_settings()
        return _settings


def make_settings(**values: Any) -> HordeModelReferenceSettings:
    """Settings of one's own: these values over the captured environment. Raises `SettingsInvalid`."""
    try:
        return HordeModelReferenceSettings(**values)
    except ValidationError as error:
        problems = []
        for detail in error.errors(include_url=False):
            path, given = tuple(part for part in detail["loc"] if isinstance(part, str)), detail["input"]
            shown = "" if path in SECRETS or not isinstance(given, str | int | float) else f", is {masked(repr(given))}"
            problems.append((variable_name(path), detail["msg"] + shown))
        raise SettingsInvalid(tuple(problems)) from None


def variable_name(path: Path) -> str:
    """The environment variable of the setting at `path`."""
    return ENV_PREFIX + "__".join(path).upper()


def __getattr__(name: str) -> object:
    if name == "horde_model_reference_settings":
        return get_settings()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
