"""What the name of a text model says: size, version, quantisation, variant, and the group it belongs to.

Names are not regular, so the parser takes pieces out of the name one kind after the other (README §6 of the contract);
what is left is the base name. Each kind is a row of `_STEPS`: patterns in order of preference, of which the first one
that is found anywhere wins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from horde_model_reference.domain.names import MAX_NAME_LENGTH

__all__ = ["BACKEND_PREFIXES", "ExtraPart", "ExtraPartType", "ParsedTextName", "parse_text_model_name"]
__all__ += ["strip_backend_prefix", "text_model_group"]

BACKEND_PREFIXES = ("aphrodite/", "koboldcpp/")
"""What workers put before the name of a model to say which program runs it."""


class ExtraPartType(StrEnum):
    """What a piece of a name that has no field of its own seems to be."""

    DATE = "DATE"
    DESCRIPTOR = "DESCRIPTOR"
    LEADING_VERSION = "LEADING_VERSION"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class ExtraPart:
    """A piece of a name that is neither size, version, quantisation nor variant.

    `position` counts the separators of the original name before the place where the piece was found. That place is
    one in the name as shortened so far, so the count is often too small; programs know it like this.
    """

    value: str
    position: int
    inferred_type: ExtraPartType


@dataclass(frozen=True, slots=True)
class ParsedTextName:
    """The pieces of one name. `size` and `quant` are upper case, `version` and `variant` as written."""

    original_name: str
    base_name: str
    size: str | None = None
    version: str | None = None
    quant: str | None = None
    variant: str | None = None
    extras: tuple[ExtraPart, ...] = ()


def _any_case(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE | re.ASCII) for pattern in patterns)


_ALONE, _END = r"(?<![a-z\d])", r"(?![a-z\d])"
_LEADING_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?(?=[-_])", re.ASCII)
_STEPS: dict[str, tuple[re.Pattern[str], ...]] = {
    "size": _any_case(r"(?<![a-z])\d+(?:\.\d+)?[bmk]\d*(?![a-z])", r"\d+x\d+(?:\.\d+)?[bmk](?![a-z])"),
    "version": _any_case(rf"{_ALONE}v\d+(?:\.\d+)+{_END}", rf"{_ALONE}v\d+(?![a-z\d.])"),
    "quant": _any_case(
        r"\bq[2-8]_k(?:_[smlh])?\b",
        r"\bq[2-8]_[01]\b",
        r"\bq[2-8]\b",
        r"\b(?:gguf|ggml|gptq|awq|exl2)\b",
        r"\b(?:fp16|fp32|int8|int4)\b",
    ),
    "variant": _any_case(
        r"\b(?:instruct|chat|code|base|uncensored|finetune|ft)\b",
        r"\b(?:thinking|reasoning)\b",
        r"\b(?:turbo|preview|latest)\b",
    ),
    "date": _any_case(*(_ALONE + date + _END for date in (r"\d{2}-\d{4}", r"\d{4}-\d{2}", r"\d{4}"))),
}
_UPPER_CASED = ("size", "quant")


def parse_text_model_name(name: str) -> ParsedTextName:
    """Take `name` apart, as given: author and backend prefix stay in the base name.

    Never fails; a name of which nothing would be left is its own base name, and so is one that no model may have.
    Example: `Llama-3-8B-Instruct-Q4_K_M` is base `Llama-3`, size `8B`, variant `Instruct`, quant `Q4_K_M`.
    """
    if len(name) > MAX_NAME_LENGTH:  # the patterns take the square of its length
        return ParsedTextName(name, name)
    rest, extras = name, []
    if leading := _LEADING_VERSION.match(rest):
        rest = rest[leading.end() :]
        extras.append(ExtraPart(leading[0], 0, ExtraPartType.LEADING_VERSION))
    found: dict[str, str | None] = {}
    for kind, patterns in _STEPS.items():
        match = next((match for pattern in patterns if (match := pattern.search(rest))), None)
        found[kind] = match and (match[0].upper() if kind in _UPPER_CASED else match[0])
        if match:
            rest = rest[: match.start()] + rest[match.end() :]
            if kind == "date":
                separators = re.findall("[-_. ]", name[: match.start()])
                extras.append(ExtraPart(match[0], len(separators), ExtraPartType.DATE))
    del found["date"]
    base = re.sub(r"([-_ .])\1+", r"\1", rest).strip("-_ .")
    return ParsedTextName(name, base or name, extras=tuple(extras), **found)


def text_model_group(name: str) -> str:
    """The group of a model: what its name has in common with the other sizes, versions and quantisations of it."""
    bare = strip_backend_prefix(name)
    return parse_text_model_name(bare.partition("/")[2] or bare).base_name


def strip_backend_prefix(name: str) -> str:
    """`name` without one leading `aphrodite/` or `koboldcpp/`, in exactly this case."""
    return name.partition("/")[2] if name.startswith(BACKEND_PREFIXES) else name
