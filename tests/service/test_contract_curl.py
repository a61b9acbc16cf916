"""What people type: the reads as calls of curl, from either base; without curl, the same requests by other means."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from horde_model_reference.stores.sql import SqlStore

_CURL = shutil.which("curl")
_READS = """
    / /heartbeat /replicate_mode
    /model_references/v1/info /model_references/v1/model_categories
    /model_references/v1/stable_diffusion /model_references/v1/stable_diffusion.json /model_references/v1/blip.json
    /model_references/v1/image_generation /model_references/v1/text_generation /model_references/v1/db.json
    /model_references/v1/text_generation?include_group=true
    /model_references/v2/info /model_references/v2/model_categories
    /model_references/v2/image_generation /model_references/v2/text_generation /model_references/v2/clip
    /model_references/v2/image_generation/search?nsfw=false&limit=5&sort_by=name&sort_desc=true
    /model_references/v2/search?name_contains=a&tags_any=anime&tags_any=chat
    /model_references/v2/text_generation/search?backend=koboldcpp&quantized=false
    /model_references/v2/metadata/last_updated /model_references/v2/metadata/image_generation
    /model_references/v2/metadata/metadata /model_references/v2/metadata/blip/last_updated
    /model_references/v2/changes?since=0&limit=3 /model_references/v2/manifest
""".split()
_MANNERS = {
    "plain": ["-sS", "--fail"],
    "as the documentation page writes it": ["-sS", "--fail", "-X", "GET", "-H", "accept: application/json"],
    "compressed": ["-sS", "--fail", "--compressed"],
    "with a key": ["-sS", "--fail", "-H", "apikey: 0000000000"],
    "by an old program": ["-sS", "--fail", "--http1.0"],
}


@pytest.fixture
def base(client: httpx.Client) -> str:
    """The address of the service, without the prefix."""
    return str(client.base_url).rstrip("/")


def _read(url: str, *words: str) -> bytes:
    """What such a call prints. Fails where curl does: at a status of 400 and more."""
    if _CURL is None:
        return httpx.get(url, follow_redirects="-L" in words).raise_for_status().content
    return subprocess.run([_CURL, *words, url], capture_output=True, check=True, timeout=30).stdout


@pytest.mark.parametrize("manner", _MANNERS)
def test_every_documented_call_prints_the_same_from_either_base(manner: str, base: str, client: httpx.Client) -> None:
    """JSON, byte for byte what any other client gets."""
    for path in _READS:
        expected = client.get(path).content
        for prefix in ("", "/api"):
            printed = _read(base + prefix + path, *_MANNERS[manner])
            assert json.loads(printed) is not None
            assert printed == expected, (prefix, path)


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_model_is_read_by_any_spelling_of_its_name(prefix: str, base: str, store: SqlStore) -> None:
    """With raw and encoded slashes, spaces and other letters, by the route of its category."""
    spellings = {
        "Aut/hor Ünï": "Aut%2Fhor%20%C3%9Cn%C3%AF Aut/hor%20%C3%9Cn%C3%AF Aut/hor%20Ünï",
        "100%": "100%25",
        "a?b": "a%3Fb",
    }
    with store.begin(actor="tests") as unit:
        for name in spellings:
            unit.put("esrgan", name, json.dumps({"name": name}))
    for name, spelt in spellings.items():
        for spelling in spelt.split():
            url = f"{base}{prefix}/model_references/v2/esrgan/model/{spelling}"
            assert json.loads(_read(url, "-sS", "--fail"))["name"] == name
    with store.begin(actor="tests") as unit:
        for name in spellings:
            unit.delete("esrgan", name)


@pytest.mark.parametrize("path", ["/api", "/api/model_references/v2/blip/", "/model_references/v1/blip/"])
def test_a_slash_too_few_or_too_many_is_redirected(path: str, base: str, client: httpx.Client) -> None:
    """With 307, and `curl -L` finds what was meant."""
    assert client.get(path).status_code == 307
    url = f"{base}{path}"
    assert json.loads(_read(url, "-sS", "--fail", "-L")) == client.get(path, follow_redirects=True).json()


@pytest.mark.skipif(_CURL is None, reason="needs curl itself")
def test_a_file_is_only_fetched_again_when_it_changed(base: str, client: httpx.Client, tmp_path: Path) -> None:
    """`--etag-save` and `--etag-compare`, as in a cron job."""
    url, tag, file = f"{base}/model_references/v2/clip", tmp_path / "tag", tmp_path / "clip"
    words = ["-sS", "--fail", "-o", str(file), "-w", "%{http_code}", "--etag-save", str(tag)]
    assert _read(url, *words) == b"200"
    body = file.read_bytes()
    assert body == client.get("/model_references/v2/clip").content
    assert _read(url, *words, "--etag-compare", str(tag)) == b"304"
    assert file.read_bytes() == body


@pytest.mark.skipif(_CURL is None, reason="needs curl itself")
def test_curl_shows_the_head_alone(base: str) -> None:
    """`curl -I`: what a read would say of itself, and no body."""
    told = _read(f"{base}/api/model_references/v2/clip", "-sS", "--fail", "-I")
    assert told.startswith(b"HTTP/1.1 200 ")
    assert b"\r\netag: " in told
    assert told.endswith(b"\r\n\r\n")
