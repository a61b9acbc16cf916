"""The documented backends, as programs use them: what a manager has, and GitHub alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import horde_model_reference
from tests.reading.simulators import Asked, Loopback, Relay, http

FIXTURES = Path(__file__).parents[1] / "fixtures" / "legacy" / "image"
SOURCE = str(Path(horde_model_reference.__file__).parents[1])
_RAW = "/https://raw.githubusercontent.com/Haidra-Org/AI-Horde-image-model-reference/refs/heads/main/"

_ALONE = """
import json
from horde_model_reference.model_reference_manager import GitHubBackend
backend = GitHubBackend()
found = backend.fetch_category("esrgan", force_refresh=True)
told = {"names": list(found), "absent": backend.fetch_category("video_generation"), "writes": backend.supports_writes()}
print(json.dumps(told | dict(backend.get_statistics())))
"""

_FALLBACK = """
import json
from horde_model_reference import ModelReferenceManager
from horde_model_reference.backends import GitHubBackend, HTTPBackend, ModelReferenceBackend
from horde_model_reference.backends.http_backend import HTTPBackend as same
backend = ModelReferenceManager().backend
before = backend.get_statistics()["github_fallbacks"]
names = list(backend.fetch_category("esrgan", force_refresh=True))
after = backend.get_statistics()["github_fallbacks"]
kinds = [isinstance(backend, kind) for kind in (HTTPBackend, same, ModelReferenceBackend, GitHubBackend)]
print(json.dumps([before, after, names, kinds, backend.supports_writes()]))
"""


def _said(program: str, root: Path, relay: str, primary: str) -> object:
    """What a program prints that finds GitHub behind a relay."""
    ours = {"GITHUB_PROXY_URL_BASE": relay, "HORDE_MODEL_REFERENCE_PRIMARY_API_URL": primary}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HORDE")}
    environment = kept | ours | {"PYTHONPATH": SOURCE, "AIWORKER_CACHE_HOME": str(root)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def _esrgan() -> Relay:
    return Relay({f"{_RAW}esrgan.json": (FIXTURES / "esrgan.json").read_bytes()})


def test_github_alone_is_a_backend_that_needs_no_argument(tmp_path: Path) -> None:
    """Tests of reGen construct it so; the settings say where GitHub is."""
    names = list(json.loads((FIXTURES / "esrgan.json").read_bytes()))
    with Loopback(_esrgan()) as relay:
        told = _said(_ALONE, tmp_path, relay.url, "http://127.0.0.1:9/api")
    assert told == {"names": names, "absent": None, "writes": False, "categories": 1, "github_fallbacks": 1}
    assert not list(tmp_path.iterdir())


def test_a_rise_of_the_counter_says_that_github_answered_in_place_of_primary(tmp_path: Path) -> None:
    """The AI Horde refuses such data; where PRIMARY answers the counter stays."""
    names = list(json.loads((FIXTURES / "esrgan.json").read_bytes()))
    with Loopback(_esrgan()) as relay:
        told = _said(_FALLBACK, tmp_path / "dead", relay.url, "http://127.0.0.1:9/api")
        assert told == [0, 1, names, [True, True, True, False], False]

        def primary(asked: Asked) -> object:
            yield http(200, b'{"A": {"name": "A"}}') if asked.path.endswith("/esrgan") else http(404)

        with Loopback(primary) as server:  # type: ignore[arg-type]
            told = _said(_FALLBACK, tmp_path / "alive", relay.url, f"{server.url}/api")
    assert told == [0, 0, ["A"], [True, True, True, False], False]
