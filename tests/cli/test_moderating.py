"""The commands of the queue, in a store of one's own and at a real PRIMARY, whose users a simulated AI Horde knows."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.cli.conftest import Done, Hmr
from tests.cli.test_serving import Running
from tests.horde.simulator import AiHorde
from tests.reading.simulators import Asked, Loopback, http

USERS = {"key-ann": "Ann#101", "key-bob": "Bob#202", "key-cy": "Cy#303"}
SECRET = "key-that-is-secret"
FILE_HASH = "ab" * 32


class Curators(Protocol):
    """Ann and Bob, who may both approve, and Cy, who may not do anything."""

    def __call__(self, who: str, *words: object) -> Done:
        """What that one's `hmr WORDS` came to."""


def _client(*words: object, **environment: str) -> Done:
    """The program in a process of its own, which owns no store unless it is told of one."""
    ours = ("HORDE_", "AIWORKER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-m", "horde_model_reference", *map(str, words)],
        env={**kept, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service over the starter catalogue, empty queue and all."""
    root = tmp_path_factory.mktemp("primary") / "root"
    assert _client("import", "--starter", "--root", root).code == 0
    lists = {"REQUESTOR_IDS": "202", "APPROVER_IDS": "101,202"}
    told = {f"HORDE_MODEL_REFERENCE_PENDING_QUEUE__{name}": value for name, value in lists.items()}
    with AiHorde(USERS) as horde:
        running = Running("--port", 0, "--root", root, HORDE_URL=horde.url, **told)
        try:
            yield f"{running.address()}/api"
        finally:
            running.kill()


@pytest.fixture(params=["own store", "over HTTP"])
def curators(request: pytest.FixtureRequest, hmr: Hmr, tmp_path: Path) -> Curators:
    """The same commands both ways."""
    names = {user.partition("#")[0].lower(): (key, user) for key, user in USERS.items()}
    if request.param == "own store":
        filled: Path = request.getfixturevalue("filled")
        anonymous = {"review", "changes", "show", "log", "audit"}

        def own(who: str, *words: object) -> Done:
            by = () if words[0] in anonymous else ("--as", names[who][1])
            return hmr(*words, "--root", filled, *by)

        return own
    url: str = request.getfixturevalue("primary")

    def over_http(who: str, *words: object) -> Done:
        variables = {"HORDE_API_KEY": names[who][0], "HORDE_MODEL_REFERENCE_PRIMARY_API_URL": url}
        return _client(*words, "--root", tmp_path / "none", **variables)

    return over_http


def _proposed(curators: Curators, tmp_path: Path, name: str, **fields: object) -> int:
    file = tmp_path / "record.json"
    file.write_text(json.dumps({"name": name, **fields}), "utf-8")
    done = curators("ann", "propose", file, "--category", "blip", "--json")
    assert done.code == 0, done.err
    (change,) = done.value
    assert (change["status"], change["requested_username"]) == ("pending", "Ann#101")
    number: int = change["change_id"]
    return number


def test_a_change_goes_from_a_file_into_the_reference_and_back(curators: Curators, tmp_path: Path) -> None:
    """Proposed by one, seen and approved by another, applied once however often it is asked, and taken back."""
    number = _proposed(curators, tmp_path, "story/one", description="first")
    assert number in [each["change_id"] for each in curators("bob", "changes", "--status", "pending", "--json").value]
    shown = curators("bob", "review", number)
    assert "requested by Ann#101" in shown.out
    assert '+  "description": "first",' in shown.out
    assert curators("bob", "comment", number, "well said").code == 0
    assert curators("bob", "review", number, "--json").value["change"]["comments"][0]["text"] == "well said"

    (approved,) = curators("bob", "approve", number, "--title", "a story", "--json").value
    assert (approved["status"], approved["approved_username"]) == ("approved", "Bob#202")
    early = curators("bob", "revert", number, "--reason", "too early")
    assert (early.code, "allowed now" in early.err) == (2, True)
    for _ in range(2):
        (applied,) = curators("bob", "apply", "--batch", approved["batch_id"], "--job-id", "j1", "--json").value
        assert applied["status"] == "applied"
    again = curators("bob", "apply", number)
    assert (again.code, "is applied" in again.err) == (2, True)

    (inverse,) = curators("bob", "revert", number, "--reason", "it was a test", "--json").value
    assert (inverse["reverts"], inverse["operation"], inverse["status"]) == (number, "delete", "applied")
    actions = [row["told"]["action"] for row in curators("bob", "log", "--queue", "--limit", 1000, "--json").value]
    assert {"enqueue", "comment", "approve", "apply", "revert"} <= set(actions)
    lines = [json.loads(line) for line in curators("bob", "audit", "export").out.splitlines()]
    ours = [line["operation"] for line in lines if line.get("model_name") == "story/one"]
    assert ours == ["create", "delete"]


def test_what_is_rejected_or_withdrawn_is_told_with_its_reason(curators: Curators, tmp_path: Path) -> None:
    """And only who proposed it can take it back."""
    first, second = (_proposed(curators, tmp_path, f"no/{number}") for number in (1, 2))
    assert curators("bob", "reject", first, "--reason", "not the file").code == 0
    assert "reject reason: not the file" in curators("ann", "review", first).out
    others = curators("bob", "withdraw", second)
    assert (others.code, "not yours" in others.err) == (2, True)
    assert curators("ann", "withdraw", second, "--json").value[0]["status"] == "withdrawn"
    found = curators("ann", "changes", "--name", "NO/", "--status", "rejected", "--status", "withdrawn", "--json").value
    assert [each["change_id"] for each in found] == [first, second]
    assert [
        each["change_id"] for each in curators("ann", "changes", "--name", "no/", "--limit", 1, "--json").value
    ] == [first]
    assert "1 of 2 shown; --offset 1 goes on" in curators("ann", "changes", "--name", "no/", "--limit", 1).err


def test_a_record_that_moved_is_told_with_both_differences_and_rebased(curators: Curators, tmp_path: Path) -> None:
    """Nobody's change is lost: the second one is refused, and goes in after a rebase."""
    words = ("propose", "--update", "--category", "clip", "--json")
    numbers = []
    for field in ("description=mine", "homepage=https://example.org/x"):
        shown = curators("ann", "show", "clip", "ViT-L/14", "--json")
        (tmp_path / "clip.json").write_text(shown.out, "utf-8")
        done = curators("ann", *words, tmp_path / "clip.json", "--set", field)
        numbers.append(done.value[0]["change_id"])
    assert curators("bob", "approve", *numbers, "--title", "both").code == 0
    each = curators("bob", "apply", *numbers, "--each")
    assert (each.code, "was made against revision" in each.err) == (1, True)
    outdated = curators("bob", "apply", numbers[1])
    assert outdated.code == 2
    assert "theirs: description" in outdated.err
    assert "yours: homepage" in outdated.err
    (rebased,) = curators("ann", "rebase", numbers[1], "--json").value
    assert curators("bob", "approve", rebased["change_id"], "--title", "again").code == 0
    assert curators("bob", "apply", rebased["change_id"]).code == 0
    payload = curators("bob", "review", rebased["change_id"], "--json").value["after"]
    assert (payload["description"], payload["homepage"]) == ("mine", "https://example.org/x")


def test_what_is_wrong_is_told_field_by_field(curators: Curators, tmp_path: Path) -> None:
    """The exit code is 4 for a record, 3 for what is not there, 2 for one's own change."""
    file = tmp_path / "bad.json"
    file.write_text('{"bad": {"nsfw": "perhaps", "baseline": 7}}', "utf-8")
    refused = curators("ann", "propose", file, "--category", "image_generation")
    assert refused.code == 4
    assert "nsfw: " in refused.err
    assert "baseline: " in refused.err
    assert curators("ann", "review", 99999).code == 3
    assert curators("ann", "propose", "--delete", "nobody", "--category", "clip").code == 3
    mine = _proposed(curators, tmp_path, "own/one")
    own = curators("ann", "approve", mine, "--title", "mine")
    assert (own.code, "your own" in own.err, "who-may-do-what" in own.err) == (2, True, True)
    twice = curators("ann", "propose", "--delete", "ViT-L/14", "--delete", "nobody", "--category", "clip", "--json")
    assert (twice.code, [each["operation"] for each in twice.value]) == (3, ["delete"])


def test_a_record_is_made_of_a_url(curators: Curators) -> None:
    """Size and hash as its host tells them, else by options, which are asked for."""

    def answer(asked: Asked) -> Iterator[bytes]:
        known = {"x_linked_size": "17", "x_linked_etag": f'"{FILE_HASH}"', "location": "/elsewhere"}
        yield http(302, b"", **known) if asked.path == "/known/a%20b.pth" else http(200, content_length="5")

    with Loopback(answer) as host:
        words = ("propose", "--category", "esrgan", "--json", "--from-url")
        done = curators("ann", *words, f"{host.url}/known/a%20b.pth", "--set", "description=from a URL")
        asked = curators("ann", *words, f"{host.url}/unknown.pth")
    (change,) = done.value
    assert change["model_name"] == "a b"
    assert change["payload"]["config"]["download"][0] | {"file_url": ""} == {
        "file_name": "a b.pth",
        "file_url": "",
        "sha256sum": FILE_HASH,
        "size_bytes": 17,
    }
    assert "not encrypted" in json.dumps(change["findings"])
    assert (asked.code, "add --sha256" in asked.err) == (2, True)


def test_mine_are_those_of_who_asks(primary: str, tmp_path: Path) -> None:
    """Whose key it is decides."""
    for key, user in (("key-ann", "Ann#101"), ("key-bob", "Bob#202")):
        variables = {"HORDE_API_KEY": key, "HORDE_MODEL_REFERENCE_PRIMARY_API_URL": primary}
        words = (
            "propose",
            "--delete",
            "layer_diffuse_sdxl",
            "--category",
            "miscellaneous",
            "--root",
            tmp_path / "none",
        )
        assert _client(*words, **variables).code == 0
        mine = _client("changes", "--mine", "--root", tmp_path / "none", "--json", **variables).value
        assert {each["requested_username"] for each in mine} == {user}


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("", "set HORDE_API_KEY"),
        (SECRET + "\n\x00x", "no usable one"),
        (SECRET, "Invalid API key"),
        ("key-cy", "not on the pending queue requestor list"),
    ],
)
def test_who_may_not_is_told_why_and_never_the_key(primary: str, tmp_path: Path, key: str, told: str) -> None:
    """Also not where a traceback is asked for."""
    variables = {"HORDE_API_KEY": key.replace("\x00", "\x7f"), "HORDE_MODEL_REFERENCE_PRIMARY_API_URL": primary}
    words = ("propose", "--delete", "ViT-L/14", "--category", "clip", "--root", tmp_path / "none", "--traceback")
    done = _client(*words, **variables)
    assert (done.code, told in done.err) == (2, True), done.err
    assert not key or key.split()[0] not in done.err + done.out
    assert "Traceback" in done.err


def test_a_primary_that_is_not_there_or_is_none_is_told(tmp_path: Path) -> None:
    """Exit code 5, and with --offline it is not even asked; --as is for owners."""
    variables = {"HORDE_API_KEY": SECRET, "HORDE_MODEL_REFERENCE_PRIMARY_API_URL": "http://127.0.0.1:9/api"}
    words = ("changes", "--root", tmp_path / "none", "--traceback")
    for more, told in (((), "Connection refused"), (("--offline",), "offline")):
        done = _client(*words, *more, **variables)
        assert (done.code, told in done.err, SECRET in done.err) == (5, True, False)
    pages = iter([http(200, b"<html>"), http(502, b"<html>"), http(429, b'{"detail": "slowly"}', retry_after="7")])
    with Loopback(lambda _: iter([next(pages)])) as other:
        for told in ("check PRIMARY_API_URL", "HTTP 502", "slowly; try again in 7 s"):
            done = _client(*words, **variables | {"HORDE_MODEL_REFERENCE_PRIMARY_API_URL": other.url})
            assert (done.code, told in done.err) == (5, True), done.err
    assert _client("withdraw", 1, "--as", "Ann#1", *words[1:], **variables).code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["propose"],
        ["propose", "a.json", "--delete", "x"],
        ["propose", "--delete", "x"],
        ["propose", "--delete", "x", "--category", "clip", "--as", "Ann"],
        ["apply"],
        ["apply", "1", "--batch", "1"],
        ["audit", "import"],
    ],
)
def test_words_that_make_no_sense_are_refused(hmr: Hmr, filled: Path, words: list[str]) -> None:
    """With exit code 2, before anything is done."""
    assert hmr(*words, "--root", filled).code == 2
    assert hmr("changes", "--root", filled, "--json").value == []


@pytest.mark.parametrize("text", ["{}", '{"a": 1}', "[]", "{"])
def test_a_file_without_records_is_refused(hmr: Hmr, filled: Path, tmp_path: Path, text: str) -> None:
    """Exit code 4; one that is not there is 3."""
    (tmp_path / "x.json").write_text(text, "utf-8")
    assert hmr("propose", tmp_path / "x.json", "--category", "clip", "--root", filled).code == 4
    assert hmr("propose", tmp_path / "none.json", "--category", "clip", "--root", filled).code == 3


def test_an_alarming_finding_is_exit_code_1(hmr: Hmr, filled: Path, tmp_path: Path) -> None:
    """Other bytes under the same URL: it is in the queue, and nobody can overlook it."""
    record = hmr("show", "image_generation", "stable_diffusion", "--json", "--root", filled).value
    record["config"]["download"][0]["sha256sum"] = FILE_HASH
    (tmp_path / "x.json").write_text(json.dumps(record), "utf-8")
    done = hmr("propose", tmp_path / "x.json", "--update", "--root", filled)
    assert (done.code, "error: change 1" in done.err) == (1, True)
    assert "look at the file" in hmr("review", 1, "--root", filled).out
    assert hmr("review", 1, "--again", "--root", filled).code == 0


def test_a_review_is_coloured_on_a_terminal_and_shows_no_foreign_escape(filled: Path, tmp_path: Path) -> None:
    """What is new is green; what a comment brings along is shown as text. NO_COLOR turns it off."""
    (tmp_path / "x.json").write_text('{"name": "tty", "description": "d"}', "utf-8")
    program = [sys.executable, "-m", "horde_model_reference", "--root", str(filled)]
    assert subprocess.run([*program, "propose", tmp_path / "x.json", "--category", "blip"], check=False).returncode == 0
    subprocess.run([*program, "comment", "1", "evil \x1b[2J"], check=True, capture_output=True)
    for variables, green in (({}, True), ({"NO_COLOR": "1"}, False)):
        above, below = pty.openpty()
        environment = {n: v for n, v in os.environ.items() if n != "NO_COLOR"} | variables
        subprocess.run([*program, "review", "1"], stdout=below, env=environment, check=True, timeout=60)
        os.close(below)
        shown = b""
        while chunk := _read(above):
            shown += chunk
        assert (b"\x1b[32m+" in shown) is green
        assert b"evil \\u001b[2J" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody writes any more
        os.close(terminal)
        return b""


def test_what_the_owner_applies_is_in_the_files_and_the_past_stays_readable(
    hmr: Hmr, filled: Path, tmp_path: Path
) -> None:
    """The mirror has it; `replay` gives what was before, byte for byte."""
    before = tmp_path / "before"
    assert hmr("export", before, "--root", filled).code == 0
    hmr("propose", "--delete", "ViT-L/14", "--category", "clip", "--root", filled, "--as", "Ann#1")
    hmr("approve", 1, "--title", "t", "--root", filled, "--as", "Bob#2")
    assert hmr("apply", 1, "--root", filled).code == 0
    assert "ViT-L/14" not in json.loads((filled / "clip.json").read_bytes())
    assert hmr("replay", tmp_path / "then", "--at", 33, "--root", filled).code == 0
    for file in before.iterdir():
        assert (tmp_path / "then" / file.name).read_bytes() == file.read_bytes()
    assert hmr("verify", "--root", filled).code == 0
