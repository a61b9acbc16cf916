"""The environment as it was when the package was first imported: a variable changed after that has no effect.

It is the first module that `import horde_model_reference` runs, and so it imports next to nothing.
"""

from __future__ import annotations

import os
from types import MappingProxyType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["captured", "select"]

_PREFIXES = ("HORDE_MODEL_REFERENCE_", "HORDE_GITHUB_SYNC_", "GITHUB_APP_")
_NAMES = """
    AIWORKER_CACHE_HOME AI_HORDE_TESTING AI_HORDE_URL GITHUB_INSTALLATION_ID GITHUB_PROXY_URL_BASE GITHUB_TOKEN
    HORDELIB_CI_ONGOING HORDE_SDK_TESTING HORDE_URL LOGS_FOLDER RATINGS_URL TESTS_ONGOING
""".split()


def select(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The variables that concern us, read-only, names in upper case; where two differ in case only, upper case wins."""
    ours = {k: v for k, v in environment.items() if k.upper() in _NAMES or k.upper().startswith(_PREFIXES)}
    upper = {name.upper(): value for name, value in ours.items()}
    return MappingProxyType(upper | {name: value for name, value in ours.items() if name.isupper()})


def captured() -> Mapping[str, str]:
    """What `select` took from the process environment when this module was imported."""
    return _CAPTURED


_CAPTURED = select(os.environ)
