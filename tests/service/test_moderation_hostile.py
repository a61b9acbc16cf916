"""A hundred bodies, names and headers of people who mean no good: each is refused or kept harmless, never a server
error, and the queue works for the others as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from horde_model_reference.domain.findings import JsonValue
from horde_model_reference.settings import CanonicalFormat
from tests.service.moderated import SHA, Moderated, blip, legacy_blip, moderated

V2 = CanonicalFormat.v2

BODIES = {
    "nothing": b"",
    "no JSON": b"{bad",
    "null": b"null",
    "a list": b"[]",
    "a list of records": b'[{"name":"x"}]',
    "a text": b'"x"',
    "a number": b"7",
    "true": b"true",
    "no name": b"{}",
    "half a character": b'{"name":"\xff"}',
    "a byte order mark": b'\xef\xbb\xbf{"name":"x"}',
    "UTF-16": '{"name":"x"}'.encode("utf-16"),
    "a zero byte": b'{"name":"x"}\x00',
    "two documents": b'{"name":"x"}{"name":"y"}',
    "a key twice": b'{"name":"x","name":"y"}',
    "a lone surrogate": b'{"name":"\\ud800"}',
    "a lone surrogate as a key": b'{"name":"x","\\udfff":1}',
    "NaN": b'{"name":"x","size_on_disk_bytes":NaN}',
    "Infinity": b'{"name":"x","size_on_disk_bytes":Infinity}',
    "1e999": b'{"name":"x","size_on_disk_bytes":1e999}',
    "a number of 5000 digits": b'{"name":"x","size_on_disk_bytes":' + b"9" * 5000 + b"}",
    "deep lists": b'{"name":"x","y":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"name":"x","y":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "never closed": b"[" * 500_000,
    "a million commas": b'{"name":"x"' + b"," * 1_000_000,
    "many keys": json.dumps({"name": "x", **{f"k{n}": n for n in range(50_000)}}).encode(),
    "a megabyte of text": json.dumps({"name": "x", "description": "d" * 1_000_000}).encode(),
    "too long": json.dumps({"name": "x", "description": "d" * 3_000_000}).encode(),
    "a form": b"name=x&description=y",
    "XML": b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00",
}
"""As they are on the wire."""
TOLERATED = ("many keys", "a megabyte of text", "a byte order mark", "a key twice", "no name")
"""A parser may read a record out of these, and of a key that is there twice the last one counts."""
NAMES: dict[str, JsonValue] = {
    "blank": " ",
    "empty": "",
    "a number": 7,
    "null": None,
    "a list": ["x"],
    "an object": {"x": 1},
    "true": True,
    "a backslash": "a\\b",
    "a line break": "a\nb",
    "a header": "a\r\nx-admin: 1",
    "a zero byte": "a\x00b",
    "an escape": "\x1b[31mred",
    "right to left": "a\u202eb",
    "zero width": "a\u200bb",
    "a private character": "a\ue000",
    "long": "x" * 10_000,
    "spaces around": " a ",
    "decomposed": "Une\u0308",
    "up": "../../etc/passwd",
    "an absolute path": "/etc/passwd",
    "a dot": ".",
    "two dots": "..",
    "a device": "CON",
    "SQL": "a'); DROP TABLE changes; --",
    "LIKE": "%_%",
    "a script": "<script>alert(1)</script>",
    "a template": "{{7*7}}${7*7}",
    "a format": "%s%n{0.__class__}",
    "a URL": "https://example.com/x?y#z",
    "a percent": "100%25",
    "an emoji": "👩‍👩‍👧‍👦",
    "a prototype": "__proto__",
    "a route": "pending",
    "another route": "model/x",
}
FILES: dict[str, JsonValue] = {
    "up": {"file_name": "../x", "file_url": "https://e.com/x", "sha256sum": SHA},
    "absolute": {"file_name": "/etc/passwd", "file_url": "https://e.com/x", "sha256sum": SHA},
    "a drive": {"file_name": "C:\\x", "file_url": "https://e.com/x", "sha256sum": SHA},
    "an encoded step": {"file_name": "..%2fx", "file_url": "https://e.com/x", "sha256sum": SHA},
    "a zero byte": {"file_name": "a\x00.pt", "file_url": "https://e.com/x", "sha256sum": SHA},
    "a file URL": {"file_name": "x", "file_url": "file:///etc/passwd", "sha256sum": SHA},
    "javascript": {"file_name": "x", "file_url": "javascript:alert(1)", "sha256sum": SHA},
    "a relative URL": {"file_name": "x", "file_url": "//e.com/x", "sha256sum": SHA},
    "no host": {"file_name": "x", "file_url": "https://", "sha256sum": SHA},
    "a broken host": {"file_name": "x", "file_url": "https://[::1/x", "sha256sum": SHA},
    "a broken port": {"file_name": "x", "file_url": "https://e.com:99999999/x", "sha256sum": SHA},
    "a URL with a line break": {"file_name": "x", "file_url": "https://e.com/\nx", "sha256sum": SHA},
    "half a hash": {"file_name": "x", "file_url": "https://e.com/x", "sha256sum": "a" * 63},
    "a hash that is none": {"file_name": "x", "file_url": "https://e.com/x", "sha256sum": "z" * 64},
    "a number as hash": {"file_name": "x", "file_url": "https://e.com/x", "sha256sum": 7},
    "a text": "x",
    "null": None,
    "a list": [[]],
    "nothing": {},
    "a negative size": {"file_name": "x", "file_url": "https://e.com/x", "sha256sum": SHA, "size_bytes": -1},
    "an endless size": {"file_name": "x", "file_url": "https://e.com/x", "sha256sum": SHA, "size_bytes": 10**400},
}
HARMLESS = {"an encoded step"}
"""Files that may be proposed: they name what they say, inside their folder."""
OTHERS: dict[str, dict[str, JsonValue]] = {
    "another class": {"record_type": "text_generation"},
    "no class": {"record_type": 7},
    "a record_type of nobody": {"record_type": "__class__"},
    "metadata as a text": {"metadata": "x"},
    "times to come": {"metadata": {"created_at": 10**18, "updated_by": "root"}},
    "config as a list": {"config": []},
    "downloads as an object": {"config": {"download": {}}},
    "many files": {"config": {"download": [FILES["nothing"]] * 10_000}},
    "a licence that is none": {"licensing": {"license_expression": "((("}},
    "licensing null": {"licensing": None},
    "a prototype": {"__proto__": {"admin": True}, "constructor": {"prototype": {}}},
}
HEADERS = {
    "a revision that is none": {"x-reference-revision": "x"},
    "a negative revision": {"x-reference-revision": "-1"},
    "a huge revision": {"x-reference-revision": "9" * 30},
    "a content type": {"content-type": "text/html; charset=utf-7"},
    "a coding": {"content-encoding": "gzip"},
    "another method": {"x-http-method-override": "DELETE"},
    "another address": {"x-forwarded-for": "127.0.0.1, ::1, x" * 10},
    "another host": {"host": "evil.example"},
    "another origin": {"origin": "null"},
    "expect": {"expect": "100-continue"},
    "a cookie": {"cookie": "apikey=key-approver"},
    "two keys": {"Authorization": "Bearer key-approver"},
}


@pytest.fixture(scope="module", params=list(CanonicalFormat), ids=str)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moderated]:
    """A PRIMARY with one model."""
    root = tmp_path_factory.mktemp("hostile")
    with moderated(root, canonical=request.param, mirror_enabled=True) as served:
        served.applied(served.proposed(_record(served, "good")))
        yield served
        assert not list(root.parent.glob("passwd"))
        assert "good" in served.told("GET", "v2/blip")


def _record(served: Moderated, name: str) -> dict[str, JsonValue]:
    return blip(name) if served.settings.canonical_format is V2 else legacy_blip(name)


def _of(served: Moderated) -> str:
    return "v2" if served.settings.canonical_format is V2 else "v1"


@pytest.fixture(autouse=True)
def _for_the_others(service: Moderated) -> Iterator[None]:
    """What others do goes on as if nothing had been sent; and whatever was kept can be listed, shown and taken out."""
    yield
    change = service.proposed(_record(service, "of somebody else"), key="key-other-requestor")
    listed = service.told("GET", "v2/pending_queue/changes?limit=500", "key-plain")["items"]
    assert isinstance(listed, list)
    for each in listed:
        assert isinstance(each, dict)
        if each["status"] == "pending":
            service.told("GET", f"v2/pending_queue/changes/{each['change_id']}/diff", "key-plain")
    service.told("GET", "v2/blip/pending", "key-plain")
    service.told("GET", "v2/pending_queue/audit/current", "key-plain")
    service.applied(change)
    assert "of somebody else" in service.told("GET", f"{_of(service)}/blip")
    gone = service.ask("DELETE", f"{_of(service)}/blip/model/of somebody else", "key-requestor").json()["change_id"]
    service.applied(gone)
    service.told("POST", "v2/pending_queue/purge", "key-approver", json={"statuses": ["pending"]})


def test_a_body_that_is_no_record_is_refused(service: Moderated, subtests: pytest.Subtests) -> None:
    """Where records go, and wherever else a body is read: 4xx, with a detail."""
    change = service.proposed(_record(service, "to be edited"))
    routes = [("POST", f"{_of(service)}/blip"), ("PUT", f"v2/pending_queue/changes/{change}")]
    routes += [("PUT", "v2/blip/model/good")] if _of(service) == "v2" else [("PUT", "v1/blip")]
    asking = [f"v2/pending_queue/{path}" for path in ("batches", "apply", "changes/1/withdraw", "changes/1/comments")]
    for what, body in BODIES.items():
        for method, path in [*routes, *(("POST", each) for each in asking)]:
            with subtests.test(what, path=path):
                key = "key-approver" if path.startswith("v2/pending_queue/") and method == "POST" else "key-requestor"
                try:
                    answer = service.ask(method, path, key, content=body)
                except httpx.TransportError:
                    assert what == "too long"  # the server does not wait for the rest
                    continue
                harmless = what in TOLERATED and answer.status_code in (200, 202)
                assert harmless or 400 <= answer.status_code < 500, answer.text[:300]
                assert harmless or len(answer.content) < 20_000


@pytest.mark.parametrize("what", NAMES)
def test_a_name_is_refused_or_is_a_name(service: Moderated, what: str) -> None:
    """Refused with a list of faults, or kept as it is and found by it: it never becomes a path."""
    name = NAMES[what]
    record = _record(service, "x") | {"name": name}
    answer = service.ask("POST", f"{_of(service)}/blip", "key-requestor", json=record)
    assert answer.status_code in (202, 400, 422), answer.text
    if answer.status_code == 202:
        assert answer.json()["model_name"] == name
        service.applied(answer.json()["change_id"])
        spelt = quote(str(name), safe="")
        assert service.ask("GET", f"v2/blip/model/{spelt}").json().get("name", "") in (name, "")
        assert name in service.told("GET", f"{_of(service)}/blip")


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_could_do_harm_is_refused(service: Moderated, what: str) -> None:
    """With 422 that says where."""
    file = FILES[what]
    record = blip("x") | {"config": {"download": [file]}}
    if _of(service) == "v1":
        known = file if isinstance(file, dict) else {}
        row = {
            "path": known.get("file_name"),
            "sha256sum": known.get("sha256sum"),
            "size_bytes": known.get("size_bytes"),
        }
        link = {"file_name": known.get("file_name"), "file_url": known.get("file_url")}
        record = legacy_blip("x") | {
            "config": {"files": [row if known else file], "download": [link if known else file]}
        }
    answer = service.ask("POST", f"{_of(service)}/blip", "key-requestor", content=json.dumps(record).encode())
    nothing = what in ("nothing", "null") and _of(service) == "v1"
    unknown = what.endswith("size") and _of(service) == "v1"  # an entry of v1 has no size, so it is not read
    expected = (202,) if what in HARMLESS else (202, 422) if nothing or unknown else (422,)
    assert answer.status_code in expected, answer.text
    assert answer.status_code == 202 or isinstance(answer.json()["detail"], list)


@pytest.mark.parametrize("what", OTHERS)
def test_other_nonsense_is_no_server_error(service: Moderated, what: str) -> None:
    """Refused, or ignored where it is nothing to us."""
    record = _record(service, "x") | OTHERS[what]
    answer = service.ask("POST", f"{_of(service)}/blip", "key-requestor", json=record)
    assert answer.status_code in (202, 400, 422), answer.text
    if answer.status_code == 202:
        shown = service.told("GET", f"v2/pending_queue/changes/{answer.json()['change_id']}", "key-plain")
        assert shown["requested_by"] == "202"
        service.applied(answer.json()["change_id"])
        record = service.told("GET", "v2/blip/model/x")
        assert isinstance(metadata := record["metadata"], dict)
        assert metadata.get("updated_by", "202") == "202"
        assert metadata["created_at"] != 10**18
        assert record["record_type"] == "blip"
        service.applied(service.ask("DELETE", f"{_of(service)}/blip/model/x", "key-requestor").json()["change_id"])


@pytest.mark.parametrize("what", HEADERS)
def test_no_header_opens_or_breaks_anything(service: Moderated, what: str) -> None:
    """It changes nothing of who asks, and nothing falls over."""
    record, path = _record(service, "x"), f"{_of(service)}/blip"
    assert service.ask("POST", path, None, json=record, headers=HEADERS[what]).status_code == 401
    answer = service.ask("POST", path, "key-requestor", json=record, headers=HEADERS[what])
    assert answer.status_code in (202, 400, 422), answer.text
    asked = service.ask(
        "POST", "v2/pending_queue/purge", "key-requestor", json={"purge_all": True}, headers=HEADERS[what]
    )
    assert asked.status_code == 403


@pytest.mark.parametrize("number", ["0", "-1", "9" * 19, "9" * 40, "1.5", "x", "%00", "1;2"])
def test_no_number_of_a_change_or_batch_breaks_anything(service: Moderated, number: str) -> None:
    """It is not there, or it is no number."""
    base = "v2/pending_queue"
    for path in (
        f"changes/{number}",
        f"changes/{number}/diff",
        f"audit/batches/{number}",
        f"audit/batches/{number}/net_changes",
    ):
        assert service.ask("GET", f"{base}/{path}", "key-plain").status_code in (404, 422), path
    for path in (
        f"changes/{number}/apply",
        f"changes/{number}/rebase",
        f"changes/{number}/review",
        f"apply_batch/{number}",
    ):
        assert service.ask("POST", f"{base}/{path}", "key-approver", content=b"{}").status_code in (404, 422), path
    for query in (
        f"diffs?change_ids={number}",
        f"changes?batch_id={number}",
        f"changes?offset={number}",
        f"changes?limit={number}",
    ):
        assert service.ask("GET", f"{base}/{query}", "key-plain").status_code in (200, 422), query
    given = [int(number)] if number.lstrip("-").isdigit() else [number]
    for path, asked in {
        "batches": {"batch_title": "t", "approved_ids": given},
        "apply": {"change_ids": given},
        "purge": {"requested_by": [number], "dry_run": True},
    }.items():
        answer = service.ask("POST", f"{base}/{path}", "key-approver", content=json.dumps(asked).encode())
        assert answer.status_code in (200, 404, 422), (path, answer.text)


def test_there_are_a_hundred() -> None:
    """As promised."""
    assert len(BODIES) + len(NAMES) + len(FILES) + len(OTHERS) + len(HEADERS) >= 100
