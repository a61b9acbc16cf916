"""Every setting: its name in the environment, type, default, meaning, and what reads it.

The fields of `HordeModelReferenceSettings` are the single table from which the parsing, `hmr config`,
`docs/configuration.md` and `.env.example` all come. Values are taken from the environment as it was captured at import
(`_environment`); keyword arguments override them. Combinations that cannot work together are put right by
`_RULES` when an object is made, each with a line in the log. Only `wiring` reads settings; the rest gets arguments.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic import PrivateAttr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from horde_model_reference._environment import captured
from horde_model_reference._settings_groups import (
    DEFAULT_AUDIT_MAX_SEGMENT_BYTES,
    DEFAULT_PENDING_QUEUE_SEGMENT_BYTES,
    GITHUB_IMAGE_REPO_NAME,
    GITHUB_REPO_BRANCH,
    GITHUB_REPO_OWNER,
    GITHUB_TEXT_REPO_NAME,
    AuditSettings,
    CanonicalFormat,
    DatabaseUrl,
    Format,
    GithubProxySettings,
    GithubRepoSettings,
    ImageBaselineSettings,
    ImageGithubRepoSettings,
    LicensingSettings,
    LooseTexts,
    Mode,
    PendingQueueSettings,
    R2Settings,
    RedisSettings,
    ReplicateMode,
    TextGithubRepoSettings,
    TextGuidanceSettings,
    Texts,
    group_of,
    setting,
)
from horde_model_reference._settings_reading import (
    ENV_PREFIX,
    Path,
    environment_tree,
    masked,
    paths_in,
    variable_name,
)
from horde_model_reference.errors import SettingsInvalid

__all__ = [
    "DEFAULT_AUDIT_MAX_SEGMENT_BYTES",
    "DEFAULT_PENDING_QUEUE_SEGMENT_BYTES",
    "ENV_PREFIX",
    "GITHUB_IMAGE_REPO_NAME",
    "GITHUB_REPO_BRANCH",
    "GITHUB_REPO_OWNER",
    "GITHUB_TEXT_REPO_NAME",
    "AuditSettings",
    "CanonicalFormat",
    "GithubProxySettings",
    "GithubRepoSettings",
    "HordeModelReferenceSettings",
    "ImageBaselineSettings",
    "ImageGithubRepoSettings",
    "LicensingSettings",
    "Origin",
    "PendingQueueSettings",
    "R2Settings",
    "RedisSettings",
    "ReplicateMode",
    "TextGithubRepoSettings",
    "TextGuidanceSettings",
    "get_settings",
    "github_proxy_settings",
    "horde_model_reference_settings",
]

github_proxy_settings: GithubProxySettings
horde_model_reference_settings: HordeModelReferenceSettings

Origin: TypeAlias = Literal["default", "environment", "argument", "rule"]
"""Where a value is from; `rule` is a combination rule that turned the setting off."""

SECRETS: frozenset[Path] = frozenset({("database_url",), ("r2", "upload_secret_access_key")})
"""Settings that are never shown. In others only the passwords inside URLs are masked."""

_log = logging.getLogger(__name__)


class HordeModelReferenceSettings(BaseSettings):
    """All settings of this package. Attributes can be assigned to; what was built from them already stays as it is.

    Raises pydantic's `ValidationError`, a `ValueError`, for a bad value; `get_settings` words it for the operator.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", hide_input_in_errors=True
    )

    replicate_mode: Mode = setting(
        ReplicateMode.REPLICA,
        "`PRIMARY` owns the reference and accepts writes, `REPLICA` only reads it. Any letter case.",
        read_by="library, service",
    )
    offline: bool = setting(
        False, "Read from the local disk only: no network at all, no Redis, no seeding.", read_by="library"
    )
    make_folders: bool = setting(
        False, "Create the folders under the data root when the manager is built.", read_by="library"
    )
    database_url: DatabaseUrl = setting(
        None, "Database of a PRIMARY; unset: an SQLite file under the data root. Never shown.", read_by="store"
    )
    mirror_enabled: bool = setting(
        True, "After each change, rewrite the JSON files that other programs read.", read_by="store"
    )
    canonical_format: Format = setting(
        CanonicalFormat.v2, "Which format accepts writes: `v2` or `legacy`.", read_by="store, service"
    )
    primary_api_url: str | None = setting(
        "https://models.aihorde.net/api",
        "Where a REPLICA reads the reference; empty: it has no PRIMARY.",
        read_by="library",
    )
    primary_api_timeout: int = setting(10, "Seconds to wait for the PRIMARY to answer.", read_by="library")
    first_load_timeout_seconds: float = setting(
        10.0, "Seconds that the very first read may wait for the network before it uses local data.", gt=0
    )
    max_response_bytes: int = setting(
        64 * 1024 * 1024, "Largest HTTP answer that is read, in bytes after decompression.", read_by="library", gt=0
    )
    cache_ttl_seconds: int = setting(
        60, "Seconds after which data counts as old and is refreshed; not above 0: always.", read_by="library"
    )
    enable_github_fallback: bool = setting(True, "A REPLICA reads GitHub when the PRIMARY does not answer.")
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
    preferred_file_hosts: Texts = setting(["huggingface.co"], "Hosts that model files should be downloaded from.")
    low_usage_threshold_percentage: float = setting(
        0.0065, "Share of its category's monthly use, in percent, below which an image model counts as little used."
    )
    text_gen_low_usage_threshold_percentage: float = setting(0.02, "The same for text models.")
    text_gen_ignore_download_hosts: bool = setting(True, "Do not judge text models by their download hosts.")
    text_gen_critical_usage_threshold: int = setting(
        10, "Monthly uses below which a text model without workers is critical."
    )
    text_gen_critical_worker_threshold: int = setting(1, "Workers below which a little-used text model is critical.")
    cors_allowed_origins: LooseTexts = setting(
        [], "Web origins that may call the service from a browser; `*` is any, empty is none."
    )
    image_github_repo: ImageGithubRepoSettings = group_of(ImageGithubRepoSettings, "GitHub: image categories")
    text_github_repo: TextGithubRepoSettings = group_of(TextGithubRepoSettings, "GitHub: text models")
    redis: RedisSettings = group_of(RedisSettings, "Redis")
    audit: AuditSettings = group_of(AuditSettings, "Audit files")
    pending_queue: PendingQueueSettings = group_of(PendingQueueSettings, "Pending queue")
    licensing: LicensingSettings = group_of(LicensingSettings, "Licensing")
    text_guidance: TextGuidanceSettings = group_of(TextGuidanceSettings, "Text guidance")
    image_baselines: ImageBaselineSettings = group_of(ImageBaselineSettings, "Image baselines")
    r2: R2Settings = group_of(R2Settings, "Mirror of model files (R2)")

    _arguments: frozenset[Path] = PrivateAttr(default=frozenset())
    _overruled: frozenset[Path] = PrivateAttr(default=frozenset())

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._arguments = frozenset(paths_in(values))
        for rule in _RULES:
            if rule.applies(self):
                _log.log(rule.level, rule.text)
                self._overruled |= frozenset(path for path in rule.turns_off if _turn_off(self, path))

    def origin(self, path: Path) -> Origin:
        """Where the value of the setting at `path` is from; what was assigned later counts as an argument."""
        owner = self if len(path) == 1 else getattr(self, path[0])
        origins: tuple[tuple[Origin, bool], ...] = (
            ("rule", path in self._overruled),
            ("argument", path in self._arguments),
            ("environment", path in paths_in(environment_tree(type(self), captured()))),
            ("default", getattr(owner, path[-1]) == type(owner).model_fields[path[-1]].default),
        )
        return next((origin for origin, holds in origins if holds), "argument")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the signature is pydantic-settings')
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the captured environment; neither `.env` files nor `os.environ` as it is now."""
        return init_settings, _CapturedEnvironment(settings_cls)


@dataclass(frozen=True)
class _Rule:
    """A combination that cannot work as asked: what is said of it, and what is turned off because of it."""

    applies: Callable[[HordeModelReferenceSettings], bool]
    level: int
    text: str
    turns_off: tuple[Path, ...] = ()


_USE_REDIS: Path = ("redis", "use_redis")
_SEED: Path = ("github_seed_enabled",)


def _replica(settings: HordeModelReferenceSettings) -> bool:
    return settings.replicate_mode is ReplicateMode.REPLICA


# In order: a later rule sees what an earlier one has turned off.
_RULES: tuple[_Rule, ...] = (
    _Rule(
        lambda s: s.offline,
        logging.INFO,
        "offline: the reference is read from the local disk only; PRIMARY, GitHub and Redis are not contacted",
        (_USE_REDIS, _SEED),
    ),
    _Rule(
        lambda s: _replica(s) and s.redis.use_redis,
        logging.WARNING,
        f"{ENV_PREFIX}REDIS__USE_REDIS is ignored: Redis connects PRIMARY processes, and this is a REPLICA",
        (_USE_REDIS,),
    ),
    _Rule(
        lambda s: _replica(s) and s.github_seed_enabled,
        logging.WARNING,
        f"{ENV_PREFIX}GITHUB_SEED_ENABLED is ignored: only a PRIMARY is seeded, and this is a REPLICA",
        (_SEED,),
    ),
    _Rule(
        lambda s: _replica(s) and not s.offline and not s.primary_api_url,
        logging.WARNING,
        f"{ENV_PREFIX}PRIMARY_API_URL is empty: this REPLICA has no PRIMARY and reads GitHub, which is slower",
    ),
    _Rule(
        lambda s: not _replica(s) and not s.redis.use_redis,
        logging.INFO,
        f"PRIMARY without Redis: processes on other hosts hear of changes late; see {ENV_PREFIX}REDIS__USE_REDIS",
    ),
    _Rule(
        lambda s: _replica(s) and s.canonical_format is CanonicalFormat.legacy,
        logging.WARNING,
        f"{ENV_PREFIX}CANONICAL_FORMAT=legacy says where writes go, but a REPLICA accepts none",
    ),
    _Rule(
        lambda s: not _replica(s) and s.canonical_format is CanonicalFormat.legacy,
        logging.INFO,
        "canonical format legacy: the v1 routes accept writes, the v2 routes are read-only",
    ),
)


def _turn_off(settings: HordeModelReferenceSettings, path: Path) -> bool:
    """True where it was on. A group is replaced, not changed: the caller may have passed it and own it."""
    owner = settings if len(path) == 1 else getattr(settings, path[0])
    was_on = bool(getattr(owner, path[-1]))
    if owner is settings:
        setattr(settings, path[0], False)
    else:
        setattr(settings, path[0], owner.model_copy(update={path[-1]: False}))
    return was_on


class _CapturedEnvironment(PydanticBaseSettingsSource):
    """The captured variables as one tree, in place of pydantic-settings' own reading of `os.environ`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(environment_tree(HordeModelReferenceSettings, captured()))


# ---- the settings of this process ----

_lock = threading.Lock()
_settings: HordeModelReferenceSettings | None = None


def get_settings() -> HordeModelReferenceSettings:
    """The settings of this process, built on first use from the captured environment.

    Raises `SettingsInvalid`, which names each bad variable and what is allowed; the next call tries again.
    """
    global _settings  # noqa: PLW0603  (the singleton that is documented)
    with _lock:
        if _settings is None:
            try:
                _settings = HordeModelReferenceSettings()
            except ValidationError as error:
                raise SettingsInvalid(_problems(error)) from None
        return _settings


_ALLOWED = {
    "bool_parsing": "must be true or false",
    "float_parsing": "must be a number",
    "greater_than": "must be greater than 0",
    "int_parsing": "must be a whole number",
    "list_type": "must be a list: comma separated, or a JSON array",
    "model_type": "must be a JSON object",
    "string_type": "must be a list of strings, as JSON strings",
}


def _problems(error: ValidationError) -> tuple[tuple[str, str], ...]:
    problems = []
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if isinstance(part, str))
        reason = _ALLOWED.get(detail["type"], detail["msg"].removeprefix("Value error, "))
        given = detail["input"]
        shown = "" if path in SECRETS or not isinstance(given, str | int | float) else f", is {masked(repr(given))}"
        problems.append((variable_name(path), reason + shown))
    return tuple(problems)


def __getattr__(name: str) -> object:
    if name == "horde_model_reference_settings":
        return get_settings()
    if name == "github_proxy_settings":
        return GithubProxySettings(github_proxy_url_base=captured().get("GITHUB_PROXY_URL_BASE") or None)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
