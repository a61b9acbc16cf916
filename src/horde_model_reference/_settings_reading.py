"""How settings are written as text: names as paths, lists and objects, and what must not be shown of them.

Pure functions over the captured variables; which settings there are is told by the pydantic model that is passed in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from horde_model_reference.domain.findings import JsonObject, JsonValue

__all__ = [
    "ENV_PREFIX",
    "Path",
    "database_url",
    "environment_tree",
    "group_kind",
    "listed",
    "listed_loosely",
    "masked",
    "paths_in",
    "variable_name",
]

ENV_PREFIX = "HORDE_MODEL_REFERENCE_"
_DELIMITER = "__"

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


def listed_loosely(value: object) -> object:
    """The same, with whatever is in a JSON array made text and stripped."""
    items = listed(value)
    return [text for item in items if (text := str(item).strip())] if isinstance(items, list) else items


def database_url(value: object) -> object:
    """Empty counts as unset; what is no URL at all is refused."""
    if isinstance(value, str) and value and "://" not in value:
        raise ValueError("must be a URL such as postgresql://user:password@host/name or sqlite:///path/to/file")
    return value or None


def environment_tree(root: type[BaseModel], variables: Mapping[str, str]) -> JsonObject:
    """The values by nested field name. Variables with our prefix that are no setting are left out, not refused."""
    tree: JsonObject = {}
    ours = [name for name in variables if name.startswith(ENV_PREFIX)]
    for name in sorted(ours, key=lambda name: name.count(_DELIMITER)):  # a whole group first, then its single fields
        path = tuple(name.removeprefix(ENV_PREFIX).lower().split(_DELIMITER))
        if _is_setting(root, path):
            in_group = group_kind(root.model_fields[path[0]]) is not None
            _graft(tree, path, _object_or_text(variables[name]) if in_group else variables[name])
    _relay_github(tree, variables.get("GITHUB_PROXY_URL_BASE", ""))
    return tree


def _relay_github(tree: JsonObject, relay: str) -> None:
    for repository in ("image_github_repo", "text_github_repo") if relay else ():
        group = tree.setdefault(repository, {})
        if isinstance(group, dict):
            group.setdefault("proxy_settings", {"github_proxy_url_base": relay})


def _graft(tree: JsonObject, path: Path, value: JsonValue) -> None:
    for name in path[:-1]:
        below = tree.setdefault(name, {})
        if not isinstance(below, dict):  # the group as a whole is no object: validation will say so
            return
        tree = below
    tree[path[-1]] = value


def _object_or_text(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text) if text.lstrip().startswith("{") else text
    except ValueError:
        return text
    return value


def group_kind(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a group, or may be one."""
    candidates = (field.annotation, *getattr(field.annotation, "__args__", ()))
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _is_setting(root: type[BaseModel], path: Path) -> bool:
    kind: type[BaseModel] | None = root
    for name in path:
        if kind is None or name not in kind.model_fields:
            return False
        kind = group_kind(kind.model_fields[name])
    return True


def paths_in(values: Mapping[str, object], above: Path = ()) -> Iterator[Path]:
    """Every path at which something was given, groups and what is in them."""
    for name, value in values.items():
        path = (*above, name)
        yield path
        if isinstance(value, BaseModel):
            yield from paths_in(dict(value), path)
        elif isinstance(value, Mapping):
            yield from paths_in(value, path)


def variable_name(path: Path) -> str:
    """The environment variable of the setting at `path`."""
    return ENV_PREFIX + _DELIMITER.join(path).upper()


def masked(text: str) -> str:
    """Without what follows the user name in a URL, and without secrets among its parameters."""
    text = re.sub(r"://([^/@:\s]*:)?\S*@", lambda found: f"://{found[1] or ''}***@", text)
    return re.sub(r"(?i)([?&](?:\w*password|passwd|secret|token)=)[^&\s]*", r"\1***", text)
