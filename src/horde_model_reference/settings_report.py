"""The settings as people see them: for `hmr config`, the configuration page and `.env.example`. Secrets are masked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from horde_model_reference._environment import captured
from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.horde_environment import HordeEnvironment
from horde_model_reference.settings import SECRETS, HordeModelReferenceSettings, Origin, Path, masked, variable_name

__all__ = ["SettingRow", "describe_settings"]


@dataclass(frozen=True)
class SettingRow:
    """One setting as shown to people, every secret masked. `status` names what reads it, or is `not read yet`.

    `group` is the attribute of the group it is in, empty for the plain ones, `environment` for variables that the
    programs of the AI Horde share; `heading` says it in words.
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
    shared, heading = HordeEnvironment.read(captured()), "Variables shared by the programs of the AI Horde"
    given: dict[Path, Origin] = dict.fromkeys(((name,) for name in shared.model_fields_set), "environment")
    own = _rows(settings, settings.origins(), variable_name)
    return [*own, *_rows(shared, given, lambda path: path[0].upper(), "environment", heading)]


def _rows(
    values: BaseModel, origins: Mapping[Path, Origin], env: Callable[[Path], str], group: str = "", heading: str = ""
) -> Iterator[SettingRow]:
    for path, field, own_heading in _leaves(type(values)):
        value: object = values
        for name in path:
            value = getattr(value, name, None)
        kind = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
        extra = field.json_schema_extra
        yield SettingRow(
            env=env(path),
            attribute=".".join(path),
            type=re.sub(r"\b\w+\.", "", kind).replace("SecretStr", "URL"),
            default=_shown(field.default, path),
            value=_shown(value, path),
            origin=origins.get(path, "default" if value == field.default else "argument"),
            description=field.description or "",
            status=str((extra.get("read_by") if isinstance(extra, dict) else None) or "not read yet"),
            group=group or (path[0] if len(path) > 1 else ""),
            heading=heading or own_heading,
        )


def _leaves(kind: type[BaseModel], above: Path = (), heading: str = "") -> Iterator[tuple[Path, FieldInfo, str]]:
    """Every setting of a model: where it is, its field, and the description of the group that it is in."""
    for name, field in kind.model_fields.items():
        path = (*above, name)
        candidates = (field.annotation, *getattr(field.annotation, "__args__", ()))
        group = next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)
        if above or not group:
            yield path, field, heading
        if group:
            yield from _leaves(group, path, heading or field.description or "")


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
