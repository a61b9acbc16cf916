"""Variables that all programs of the AI Horde share: where a worker keeps its files, and flags of test runs.

Read from the captured environment on first use. Plain values, so that whoever needs only a path imports no settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from horde_model_reference._environment import captured

__all__ = ["AIHordeCISettings", "AIHordeWorkerSettings", "ai_horde_ci_settings", "ai_horde_worker_settings"]

ai_horde_worker_settings: AIHordeWorkerSettings
ai_horde_ci_settings: AIHordeCISettings

_TRUE = frozenset({"1", "on", "t", "true", "y", "yes"})


@dataclass(frozen=True)
class AIHordeWorkerSettings:
    """Where a worker keeps its files, and the addresses of the AI Horde; each address ends in `/`."""

    aiworker_cache_home: str = "./models"
    ai_horde_url: str = "https://aihorde.net/api/"
    ratings_url: str = "https://ratings.aihorde.net/api/"
    logs_folder: str = "./logs"

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> AIHordeWorkerSettings:
        """From environment variables; an empty one counts as unset."""
        horde = variables.get("HORDE_URL") or variables.get("AI_HORDE_URL") or cls.ai_horde_url
        return cls(
            aiworker_cache_home=variables.get("AIWORKER_CACHE_HOME") or cls.aiworker_cache_home,
            ai_horde_url=_with_slash(horde),
            ratings_url=_with_slash(variables.get("RATINGS_URL") or cls.ratings_url),
            logs_folder=variables.get("LOGS_FOLDER") or cls.logs_folder,
        )


@dataclass(frozen=True)
class AIHordeCISettings:
    """Flags of test runs. `ai_horde_testing` makes records refuse unknown fields."""

    tests_ongoing: bool = False
    hordelib_ci_ongoing: bool = False
    horde_sdk_testing: bool = False
    ai_horde_testing: bool = False

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> AIHordeCISettings:
        """From environment variables: 1, on, t, true, y and yes in any letter case are true, all else is false."""
        names = ("tests_ongoing", "hordelib_ci_ongoing", "horde_sdk_testing", "ai_horde_testing")
        return cls(**{name: variables.get(name.upper(), "").strip().lower() in _TRUE for name in names})


def _with_slash(address: str) -> str:
    return address if address.endswith("/") else f"{address}/"


@cache
def _worker() -> AIHordeWorkerSettings:
    return AIHordeWorkerSettings.read(captured())


@cache
def _ci() -> AIHordeCISettings:
    return AIHordeCISettings.read(captured())


_ON_FIRST_USE = {"ai_horde_worker_settings": _worker, "ai_horde_ci_settings": _ci}


def __getattr__(name: str) -> object:
    if name in _ON_FIRST_USE:
        return _ON_FIRST_USE[name]()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
