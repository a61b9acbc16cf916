"""Whether the files of a proposal are where it says: a question to their hosts, where the operator allows it.

A proposal is written by somebody else, so its addresses may lead anywhere. Only hosts on the operator's list are asked,
redirects are followed one by one under the same rules, and no connection is made to an address inside a private
network, whatever a name resolves to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit

from horde_model_reference.domain.changes import NamedFinding
from horde_model_reference.domain.findings import JsonObject, Severity
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import All, Fetch, Flow, Request, Response
from horde_model_reference.moderation.prereview import files_of, known_hash

__all__ = ["Addresses", "is_public"]

_REDIRECTS, _LONGEST = 5, 8_000
_OK, _MOVED = 200, (301, 302, 303, 307, 308)


def is_public(address: str) -> bool:
    """Whether that IP address is one of the public internet."""
    ip = ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None) or ip
    return bool(mapped.is_global and not mapped.is_multicast)


@dataclass(frozen=True)
class Addresses:
    """The rules: `hosts` that may be asked (with those below them), `seconds` for all files of a record together, and
    which IP addresses are `reachable`."""

    hosts: Collection[str]
    seconds: float = 20.0
    reachable: Callable[[str], bool] = is_public

    def check(self, document: JsonObject) -> Flow[tuple[NamedFinding, ...]]:
        """What the hosts say about the files of a v2 record. Never raises; a host that is not asked is a finding."""
        ends = time.monotonic() + self.seconds
        told: list[list[NamedFinding]] = yield All([self._file(*each, ends) for each in files_of(document)])
        return tuple(finding for each in told for finding in each)

    def _file(self, path: str, file: JsonObject, ends: float) -> Flow[list[NamedFinding]]:
        def finding(key: str, reason: str, severity: Severity = Severity.WARNING) -> NamedFinding:
            return NamedFinding(check="address", severity=severity, reason=reason, field=f"{path}.{key}")

        url, size, sha = file.get("file_url"), file.get("size_bytes"), known_hash(file)
        if not isinstance(url, str) or not url:
            return []
        try:
            facts = yield from self._followed(url, ends)
        except SourceUnavailable as refusal:
            return [finding("file_url", f"{refusal.source} {refusal.reason}")]
        except ValueError:
            return [finding("file_url", "is no URL, or redirects to none")]
        found = []
        told_size, told_hash = facts.get("x-linked-size", ""), facts.get("x-linked-etag", "").strip('W/"')
        if isinstance(size, int) and told_size.isdecimal() and int(told_size) != size:
            found.append(finding("size_bytes", f"the host says {told_size} bytes", Severity.ERROR))
        if sha and known_hash({"sha256sum": told_hash}) not in ("", sha):
            found.append(finding("sha256sum", f"the host says {told_hash}", Severity.ERROR))
        return found

    def _followed(self, url: str, ends: float) -> Flow[dict[str, str]]:
        """What the first that knows says about the file, once the last of them has answered that it is there."""
        facts: dict[str, str] = {}
        for _ in range(_REDIRECTS + 1):
            response: Response = yield Fetch(self._request(url, ends))
            facts = response.headers | facts
            if response.status in _MOVED and "location" in response.headers:
                source, url = url, urljoin(url, response.headers["location"][:_LONGEST])
                if source.startswith("https:") and not url.startswith("https:"):
                    raise SourceUnavailable(source, "redirects to where nothing is encrypted")
                continue
            if response.status != _OK:
                raise SourceUnavailable(url, f"answered {response.status}")
            return facts | {"x-linked-size": facts.get("x-linked-size", response.headers.get("content-length", ""))}
        raise SourceUnavailable(url, f"is behind more than {_REDIRECTS} redirects")

    def _request(self, url: str, ends: float) -> Request:
        """Raises `SourceUnavailable` where it must not be made, `ValueError` for no URL."""
        parts, left = urlsplit(url), ends - time.monotonic()
        host = f".{parts.hostname}" if parts.scheme in ("http", "https") else ""
        if not any(host.endswith(f".{known}") for known in self.hosts):
            raise SourceUnavailable(url, "is on a host that is not asked: the operator has not listed it")
        if left <= 0:
            raise SourceUnavailable(url, f"was not asked: {self.seconds:g} seconds were over")
        return Request(url, {"accept-encoding": "identity"}, left, method="HEAD", reachable=self.reachable)
