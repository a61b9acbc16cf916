"""What travels compressed: for whom, from which size, under which tags; and that nothing else differs."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horde_model_reference.domain.snapshots import content_etag
from horde_model_reference.service.answers import CODINGS, IDENTITY, Body, preferred_coding
from horde_model_reference.stores.sql import SqlStore
from tests.service.servers import unpacked

V2 = "/api/model_references/v2"
V1 = "/api/model_references/v1"


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", IDENTITY),
        ("gzip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("GZip ; Q=0.001", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("br, zstd;q=0.9, gzip;q=0.8", "br"),
        ("br;q=0.1, zstd;q=0.2, gzip", "gzip"),
        ("*", "zstd"),
        ("zstd;q=0, *", "br"),
        ("gzip, *;q=0", "gzip"),
        ("gzip, identity", "gzip"),
        ("identity;q=0.5, *;q=0.9", "zstd"),
        ("gzip;q=0", IDENTITY),
        ("gzip;q=0.000, br;q=0", IDENTITY),
        ("*;q=0", IDENTITY),
        ("compress, deflate", IDENTITY),
        ("identity, gzip;q=0.5", IDENTITY),
        ("gzip;q=2", IDENTITY),
        ("gzip;level=9", IDENTITY),
        ("xgzip, gzip2", IDENTITY),
    ],
)
def test_the_coding_is_the_one_the_reader_asks_for(accepted: str, coding: str) -> None:
    """RFC 9110, 12.5.3: weights, zero as a refusal, the star; what cannot be read counts as not said."""
    assert preferred_coding(accepted) == coding


@given(st.text(alphabet=st.sampled_from('gzipstdbr*identity;q=01.,- \t"é'), max_size=40))
def test_any_accept_encoding_leads_to_a_coding_that_we_have(accepted: str) -> None:
    """Readers send what they like."""
    assert preferred_coding(accepted) in {IDENTITY, *CODINGS}


def test_a_body_is_compressed_once_and_from_a_kilobyte_on() -> None:
    """The form is kept beside the body; what is small travels as it is."""
    assert Body(b"x" * 1023).coding("gzip") == IDENTITY
    body = Body(b"x" * 1024)
    assert body.coding("gzip") == "gzip"
    assert body.form("gzip") is body.form("gzip")
    assert gzip.decompress(body.form("gzip")) == body.form(IDENTITY) == body.data


@pytest.mark.parametrize("coding", CODINGS)
def test_every_large_body_is_the_same_in_every_form(client: httpx.Client, store: SqlStore, coding: str) -> None:
    """v1, v2, a model and the feed: same content, told apart by headers that caches understand; strong tags are of
    exactly the bytes that travel. Asked twice, since the second time another part of the service answers."""
    with store.begin(actor="tests") as unit:
        unit.put("clip", "long", json.dumps({"name": f"long {coding}", "description": "long " * 300}))
    changes = f"{V2}/changes?since={store.head() - 1}"
    paths = (f"{V2}/image_generation", f"{V1}/image_generation", f"{V2}/clip/model/long", changes)
    for path in (*paths, *paths):
        plain = client.get(path, headers={"accept-encoding": "identity"})
        with client.stream("GET", path, headers={"accept-encoding": coding}) as answer:
            packed = b"".join(answer.iter_raw())
        assert unpacked(packed, coding) == plain.content
        assert (answer.headers["content-encoding"], plain.headers.get("content-encoding")) == (coding, None)
        assert answer.headers["vary"] == plain.headers["vary"]
        assert "accept-encoding" in plain.headers["vary"].lower()
        assert plain.headers["etag"] == content_etag(plain.content)
        assert answer.headers["etag"] == content_etag(packed)
        assert answer.headers["content-length"] == str(len(packed))


@pytest.mark.parametrize("accepted", [*CODINGS, IDENTITY])
@pytest.mark.parametrize("has", [*CODINGS, IDENTITY])
def test_a_reader_of_either_form_is_told_that_it_is_current(client: httpx.Client, accepted: str, has: str) -> None:
    """Answered with the tag of the form that it has, so that a cache goes on with that one."""
    path = f"{V2}/image_generation"
    tag = client.get(path, headers={"accept-encoding": has}).headers["etag"]
    again = client.get(path, headers={"accept-encoding": accepted, "if-none-match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert "accept-encoding" in again.headers["vary"].lower()


def test_many_threads_that_ask_for_one_form_get_the_same() -> None:
    """Whoever comes while it is made waits for it."""
    body = Body(bytes(range(256)) * 40_000)
    with ThreadPoolExecutor(8) as threads:
        forms = list(threads.map(body.form, ["gzip"] * 8))
    assert len({id(form) for form in forms}) == 1
