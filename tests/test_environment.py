"""The environment is remembered when the package is imported, and nothing else happens then."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from horde_model_reference._environment import captured, select
from horde_model_reference.horde_environment import HordeEnvironment


def python(code: str, **variables: str) -> str:
    """What a new interpreter with these variables prints for `code`."""
    environment = {name: value for name, value in os.environ.items() if name.upper() not in captured()}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


def test_only_our_variables_are_taken_and_names_become_upper_case() -> None:
    """Names are matched in any letter case; what is not ours stays out, secrets of other programs above all."""
    given = {"horde_model_reference_offline": "true", "AIWORKER_CACHE_HOME": "x", "PATH": "y", "AWS_SECRET": "z"}
    assert dict(select(given)) == {"HORDE_MODEL_REFERENCE_OFFLINE": "true", "AIWORKER_CACHE_HOME": "x"}


@pytest.mark.parametrize("reverse", [False, True])
def test_of_two_spellings_the_upper_case_one_wins(reverse: bool) -> None:
    """Whatever the order in which the environment lists them."""
    pairs = [("HORDE_URL", "upper"), ("horde_url", "lower")]
    assert select(dict(reversed(pairs) if reverse else pairs))["HORDE_URL"] == "upper"


def test_the_captured_environment_cannot_be_changed() -> None:
    """It is a view that refuses assignment."""
    view: Mapping[str, str] = captured()
    with pytest.raises(TypeError):
        view["HORDE_URL"] = "changed"  # type: ignore[index]


def test_a_variable_that_changes_after_the_import_has_no_effect() -> None:
    """Settings built later still see what was there at the import."""
    code = (
        "import os, horde_model_reference._environment; os.environ['HORDE_MODEL_REFERENCE_OFFLINE'] = 'false';"
        "from horde_model_reference.settings import HordeModelReferenceSettings as S; print(S().offline)"
    )
    assert python(code, HORDE_MODEL_REFERENCE_OFFLINE="true") == "True"


def test_capturing_imports_next_to_nothing() -> None:
    """No pydantic, no logging, no dataclasses: the module may cost a handful of imports."""
    code = (
        "import sys; before = set(sys.modules); import horde_model_reference._environment;"
        "print(len([name for name in set(sys.modules) - before if not name.startswith('horde_model_reference')]))"
    )
    assert int(python(code)) <= 5


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({}, "https://aihorde.net/api/"),
        ({"AI_HORDE_URL": "http://a/api/", "HORDE_URL": ""}, "http://a/api/"),
        ({"AI_HORDE_URL": "http://a/", "HORDE_URL": "http://b/api"}, "http://b/api/"),
    ],
)
def test_the_address_of_the_horde_ends_in_a_slash(variables: dict[str, str], address: str) -> None:
    """Paths are joined to it, so a missing slash would cut its last part off."""
    assert HordeEnvironment.read(variables).horde_url == address


def test_flags_of_test_runs_are_read_in_the_usual_spellings() -> None:
    """`1` and `True` are true, `0` and unset are not."""
    flags = HordeEnvironment.read({"AI_HORDE_TESTING": "True", "TESTS_ONGOING": "1", "HORDE_SDK_TESTING": "0"})
    assert flags == HordeEnvironment(tests_ongoing=True, ai_horde_testing=True)
