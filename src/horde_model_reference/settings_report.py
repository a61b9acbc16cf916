"""The settings as people see them: for `hmr config`, the configuration page and `.env.example`. Secrets are masked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from horde_model_reference._environment import captured
from horde_model_reference._settings_reading import Path, leaves, masked
from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.horde_environment import HordeEnvironment
from horde_model_reference.settings import SECRETS, HordeModelReferenceSettings, Origin, variable_name

__all__ = ["SettingRow", "describe_settings"]


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
    return [*_own(settings), *_shared()]


def _own(settings: HordeModelReferenceSettings) -> Iterator[SettingRow]:
    origins = settings.origins()
    for path, field, heading in leaves(HordeModelReferenceSettings):
        value: object = settings
        for name in path:
            value = getattr(value, name, None)
        group = path[0] if len(path) > 1 else ""
        origin = origins.get(path, "default" if value == field.default else "argument")
        yield _row(variable_name(path), path, field, value, origin, group, heading)


def _shared() -> Iterator[SettingRow]:
    environment = HordeEnvironment.read(captured())
    for path, field, _ in leaves(HordeEnvironment):
        origin: Origin = "environment" if path[0] in environment.model_fields_set else "default"
        heading = "Variables shared by the programs of the AI Horde"
        yield _row(path[0].upper(), path, field, getattr(environment, path[0]), origin, "environment", heading)


def _row(env: str, path: Path, field: FieldInfo, value: object, origin: Origin, group: str, heading: str) -> SettingRow:
    name = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
    extra = field.json_schema_extra
    return SettingRow(
        env=env,
        attribute=".".join(path),
        type=re.sub(r"\b\w+\.", "", name).replace("SecretStr", "URL"),
        default=_shown(field.default, path),
        value=_shown(value, path),
        origin=origin,
        description=field.description or "",
        status=str((extra.get("read_by") if isinstance(extra, dict) else None) or "not read yet"),
        group=group,
        heading=heading,
    )


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
