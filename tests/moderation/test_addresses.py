"""Asking the hosts of files: what they say is compared, and nobody can be made to ask where they should not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future

import pytest

from horde_model_reference.domain.changes import NamedFinding
from horde_model_reference.domain.findings import JsonObject, JsonValue, Severity
from horde_model_reference.flow import NoNetwork, Request, Response, run, run_async
from horde_model_reference.moderation.addresses import Addresses, is_public
from horde_model_reference.transport import HttpNetwork
from tests.reading.simulators import Asked, Loopback, http

HASH = "ab" * 32
HERE = ("127.0.0.1", "localhost")


@pytest.fixture
def network() -> Iterator[HttpNetwork]:
    """The real one."""
    network = HttpNetwork()
    yield network
    network.close()


def document(*urls: str, **facts: JsonValue) -> JsonObject:
    """A record with a file at each of these URLs."""
    return {"config": {"download": [{"file_name": "f", "file_url": url, "sha256sum": HASH, **facts} for url in urls]}}


def ask(
    network: HttpNetwork,
    record: JsonObject,
    hosts: Collection[str] = HERE,
    reachable: Callable[[str], bool] = lambda _: True,
    seconds: float = 20.0,
) -> tuple[NamedFinding, ...]:
    """What the check finds."""
    return run(Addresses(hosts, seconds, reachable).check(record), network)


def answering(status: int, body: str = "", **headers: str) -> Callable[[Asked], Iterator[bytes]]:
    """A host that always says this."""

    def answer(asked: Asked) -> Iterator[bytes]:
        yield http(status, body.encode(), **headers)

    return answer


def head(status: int, size: int | None = None, **headers: str) -> Callable[[Asked], Iterator[bytes]]:
    """The answer to a HEAD: sizes without bytes."""
    return answering(status, **({"content_length": str(size)} if size is not None else {}), **headers)


def test_a_file_that_is_there_and_agrees_gives_no_finding(network: HttpNetwork) -> None:
    """Size and hash as the host says them; only a HEAD is sent, and the host sees its own name."""
    with Loopback(head(200, 7, x_linked_etag=f'"{HASH}"')) as host:
        assert ask(network, document(f"{host.url}/f?x=1", size_bytes=7)) == ()
        (asked,) = host.requests
        assert (asked.path, asked.headers["host"]) == ("/f?x=1", host.url.removeprefix("http://"))
        assert asked.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({"content_length": "8"}, ["size_bytes"]),
        ({"content_length": "7", "x_linked_size": "9"}, ["size_bytes"]),
        ({"content_length": "7", "x_linked_etag": '"' + "cd" * 32 + '"'}, ["sha256sum"]),
        ({"content_length": "7", "x_linked_etag": 'W/"some-tag"'}, []),
        ({"content_length": "7", "x_linked_size": "many"}, []),
    ],
)
def test_what_the_host_says_otherwise_is_an_error(
    network: HttpNetwork, headers: dict[str, str], fields: list[str]
) -> None:
    """What it says of the file itself comes before the length of its answer; a tag that is no hash says nothing."""
    with Loopback(answering(200, **headers)) as host:
        found = ask(network, document(f"{host.url}/f", size_bytes=7))
    assert [(each.severity, each.field) for each in found] == [
        (Severity.ERROR, f"config.download.0.{field}") for field in fields
    ]


def test_the_first_of_several_redirects_that_knows_the_file_tells_of_it(network: HttpNetwork) -> None:
    """As Hugging Face does: the facts are in the redirect, the bytes are at another host."""

    def answer(asked: Asked) -> Iterator[bytes]:
        if asked.path == "/end":
            yield http(200, content_length="3", x_linked_etag=HASH)
        else:
            yield http(302, location="/end", x_linked_size="5", x_linked_etag="cd" * 32)

    with Loopback(answer) as host:
        found = ask(network, document(f"{host.url}/f", size_bytes=5))
    assert [each.field for each in found] == ["config.download.0.sha256sum"]


def test_a_chain_of_redirects_ends_after_five(network: HttpNetwork) -> None:
    """Six requests, then a finding."""
    with Loopback(head(302, location="/again")) as host:
        (found,) = ask(network, document(f"{host.url}/f"))
        assert len(host.requests) == 6
    assert (found.severity, found.field) == (Severity.WARNING, "config.download.0.file_url")


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest", "//elsewhere.example/x", "file:///etc/passwd", "https://@/"]
)
def test_a_redirect_off_the_list_is_not_followed(network: HttpNetwork, target: str) -> None:
    """Whatever it names; the finding says so."""
    with Loopback(head(302, location=target)) as host:
        (found,) = ask(network, document(f"{host.url}/f"), hosts=["127.0.0.1"])
        assert len(host.requests) == 1
    assert "not listed" in found.reason


def test_a_redirect_to_where_nothing_is_encrypted_is_not_followed() -> None:
    """Who is in between could say anything; here the network is one that answers as an encrypted host would."""

    class Encrypted(NoNetwork):
        def begin(self, request: Request) -> Future[Response]:
            future: Future[Response] = Future()
            future.set_result(Response(302, {"location": "http://h/f"}, b""))
            return future

    (found,) = run(Addresses(["h"]).check(document("https://h/f")), Encrypted())
    assert "encrypted" in found.reason


@pytest.mark.parametrize("url", ["http://[::1", "http://[x]/", "http://127.0.0.1:99999/", "http://", "x", "\0"])
def test_what_is_no_url_is_a_finding(network: HttpNetwork, url: str) -> None:
    """In the record, or where a host sends us."""
    with Loopback(head(302, location=url.replace("\0", "http://[::"))) as host:
        found = ask(network, document(url, f"{host.url}/f"), hosts=["127.0.0.1"])
    assert {each.field for each in found} == {"config.download.0.file_url", "config.download.1.file_url"}


def test_a_name_on_the_list_that_resolves_to_this_machine_is_not_asked(network: HttpNetwork) -> None:
    """The operator lists names, and who owns one decides where it leads: the address counts."""
    with Loopback(head(200)) as host:
        url = host.url.replace("127.0.0.1", "localhost")
        (found,) = ask(network, document(url), reachable=is_public)
        assert host.requests == []
        assert ask(network, document(url)) == (), "the same, where loopback is allowed"
    assert "may not be reached" in found.reason


def test_only_listed_hosts_and_those_below_them_are_asked(network: HttpNetwork) -> None:
    """A name that only ends alike is another host."""
    allowed = Addresses(["hf.example"], reachable=lambda _: False)
    below, alike = (
        run(allowed.check(document(f"https://{host}/f")), network) for host in ("a.HF.example", "xhf.example")
    )
    assert "not listed" not in below[0].reason
    assert "not listed" in alike[0].reason


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_any_other_answer_is_a_warning(network: HttpNetwork, status: int) -> None:
    """It says which."""
    with Loopback(head(status)) as host:
        (found,) = ask(network, document(f"{host.url}/f"))
    assert (found.check, found.severity) == ("address", Severity.WARNING)
    assert str(status) in found.reason


def test_the_deadline_is_for_all_files_together(network: HttpNetwork) -> None:
    """A host that never answers costs no more with fifty files than with one, and each file has its finding."""

    def answer(asked: Asked) -> Iterator[bytes]:
        time.sleep(30)
        yield http(200)

    with Loopback(answer) as host:
        began = time.monotonic()
        found = ask(network, document(*(f"{host.url}/{n}" for n in range(50))), seconds=0.5)
        assert time.monotonic() - began < 10
    assert len(found) == 50


def test_files_without_an_address_are_not_asked_for_and_a_dead_host_is_a_finding(network: HttpNetwork) -> None:
    """In either colour."""
    with Loopback(head(200)) as host:
        dead = host.url
    record = document("", dead)
    flows = [Addresses(HERE, reachable=lambda _: True).check(record) for _ in range(2)]
    found = run(flows[0], network)
    assert [each.field for each in found] == ["config.download.1.file_url"]
    assert [each.field for each in asyncio.run(run_async(flows[1], network))] == ["config.download.1.file_url"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *[
            (each, False)
            for each in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1")
        ],
        *[
            (each, False)
            for each in ("::1", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::", "224.0.0.1", "ff02::1")
        ],
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
    ],
)
def test_public_is_what_lies_in_no_private_loopback_or_link_local_network(address: str, public: bool) -> None:
    """Also where IPv4 is written as IPv6."""
    assert is_public(address) is public
