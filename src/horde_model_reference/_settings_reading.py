"""How settings are written as text: names as paths, lists and objects, and what must not be shown of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from pydantic import BaseModel
from pydantic.fields import FieldInfo

__all__ = ["ENV_PREFIX", "Path", "database_url", "leaves", "listed", "masked", "paths_in"]

ENV_PREFIX = "HORDE_MODEL_REFERENCE_"

Path: TypeAlias = "tuple[str, ...]"
"""Where a setting is: `("redis", "url")`."""


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


def database_url(value: object) -> object:
    """Empty counts as unset; what is no URL at all is refused."""
    if isinstance(value, str) and value and "://" not in value:
        raise ValueError("must be a URL such as postgresql://user:password@host/name or sqlite:///path/to/file")
    return value or None


def leaves(kind: type[BaseModel], above: Path = (), heading: str = "") -> Iterator[tuple[Path, FieldInfo, str]]:
    """Every setting of a model: where it is, its field, and the description of the group that it is in."""
    for name, field in kind.model_fields.items():
        path = (*above, name)
        candidates = (field.annotation, *getattr(field.annotation, "__args__", ()))
        group = next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)
        if above or not group:
            yield path, field, heading
        if group:
            yield from leaves(group, path, heading or field.description or "")


def paths_in(values: Mapping[str, object], above: Path = ()) -> Iterator[Path]:
    """Every path at which something was given, groups and what is in them."""
    for name, value in values.items():
        yield (*above, name)
        inner = dict(value) if isinstance(value, BaseModel) else value
        if isinstance(inner, Mapping):
            yield from paths_in(inner, (*above, name))


def masked(text: str) -> str:
    """Without what follows the user name in a URL, and without secrets among its parameters."""
    text = re.sub(r"://([^/@:\s]*:)?\S*@", lambda found: f"://{found[1] or ''}***@", text)
    return re.sub(r"(?i)([?&](?:\w*password|passwd|secret|token)=)[^&\s]*", r"\1***", text)
