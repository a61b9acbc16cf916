"""What goes wrong is told in a line that names the place and the next step, with the exit code of its kind."""

from __future__ import annotations

import getpass
import json
import os
import sqlite3
from pathlib import Path

import pytest

from horde_model_reference.settings import make_settings
from horde_model_reference.stores.sql import SqlStore
from tests.cli.conftest import Hmr

GOOD = {"clip": {"name": "clip", "record_type": "clip"}}
BROKEN = {
    "empty": b"",
    "truncated": b'{"ViT": {"name": ',
    "not_utf8": b'{"ViT \xff": {}}',
    "wrong_root": b"[1, 2]",
    "nan": b'{"ViT": {"name": "ViT", "size_on_disk_bytes": NaN}}',
    "deep": b"[" * 100_000,
    "long_integer": b'{"ViT": {"size_on_disk_bytes": ' + b"9" * 5000 + b"}}",
    "lone_surrogate": b'{"ViT\\ud800": {"name": "x"}}',
    "a_list_as_record": b'{"ViT": []}',
    "nul_in_name": b'{"a\\u0000b": {"name": "x", "record_type": "clip"}}',
    "file_leaves_folder": json.dumps(
        {"x": {"name": "x", "record_type": "clip", "config": {"download": [{"file_name": "../x", "file_url": "u"}]}}}
    ).encode(),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_by_name_and_nothing_is_lost(
    hmr: Hmr, filled: Path, tmp_path: Path, kind: str
) -> None:
    """`import` refuses it, `validate` reports it, and the store is as it was."""
    file = tmp_path / "clip.json"
    file.write_bytes(BROKEN[kind])
    refused = hmr("import", file, "--root", filled)
    assert refused.code == 4
    assert "clip.json" in refused.err
    assert len(refused.err) < 2000
    reported = hmr("validate", file, "--json")
    assert reported.code == 1
    assert reported.value["findings"][0]["file"] == str(file)
    assert hmr("log", "--root", filled, "--json").value[-1]["revision"] == 33


def test_one_broken_file_in_a_folder_costs_the_others_nothing(hmr: Hmr, root: Path, tmp_path: Path) -> None:
    """They are taken, and the exit code says that something was not."""
    (tmp_path / "clip.json").write_bytes(b"{")
    (tmp_path / "blip.json").write_text(json.dumps({"b": {"name": "b", "record_type": "blip"}}))
    done = hmr("import", tmp_path, "--root", root)
    assert done.code == 1
    assert "clip.json" in done.err
    assert hmr("list", "blip", "--root", root, "--json").value[0]["name"] == "b"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["import", "nowhere"], 3, "nowhere"),
        (["import"], 2, "--starter"),
        (["import", "nowhere", "--starter"], 2, "one of the two"),
        (["validate", "nowhere"], 3, "nowhere"),
        (["export"], 2, "one of the three"),
        (["demo", "--data", "nowhere"], 3, "nowhere"),
        (["list", "image_generatoin"], 3, "Did you mean image_generation"),
        (["show", "image_generation", "stable_difusion"], 3, "Did you mean stable_diffusion"),
        (["show", "image_generation", "sdxl 1.0", "--at", "head"], 3, "SDXL 1.0"),
        (["show", "clip", "ViT-L/14", "--at", "99999"], 3, "99999"),
        (["show", "controlnet_annotator", "x", "--legacy"], 3, "x"),
        (["query", "image_generation", "basline=x"], 2, "Did you mean baseline"),
        (["query", "image_generation", "baseline"], 2, "FIELD=VALUE"),
        (["query", "image_generation", "nsfw=perhaps"], 2, "true or false"),
        (["query", "image_generation", "size_on_disk_bytes__lt=big"], 2, "a number"),
        (["query", "image_generation", "tags__lt=x"], 2, "tags"),
        (["query", "image_generation", "--sort", "nonsense"], 2, "nonsense"),
        (["query", "image_generation", "--columns", "nonsense"], 2, "nonsense"),
        (["query", "image_generation", "name=nobody", "--columns", "nonsense"], 2, "nonsense"),
        (["query", "nonsense"], 3, "nonsense"),
        (["diff", "yesterday"], 2, "yesterday"),
        (["diff", "head", "./nowhere"], 3, "nowhere"),
        (["diff", "9" * 40], 2, "no revision"),
        (["export", "x", "--at", "77"], 3, "77"),
        (["nonsense"], 2, "nonsense"),
        (["list", "--nonsense"], 2, "nonsense"),
    ],
)
def test_words_that_mean_nothing_are_answered_with_what_would(
    hmr: Hmr, filled: Path, words: list[str], code: int, told: str
) -> None:
    """Unknown categories, models, fields, revisions, files and options."""
    done = hmr("--root", filled, *words)
    assert (done.code, done.out) == (code, "")
    assert told in done.err


@pytest.mark.parametrize("command", [["list"], ["verify"], ["status"], ["log"], ["import", "--starter"]])
def test_a_corrupt_database_is_told_and_not_touched(hmr: Hmr, root: Path, command: list[str]) -> None:
    """Exit code 5; the file is byte for byte what it was."""
    root.mkdir()
    (root / "reference.sqlite3").write_bytes(b"this is no database " * 500)
    done = hmr("--root", root, *command)
    assert done.code == 5
    assert "reference.sqlite3" in done.err
    assert (root / "reference.sqlite3").read_bytes() == b"this is no database " * 500


def test_a_newer_schema_is_left_alone(hmr: Hmr, filled: Path) -> None:
    """It says which version is needed; doctor tells the same."""
    with sqlite3.connect(filled / "reference.sqlite3") as connection:
        connection.execute("UPDATE meta SET value = '999' WHERE key = 'schema_version'")
    done = hmr("list", "--root", filled)
    assert done.code == 5
    assert "999" in done.err
    doctor = hmr("doctor", "--root", filled, "--json")
    assert doctor.code == 1
    assert "999" in next(check["result"] for check in doctor.value if check["level"] == "FAIL")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everything")
def test_a_read_only_root_is_told(hmr: Hmr, filled: Path, tmp_path: Path) -> None:
    """Exit code 5 for an import into it."""
    for path in (filled / "reference.sqlite3", filled):
        path.chmod(0o555)
    try:
        done = hmr("import", "--starter", "--root", filled / "below")
        assert done.code == 5
    finally:
        filled.chmod(0o755)


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_locked_database_is_told(
    hmr: Hmr, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    """A writer that finds another one gives up with exit code 5, and says that trying again may help."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3.dbapi2, "connect", lambda *words, **more: connect(*words, **{**more, "timeout": 0.1}))
    file = tmp_path / "clip.json"
    file.write_text(json.dumps(GOOD))
    with connect(filled / "reference.sqlite3", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        done = hmr("import", file, "--root", filled, *more)
        other.execute("ROLLBACK")
    assert done.code == 5
    assert "another process has held the write lock for too long; try again" in done.err


def test_commands_that_need_a_store_say_how_to_get_one(hmr: Hmr, root: Path) -> None:
    """And do not leave an empty one behind."""
    for words in (["log"], ["verify"], ["export", root / "out"], ["diff", "0"]):
        done = hmr("--root", root, "--offline", *words)
        assert done.code == 5
        assert "hmr import" in done.err
    assert not root.exists()


def test_a_replica_without_its_primary_still_reads(hmr: Hmr, root: Path) -> None:
    """Offline, from the starter catalogue; and an unusable database address is an error of use."""
    assert len(hmr("list", "image_generation", "--offline", "--root", root, "--json").value) == 12
    assert hmr("list", "--database", "mysql://x", "--root", root).code == 2


def test_an_address_that_is_none_does_not_stop_the_counting(hmr: Hmr, root: Path, tmp_path: Path) -> None:
    """Its host is `none`."""
    download = {"file_name": "x", "file_url": "http://[bad"}
    record = {"name": "x", "record_type": "clip", "config": {"download": [download]}}
    (tmp_path / "clip.json").write_text(json.dumps({"x": record}))
    assert hmr("import", tmp_path, "--root", root).code == 0
    assert {"of": "host", "value": "none", "records": 1} in hmr("stats", "clip", "--root", root, "--json").value


def test_nothing_from_a_record_reaches_the_terminal_raw(hmr: Hmr, root: Path, tmp_path: Path) -> None:
    """Escape sequences and marks that turn text round are shown, not obeyed."""
    record = {"name": "x", "record_type": "clip", "description": "a\x1b[31mb\u202ec"}
    (tmp_path / "clip.json").write_text(json.dumps({"x": record}))
    hmr("import", tmp_path, "--root", root)
    shown = hmr("show", "clip", "x", "--root", root)
    assert "\\u001b[31mb\\u202ec" in shown.out
    assert "\x1b" not in shown.out


@pytest.mark.parametrize(
    ("raised", "told"), [(ZeroDivisionError, (70, "--traceback")), (KeyboardInterrupt, (130, "interrupted"))]
)
def test_a_defect_and_an_interrupt_are_one_line(
    hmr: Hmr, root: Path, monkeypatch: pytest.MonkeyPatch, raised: type[BaseException], told: tuple[int, str]
) -> None:
    """With an exit code of their own, and how to see more."""

    def fail() -> str:
        raise raised

    monkeypatch.setattr(getpass, "getuser", fail)
    done = hmr("import", "--starter", "--root", root)
    assert done.code == told[0]
    assert told[1] in done.err


def test_numbers_and_names_beyond_all_measure_are_told(hmr: Hmr, filled: Path) -> None:
    """They were once told as defects of the program."""
    assert hmr("log", "--since", "9" * 30, "--root", filled).code == 0
    assert hmr("log", "--category", "clip", "--limit", "9" * 30, "--root", filled).code == 2
    refused = hmr("import", "--starter", "--actor", "half \udcff", "--root", filled)
    assert refused.code == 4
    assert "cannot be stored" in refused.err


def test_a_database_that_is_no_address_is_a_wrong_setting(hmr: Hmr) -> None:
    """It was once told as a defect of the program."""
    done = hmr("list", "--database", "foo")
    assert done.code == 2
    assert "must be a URL" in done.err


def test_an_export_never_takes_the_place_of_a_device(hmr: Hmr, filled: Path, tmp_path: Path) -> None:
    """`--bundle /dev/full` as root once replaced the device by a file. Through a link the file behind it is written."""
    pipe, link, target = tmp_path / "pipe", tmp_path / "link.json", tmp_path / "target.json"
    os.mkfifo(pipe)
    assert hmr("export", "--bundle", pipe, "--root", filled).code == 5
    assert pipe.is_fifo()
    target.write_text("old")
    link.symlink_to(target)
    assert hmr("export", "--bundle", link, "--root", filled).code == 0
    assert link.is_symlink()
    assert "horde_model_reference/bundle" in target.read_text()


READING = [["list"], ["show", "clip", "x"], ["query", "clip"], ["stats"], ["status"], ["log"], ["verify"]]


@pytest.mark.parametrize("command", READING)
def test_a_store_that_lost_its_content_is_no_empty_one(hmr: Hmr, filled: Path, command: list[str]) -> None:
    """Reading once took the mirror over as a new history. Only a backup or an import by hand is the answer."""
    database = filled / "reference.sqlite3"
    database.write_bytes(b"")
    done = hmr("--root", filled, *command)
    assert (done.code, done.out) == (5, "")
    assert "files of an earlier state: restore a backup" in done.err
    assert database.read_bytes() == b""


def test_doctor_fails_for_a_store_that_lost_its_content(hmr: Hmr, filled: Path) -> None:
    """Also where it has a schema already, but no revision."""
    database = filled / "reference.sqlite3"
    database.write_bytes(b"")
    for _ in range(2):
        done = hmr("doctor", "--root", filled, "--json")
        (failed,) = [check for check in done.value if check["level"] == "FAIL"]
        assert (done.code, failed["check"]) == (1, "store")
        assert "restore a backup, or `hmr import" in failed["result"]
        SqlStore(f"sqlite:///{database}").head()  # creates the tables


@pytest.mark.parametrize("command", [*READING, ["doctor"]])
def test_reading_creates_no_store(
    hmr: Hmr, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """Neither where this machine shall be a PRIMARY, nor where a database is named; nothing else is read then."""
    named = hmr("--database", f"sqlite:///{tmp_path}/x.db", "--root", root, *command)
    settings = make_settings(replicate_mode="PRIMARY")
    monkeypatch.setattr("horde_model_reference.settings.get_settings", lambda: settings)
    as_primary = hmr("--root", root, *command)
    for done, path in ((named, tmp_path / "x.db"), (as_primary, root / "reference.sqlite3")):
        assert done.code == (1 if command == ["doctor"] else 5)
        assert str(path) in done.out + done.err
        assert "no store yet; `hmr import PATH` creates it" in done.out + done.err
        assert not path.exists()


@pytest.mark.parametrize("word", ["size_on_disk_bytes__les=5", "name__foo=3"])
def test_an_operation_that_is_none_is_told_with_those_that_are(hmr: Hmr, filled: Path, word: str) -> None:
    """It was once told as the fault of a record."""
    done = hmr("query", "image_generation", word, "--root", filled)
    assert done.code == 2
    assert f"{word.partition('__')[0]}__lte" in done.err


@pytest.mark.parametrize("word", ["requirements__nope=1", "requirements__nope__gt=1"])
def test_a_key_that_no_record_has_selects_nothing(hmr: Hmr, filled: Path, word: str) -> None:
    """It was once told that None has none; a missing key is `none`."""
    done = hmr("query", "image_generation", word, "--root", filled, "--json")
    assert (done.code, done.value) == (0, [])
    assert len(hmr("query", "image_generation", "requirements__nope=none", "--root", filled, "--json").value) == 12
