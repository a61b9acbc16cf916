"""What the name of a text model says: size, version, quantisation, variant, and the group it belongs to.

Names are not regular, so the parser takes pieces out of the name one kind after the other (README §6 of the contract);
what is left is the base name. A kind is a row of `_STEPS`: patterns of which the first that is found anywhere wins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from horde_model_reference.domain.names import MAX_NAME_LENGTH
from horde_model_reference.domain.vocabulary import TEXT_BACKENDS

__all__ = ["BACKEND_PREFIXES", "TEXT_LEGACY_BACKEND_PREFIXES", "ParsedTextName"]
__all__ += ["get_model_name_variants", "has_legacy_text_backend_prefix", "parse_text_model_name"]
__all__ += ["strip_backend_prefix", "text_model_group"]

TEXT_LEGACY_BACKEND_PREFIXES = {backend: f"{backend}/" for backend in TEXT_BACKENDS}
"""What workers put before the name of a model to say which program runs it."""
BACKEND_PREFIXES = tuple(TEXT_LEGACY_BACKEND_PREFIXES.values())


@dataclass(frozen=True, slots=True)
class ParsedTextName:
    """The pieces of one name. `size` and `quant` are upper case, `version` and `variant` as written."""

    original_name: str
    base_name: str
    size: str | None = None
    version: str | None = None
    quant: str | None = None
    variant: str | None = None


def _any_case(*patterns: str, edges: tuple[str, str] = ("", "")) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(f"{edges[0]}(?:{each}){edges[1]}", re.IGNORECASE | re.ASCII) for each in patterns)


_ALONE, _WORD = (r"(?<![a-z\d])", r"(?![a-z\d])"), (r"\b", r"\b")
_STEPS: dict[str, tuple[re.Pattern[str], ...]] = {
    "leading version": _any_case(r"\A\d+\.\d+(?:\.\d+)?(?=[-_])"),
    "size": _any_case(r"(?<![a-z])\d+(?:\.\d+)?[bmk]\d*(?![a-z])", r"\d+x\d+(?:\.\d+)?[bmk](?![a-z])"),
    "version": _any_case(r"v\d+(?:\.\d+)+", r"v\d+(?!\.)", edges=_ALONE),
    "quant": _any_case(
        "q[2-8]_k(?:_[smlh])?", "q[2-8]_[01]", "q[2-8]", "gguf|ggml|gptq|awq|exl2", "fp16|fp32|int8|int4", edges=_WORD
    ),
    "variant": _any_case(
        "instruct|chat|code|base|uncensored|finetune|ft", "thinking|reasoning", "turbo|preview|latest", edges=_WORD
    ),
    "date": _any_case(r"\d{2}-\d{4}", r"\d{4}-\d{2}", r"\d{4}", edges=_ALONE),
}


def parse_text_model_name(name: str) -> ParsedTextName:
    """Take `name` apart, as given: author and backend prefix stay in the base name. Never fails.

    A name of which nothing would be left is its own base name, and so is one that no model may have.
    Example: `Llama-3-8B-Instruct-Q4_K_M` is base `Llama-3`, size `8B`, variant `Instruct`, quant `Q4_K_M`.
    """
    if len(name) > MAX_NAME_LENGTH:  # the patterns take the square of its length
        return ParsedTextName(name, name)
    rest, found = name, dict[str, str]()
    for kind, patterns in _STEPS.items():
        match = next((match for pattern in patterns if (match := pattern.search(rest))), None)
        if match is not None:
            rest = rest[: match.start()] + rest[match.end() :]
            found[kind] = match[0].upper() if kind in ("size", "quant") else match[0]
    base = re.sub(r"([-_ .])\1+", r"\1", rest).strip("-_ .") or name
    return ParsedTextName(name, base, found.get("size"), found.get("version"), found.get("quant"), found.get("variant"))


def text_model_group(name: str) -> str:
    """The group of a model: what its name has in common with the other sizes, versions and quantisations of it."""
    bare = strip_backend_prefix(name)
    return parse_text_model_name(bare.partition("/")[2] or bare).base_name


def has_legacy_text_backend_prefix(name: str) -> bool:
    """Whether the name is one by which a backend announces a model; letter case counts."""
    return name.startswith(BACKEND_PREFIXES)


def get_model_name_variants(canonical_name: str) -> list[str]:
    """The model's own name and each backend's: `a/m` gives `["a/m", "aphrodite/a/m", "koboldcpp/m"]`."""
    without_author = canonical_name.partition("/")[2] or canonical_name
    return [canonical_name, f"aphrodite/{canonical_name}", f"koboldcpp/{without_author}"]


def strip_backend_prefix(name: str) -> str:
    """`name` without one leading `aphrodite/` or `koboldcpp/`, in exactly this case."""
    return name.partition("/")[2] if has_legacy_text_backend_prefix(name) else name
