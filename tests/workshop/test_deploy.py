"""What lies in deploy/ is what it says, as far as a machine without containers can tell: nginx and systemd are asked
where they are installed."""

from __future__ import annotations

import gzip
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from horde_model_reference.domain.snapshots import content_etag
from horde_model_reference.exchange.importing import import_records, read_path
from horde_model_reference.service.application import create_app
from horde_model_reference.service.static import write_static
from horde_model_reference.settings import ReplicateMode, make_settings
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.wiring import Mode, Parts, assemble
from tests.service.servers import parts_over, running, within_deadline

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
V2 = "/api/model_references/v2"
LEGACY = ROOT / "tests" / "fixtures" / "legacy"
_DEADLINE = 20.0


# -- the container file --


def _instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.strip().partition(" ") for line in lines) if word]


def _last_stage() -> list[tuple[str, str]]:
    found = _instructions()
    return found[max(number for number, (word, _) in enumerate(found) if word == "FROM") :]


def test_the_container_runs_as_nobody_in_particular() -> None:
    """The last stage sets a user that is a number and not root, after whom nothing is installed."""
    stage = _last_stage()
    words = [word for word, _ in stage]
    assert dict(stage)["USER"].isdigit()
    assert int(dict(stage)["USER"]) >= 1000
    assert {"RUN", "COPY", "ADD"}.isdisjoint(words[words.index("USER") :])


def test_the_container_is_built_from_this_tree_and_the_locks() -> None:
    """One base image, nothing from the network by address, every lock and folder that is copied is there."""
    found = _instructions()
    assert {rest.split(" AS ")[0] for word, rest in found if word == "FROM"} == {"python:3.13-slim"}
    assert not any("://" in rest or word == "ADD" for word, rest in found)
    copied = [name for word, rest in found if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]]
    assert {"src", "requirements", "pyproject.toml"} <= {*copied}
    assert [name for name in copied if not (ROOT / name).exists()] == []
    given = (DEPLOY / "Containerfile.dockerignore").read_text("utf-8").splitlines()
    assert {line.removeprefix("!") for line in given if line.startswith("!")} == {*copied}
    script = " ".join(rest for word, rest in found if word == "RUN")
    locks = re.findall(r"requirements/\S+\.txt", script)
    assert [lock for lock in locks if not (ROOT / lock).is_file()] == []
    assert "requirements/wheel.txt" in locks


class _Heart(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        """Answers the heartbeat alone."""
        self.send_response(self.status if self.path == "/heartbeat" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (None, 1)])
def test_the_health_check_of_the_container_asks_the_heartbeat(status: int | None, code: int) -> None:
    """It is run as it stands there, on another port: well, not well, nobody there."""
    check = dict(_last_stage())["HEALTHCHECK"].partition("CMD ")[2]
    command = [word.replace("19800", "{port}") for word in json.loads(check)]
    assert "{port}" in command[-1]
    heart = type("_Heart", (_Heart,), {"status": status})
    with HTTPServer(("127.0.0.1", 0), heart) as server:
        port = server.server_address[1]
        if status is None:
            server.server_close()
        else:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        words = [sys.executable, *(word.replace("{port}", str(port)) for word in command[1:])]
        done = subprocess.run(words, capture_output=True, timeout=_DEADLINE, check=False)
        if status is not None:
            server.shutdown()
    assert done.returncode == code


# -- compose, systemd --


def test_compose_runs_a_primary_and_a_relay_that_reads_it() -> None:
    """It is YAML; the relay names the PRIMARY by its service and waits until it is healthy."""
    yaml = pytest.importorskip("yaml", reason="no parser of YAML is installed")
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    primary, relay = compose["services"]["primary"], compose["services"]["relay"]
    assert (ROOT / primary["build"]["dockerfile"]).is_file()
    modes = [service["environment"]["HORDE_MODEL_REFERENCE_REPLICATE_MODE"] for service in (primary, relay)]
    assert modes == ["PRIMARY", "REPLICA"]
    assert relay["environment"]["HORDE_MODEL_REFERENCE_PRIMARY_API_URL"] == "http://primary:19800/api"
    assert relay["depends_on"]["primary"]["condition"] == "service_healthy"
    for service in (primary, relay):
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert {volume.split(":")[0] for volume in service["volumes"]} <= compose["volumes"].keys()
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_variables_of_the_deployment_are_settings() -> None:
    """A misspelt variable would be ignored in silence."""
    known = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    named = {name for path in DEPLOY.iterdir() for name in re.findall(r"\bHORDE_[A-Z_]+", path.read_text("utf-8"))}
    assert named
    assert [name for name in named if f"`{name}`" not in known] == []


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about it, and finds it well protected."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "horde-model-reference.service"
    text = (DEPLOY / unit.name).read_text("utf-8")
    assert "/opt/horde-model-reference/bin/hmr serve" in text
    unit.write_text(text.replace("/opt/horde-model-reference/bin/hmr", sys.executable), "utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    exposure = subprocess.run(judged, capture_output=True, text=True, check=False).stdout
    level = re.search(r"exposure level .*: ([\d.]+)", exposure)
    assert level is None or float(level[1]) < 2.0


# -- nginx --


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Parts]:
    """A PRIMARY that has taken in the invented reference."""
    with closing(SqlStore(f"sqlite:///{tmp_path / 'reference.sqlite3'}")) as store:
        import_records(store, read_path(LEGACY), actor="tests")
        yield parts_over(store, tmp_path)


@contextmanager
def _nginx(folder: Path, site: Path, upstream: str = "127.0.0.1:1") -> Iterator[tuple[str, str]]:
    """The addresses of the two servers of our file, with ports, folders and the service behind put in."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ports.append(taken.getsockname()[1])
    ours = (DEPLOY / "nginx.conf").read_text("utf-8")
    own = {
        "listen 8080": f"listen 127.0.0.1:{ports[0]}",
        "listen 8081": f"listen 127.0.0.1:{ports[1]}",
        "/srv/horde-model-reference": str(site),
        "/var/cache/nginx/horde-model-reference": str(folder / "cache"),
        "server 127.0.0.1:19800": f"server {upstream}",
    }
    for theirs, here in own.items():
        assert theirs in ours
        ours = ours.replace(f"{theirs};", f"{here};").replace(f"{theirs} ", f"{here} ")
    (folder / "site.conf").write_text(ours, "utf-8")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    scratch = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = f"user {pwd.getpwuid(0).pw_name};" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log stderr; events {{ }}\n"
        f"http {{ access_log off; {scratch} include {folder}/site.conf; }}",
        "utf-8",
    )
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            within_deadline(lambda: all(_listens(port) for port in ports))
            yield f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        finally:
            server.terminate()
            server.wait(_DEADLINE)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_nginx_serves_the_static_export_and_the_library_reads_it(primary: Parts, tmp_path: Path) -> None:
    """Every category byte for byte, read by a replica; compressed twins to whoever takes them; tags; problems."""
    site = tmp_path / "site"
    write_static(primary, make_settings(), site)
    with _nginx(tmp_path, site) as (url, _), httpx.Client(base_url=url) as client:
        manifest = client.get(f"{V2}/manifest").json()
        settings = make_settings(primary_api_url=f"{url}/api", enable_github_fallback=False, follow_changes=False)
        mode = Mode(ReplicateMode.REPLICA, offline=False, base_path=tmp_path / "replica")
        with closing(assemble(mode, settings)) as replica:
            for category, told in manifest["categories"].items():
                held = replica.reference.snapshot(category)
                assert (content_etag(held.body), held.source) == (told["etag"], f"{url}/api")

        plain = client.get(f"{V2}/image_generation", headers={"accept-encoding": "identity"})
        assert plain.headers["content-type"] == "application/json"
        assert "content-encoding" not in plain.headers
        with client.stream("GET", f"{V2}/image_generation", headers={"accept-encoding": "gzip"}) as packed:
            assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
            assert gzip.decompress(b"".join(packed.iter_raw())) == plain.content
        again = client.get(
            f"{V2}/image_generation", headers={"if-none-match": plain.headers["etag"], "accept-encoding": "identity"}
        )
        assert again.status_code == 304
        for absent in (f"{V2}/nothing", f"{V2}/image_generation.gz", "/"):
            answer = client.get(absent)
            kind = answer.headers["content-type"]
            assert (answer.status_code, kind, answer.json()["status"]) == (404, "application/problem+json", 404)
        assert client.get("/model_references/v1/db.json").json()
        assert client.get("/api/heartbeat").json() == {"status": "ok"}


def test_nginx_in_front_keeps_answers_asks_by_tag_and_says_when_they_are_stale(primary: Parts, tmp_path: Path) -> None:
    """Miss, hit, then a question by tag; a change comes through; what may not be kept is not; the dead are told."""
    store = primary.store
    assert store is not None
    service = ExitStack()
    upstream = service.enter_context(running(create_app(primary))).removeprefix("http://")
    with service, _nginx(tmp_path, tmp_path, upstream) as (_, url), httpx.Client(base_url=url) as client:

        def kept() -> str:
            found: str = client.get(f"{V2}/clip").headers["x-cache-status"]
            return found

        assert [kept(), kept()] == ["MISS", "HIT"]
        within_deadline(lambda: kept() == "REVALIDATED")
        tag = client.get(f"{V2}/clip").headers["etag"]
        assert client.get(f"{V2}/clip", headers={"if-none-match": tag}).status_code == 304

        head = store.head()
        with store.begin(actor="tests") as unit:
            unit.put("clip", "new", '{"name":"new"}')
        assert client.get(f"{V2}/changes?since={head}").json()["revision"] == head + 1
        within_deadline(lambda: "new" in client.get(f"{V2}/clip").json())
        assert "x-cache-status" not in client.get("/api/heartbeat").headers
        assert client.get("/metrics").status_code == 404

        service.close()
        within_deadline(lambda: kept() == "STALE")
        assert client.get("/api/heartbeat").status_code == 502
