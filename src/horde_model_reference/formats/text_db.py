"""Text models as the text repository's `db.json` has them: the v1 body, three entries a model.

Workers announce a model by its name or with their program's prefix; old clients look it up under what was announced.
Two authors who use the same model name share one `koboldcpp/` entry, and the later one is in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.domain.text_names import parse_text_model_name, text_model_group

__all__ = ["text_db", "with_groups"]

_AS_GIVEN = ("url", "instruct_format", "context_window", "interaction_modes", "capabilities")


def text_db(documents: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
    """Name -> entry for each of the three names of each v2 document."""
    rendered: dict[str, JsonObject] = {}
    for key, document in documents.items():
        model = _model_name(key)
        for name in (key, f"aphrodite/{key}", f"koboldcpp/{model}"):
            rendered[name] = _entry(name, model, document)
    return rendered


def with_groups(entries: Mapping[str, JsonObject]) -> dict[str, JsonObject]:
    """The same entries, each with its group and a summary of the group (prefixed copies count as members)."""
    members: dict[str, list[JsonObject]] = {}
    for name, entry in entries.items():
        members.setdefault(text_model_group(name), []).append(entry)
    summaries = {group: _summary(of_group) for group, of_group in members.items()}
    return {
        name: {
            **entry,
            "text_model_group": (group := text_model_group(name)),
            "text_model_group_summary": summaries[group],
        }
        for name, entry in entries.items()
    }


def _model_name(key: str) -> str:
    return key.split("/")[1] if "/" in key else key


def _entry(name: str, model: str, document: JsonObject) -> JsonObject:
    parameters = document.get("parameters")
    entry: JsonObject = {
        "name": name,
        "model_name": model,
        "baseline": document.get("baseline") or "",
        "parameters": parameters or None,
        "description": document.get("description") or "",
        "version": document.get("version") or "1",
        "style": document.get("style") or "generalist",
        "nsfw": bool(document.get("nsfw")),
        "tags": _tags(document),
    }
    display = document.get("display_name") or re.sub(" +", " ", re.sub("[-_]", " ", model)).strip()
    optional = {"settings": document.get("settings"), "display_name": display}
    optional |= {field: document.get(field) for field in _AS_GIVEN}
    return entry | {field: value for field, value in optional.items() if value}


def _tags(document: JsonObject) -> list[JsonValue]:
    tags, parameters = document.get("tags"), document.get("parameters")
    words = {str(tag) for tag in tags} if isinstance(tags, list) else set()
    if document.get("style"):
        words.add(str(document["style"]))
    words.add(f"{round(Fraction(parameters if isinstance(parameters, int) else 0, 10**9))}B")
    return [*sorted(words)]


def _summary(members: list[JsonObject]) -> JsonObject:
    parsed = [parse_text_model_name(str(member["model_name"])) for member in members]
    baselines = {str(member["baseline"]) for member in members if member["baseline"]}
    return {
        "member_count": len(members),
        "available_sizes": [*sorted({name.size for name in parsed if name.size})],
        "available_quants": [*sorted({name.quant for name in parsed if name.quant})],
        "common_baseline": baselines.pop() if len(baselines) == 1 else None,
    }
