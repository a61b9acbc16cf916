"""Each command does what it says, in words for people and as JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from horde_model_reference import __version__
from horde_model_reference.cli.context import Session
from horde_model_reference.cli.health import examine
from horde_model_reference.settings import HordeModelReferenceSettings
from horde_model_reference.stores.sql import SqlStore
from tests.cli.conftest import Hmr

FIXTURES = Path(__file__).parents[1] / "fixtures" / "legacy"


def test_import_takes_records_once_and_says_what_it_did(hmr: Hmr, root: Path) -> None:
    """The second import of the same files changes nothing."""
    first = hmr("import", FIXTURES, "--root", root, "--json", "--actor", "ann").value
    assert sum(row["created"] for row in first["categories"]) == first["revision"] > 0
    again = hmr("import", FIXTURES, "--root", root)
    assert again.code == 0
    assert "took 0 changes" in again.out
    assert {row["actor"] for row in hmr("log", "--root", root, "--json").value} == {"ann"}


def test_import_refreshes_the_mirror_unless_it_only_rehearses(hmr: Hmr, root: Path) -> None:
    """The JSON files under the data root are there after an import, and nothing at all after a dry run."""
    tried = hmr("import", "--starter", "--dry-run", "--root", root)
    assert tried.code == 0
    assert "would take 33 changes" in tried.out
    assert not root.exists()
    hmr("import", "--starter", "--root", root)
    assert "stable_diffusion" in json.loads((root / "stable_diffusion.json").read_bytes())
    assert "would take 0 changes" in hmr("import", "--starter", "--dry-run", "--root", root).out


def test_prune_deletes_what_the_files_lack_but_never_what_could_not_be_read(
    hmr: Hmr, filled: Path, tmp_path: Path
) -> None:
    """A broken record in a file is no reason to delete the good one in the store."""
    hmr("export", tmp_path / "v2", "--root", filled)
    file = tmp_path / "v2" / "clip.json"
    records = json.loads(file.read_bytes())
    file.write_text(json.dumps({**{name: [] for name in records}, "bad": []}))
    assert hmr("import", file, "--prune", "--root", filled).code == 4
    file.write_text(json.dumps({**{name: [] for name in records}, "more": {"name": "more", "record_type": "clip"}}))
    done = hmr("import", file, "--prune", "--root", filled)
    assert (done.code, f"{len(records)} records set aside" in done.out) == (1, True)
    assert {row["name"] for row in hmr("list", "clip", "--root", filled, "--json").value} == {*records, "more"}
    file.write_text("{}")
    pruned = hmr("import", file, "--prune", "--root", filled, "--json")
    assert pruned.value["categories"][0]["deleted"] == len(records) + 1


def test_a_bundle_gives_back_the_store_with_its_legacy_originals(hmr: Hmr, root: Path, tmp_path: Path) -> None:
    """Export to a bundle, import it elsewhere, export both as legacy files: equal."""
    hmr("import", FIXTURES, "--root", root)
    bundle = tmp_path / "all.json"
    assert hmr("export", "--bundle", bundle, "--root", root).code == 0
    assert hmr("import", bundle, "--root", tmp_path / "other").code == 0
    for name, place in (("a", root), ("b", tmp_path / "other")):
        hmr("export", tmp_path / name, "--format", "legacy", "--root", place)
    written = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert "models.csv" in written
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in written)


def test_export_gives_the_past_and_only_the_categories_asked_for(hmr: Hmr, filled: Path, tmp_path: Path) -> None:
    """At revision 1 there was one record."""
    done = hmr("export", tmp_path / "old", "--at", 1, "--root", filled, "--json")
    assert done.value["revision"] == 1
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["blip.json"]
    done = hmr("export", tmp_path / "new", "--category", "clip", "--root", filled, "--json")
    assert [Path(name).name for name in done.value["written"]] == ["clip.json"]


def test_list_shows_categories_or_the_models_of_one(hmr: Hmr, filled: Path) -> None:
    """With a limit it says that there is more, on standard error."""
    counts = {row["category"]: row["records"] for row in hmr("list", "--root", filled, "--json").value}
    assert counts["image_generation"] == 12
    assert counts["video_generation"] == 0
    some = hmr("list", "image_generation", "--limit", 3, "--root", filled)
    assert len(some.out.splitlines()) == 4
    assert "3 of 12" in some.err


def test_show_gives_the_document_and_the_legacy_entry(hmr: Hmr, filled: Path) -> None:
    """Plain text has one line a field."""
    shown = hmr("show", "image_generation", "stable_diffusion", "--root", filled)
    assert "config.download[0].sha256sum" in shown.out
    document = hmr("show", "image_generation", "stable_diffusion", "--root", filled, "--json").value
    assert document["baseline"] == "stable_diffusion_1"
    legacy = hmr("show", "image_generation", "stable_diffusion", "--legacy", "--root", filled, "--json").value
    assert "files" in legacy["config"]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["baseline=stable_diffusion_xl", "nsfw=false"], ["SDXL 1.0"]),
        (["tags=anime"], ["Nova Anime XL"]),
        (["tags__in=retro,booru", "--sort", "name"], None),
        (
            ["baseline__in=flux_1,stable_cascade", "--sort", "-name"],
            ["Stable Cascade 1.0", "Flux.1-Schnell fp8 (Compact)"],
        ),
        (["size_on_disk_bytes__gte=13e9", "--sort", "size_on_disk_bytes", "--limit", "1"], ["Stable Cascade 1.0"]),
        (["size_on_disk_bytes=none"], ["DreamShaper XL"]),
        (["name__contains=XL", "version__ne=1.0", "nsfw=yes", "--sort", "name", "--offset", "2"], ["Nova Anime XL"]),
        (["inpainting=true"], ["stable_diffusion_inpainting"]),
        (["tags__ne=character", "baseline=stable_diffusion_xl"], None),
        (["metadata__schema_version=0"], []),
    ],
)
def test_query_understands_filters_by_the_type_of_the_field(
    hmr: Hmr, filled: Path, filters: list[str], names: list[str] | None
) -> None:
    """Text, numbers, truth values, lists, missing values and nested fields; None: only that something is found."""
    found = [record["name"] for record in hmr("query", "image_generation", *filters, "--root", filled, "--json").value]
    assert found == names if names is not None else found


def test_query_prints_chosen_columns_as_csv_and_json(hmr: Hmr, filled: Path) -> None:
    """Columns may reach into nested fields; a path that ends early is empty."""
    words = ("query", "text_generation", "--columns", "name,parameters_count,finetune_series__name", "--root", filled)
    rows = list(csv.DictReader(io.StringIO(hmr(*words, "--csv").out)))
    assert rows[0] == {"name": "gpt2", "parameters_count": rows[0]["parameters_count"], "finetune_series__name": ""}
    assert hmr(*words, "--json").value[0]["finetune_series__name"] is None


def test_query_all_looks_through_every_category(hmr: Hmr, filled: Path) -> None:
    """By the fields that every record has."""
    found = hmr("query", "all", "name__contains=a", "--root", filled, "--json", "--columns", "record_type").value
    assert len({row["record_type"] for row in found}) > 2


def test_stats_count_records_values_and_missing_hashes(hmr: Hmr, filled: Path) -> None:
    """Over all categories and inside one."""
    totals = {row["category"]: row for row in hmr("stats", "--root", filled, "--json").value}
    assert totals["safety_checker"]["without_hash"] == 2
    counts = {
        (row["of"], row["value"]): row["records"]
        for row in hmr("stats", "image_generation", "--root", filled, "--json").value
    }
    assert counts["baseline", "stable_diffusion_1"] == 5
    assert counts["nsfw", True] == 3


def test_log_shows_the_newest_last_and_filters(hmr: Hmr, filled: Path) -> None:
    """By category, and from a revision on."""
    assert [row["revision"] for row in hmr("log", "--limit", 2, "--root", filled, "--json").value] == [32, 33]
    assert [row["revision"] for row in hmr("log", "--since", 31, "--root", filled, "--json").value] == [32, 33]
    rows = hmr("log", "--category", "image_generation", "--limit", 1, "--root", filled, "--json").value
    assert [(row["category"], row["revision"]) for row in rows] == [("image_generation", 23)]


def test_diff_speaks_of_what_a_change_means(hmr: Hmr, filled: Path, tmp_path: Path) -> None:
    """Between files and the store, in words, and with exit code 1."""
    hmr("export", tmp_path, "--root", filled)
    assert hmr("diff", tmp_path, "head", "--root", filled).out == "no differences\n"
    file = tmp_path / "stable_diffusion.json"
    text = file.read_text().replace(
        "huggingface.co/mirroring/horde_models/resolve/main/model_1_5", "example.org/model_1_5"
    )
    file.write_text(text)
    done = hmr("diff", "head", tmp_path, "--root", filled)
    assert done.code == 1
    assert "URL host changed from huggingface.co to example.org, hash unchanged" in done.out
    (change,) = hmr("diff", "head", file, "--category", "image_generation", "--root", filled, "--json").value
    assert (change["name"], change["differences"][0]["alarming"]) == ("stable_diffusion", False)


def test_diff_compares_revisions_and_times_of_the_store(hmr: Hmr, filled: Path) -> None:
    """Before the import there was nothing."""
    added = hmr("diff", 31, "--root", filled, "--json")
    assert [change["kind"] for change in added.value] == ["added", "added"]
    assert len(hmr("diff", "2001-01-01", "head", "--root", filled, "--json").value) == 33
    assert hmr("diff", "head", "head", "--root", filled, "--json").value == []


def test_verify_finds_an_event_that_somebody_edited(hmr: Hmr, filled: Path) -> None:
    """Exit code 1, and the revision."""
    import sqlite3

    assert hmr("verify", "--root", filled, "--json").value == {"revision": 33, "faults": []}
    with sqlite3.connect(filled / "reference.sqlite3") as connection:
        connection.execute("UPDATE events SET actor = 'nobody' WHERE revision = 7")
    done = hmr("verify", "--root", filled, "--json")
    assert done.code == 1
    assert 7 in [fault["revision"] for fault in done.value["faults"]]
    assert hmr("doctor", "--root", filled).code == 1


def test_validate_lists_every_finding_and_fails_for_errors_only(hmr: Hmr, tmp_path: Path) -> None:
    """With --strict also for values that nobody knows."""
    file = tmp_path / "stable_diffusion.json"
    good = {"name": "x", "record_type": "image_generation", "baseline": "never_heard_of", "nsfw": False}
    file.write_text(json.dumps({"x": good}))
    assert hmr("validate", file).code == 0
    strict = hmr("validate", file, "--strict", "--json")
    assert strict.code == 1
    assert strict.value["findings"][0]["field"] == "baseline"
    file.write_text(json.dumps({"x": good, "y": {"name": "y", "baseline": 3}, "z": []}))
    wrong = hmr("validate", tmp_path, "--json")
    assert wrong.code == 1
    assert {(f["record"], f["field"]) for f in wrong.value["findings"]} >= {("y", "nsfw"), ("y", "baseline")}
    assert all(finding["file"] == str(file) and finding["reason"] for finding in wrong.value["findings"])


def test_config_masks_secrets_and_tells_origins(hmr: Hmr, root: Path) -> None:
    """The database of the command line is an argument, and its password is not shown."""
    done = hmr("config", "--changed", "--database", "postgresql://me:hunter2@localhost/x", "--json")
    (row,) = [row for row in done.value if row["env"] == "HORDE_MODEL_REFERENCE_DATABASE_URL"]
    assert row["origin"] == "argument"
    assert "hunter2" not in done.out
    assert len(hmr("config", "--json").value) > len(hmr("config", "--changed", "--json").value)


def test_status_and_doctor_describe_a_reader_without_network(hmr: Hmr, root: Path) -> None:
    """Where there is no store the starter catalogue is read, and doctor finds that well."""
    status = hmr("status", "--offline", "--root", root, "--json").value
    assert (status["mode"], status["offline"]) == ("REPLICA", True)
    assert {c["category"]: c["source"] for c in status["categories"]}["clip"] == "the starter catalogue"
    doctor = hmr("doctor", "--offline", "--root", root, "--json")
    assert doctor.code == 0
    assert {check["level"] for check in doctor.value} == {"OK"}


def test_doctor_says_what_to_do_about_a_stale_mirror(hmr: Hmr, filled: Path) -> None:
    """A warning does not fail, and names the next step."""
    assert {check["level"] for check in hmr("doctor", "--root", filled, "--json").value} == {"OK"}
    (filled / "clip.json").unlink()
    done = hmr("doctor", "--root", filled, "--json")
    (warning,) = [check for check in done.value if check["level"] == "WARN"]
    assert (done.code, warning["check"]) == (0, "mirror")
    assert "clip.json" in warning["result"]
    assert warning["next"]


def test_the_version_is_told(hmr: Hmr) -> None:
    """In one line."""
    assert hmr("--version").out == f"hmr {__version__}\n"


def test_the_real_reference_passes_through_import_and_query(hmr: Hmr, root: Path, real_data: Path) -> None:
    """All ten categories, and a query over them."""
    assert hmr("import", real_data, "--root", root).code == 0
    assert len(hmr("query", "image_generation", "nsfw=false", "--root", root, "--json").value) > 10
    assert hmr("verify", "--root", root).code == 0


@pytest.mark.parametrize(
    ("status", "level"), [(200, "OK"), (404, "WARN")], ids=["a PRIMARY answers there", "something else answers there"]
)
def test_doctor_asks_the_primary_for_its_heartbeat(root: Path, hmr: Hmr, status: int, level: str) -> None:
    """An answer of another kind is a warning that names the address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        settings = HordeModelReferenceSettings(primary_api_url=f"http://127.0.0.1:{server.server_port}/api")
        session = Session(root)
        session.settings = settings
        checks = {check.name: check for check in examine(session)}
        server.shutdown()
    assert (checks["PRIMARY"].level, str(server.server_port) in checks["PRIMARY"].result) == (level, True)


def test_doctor_finds_a_root_that_is_no_folder_and_a_store_without_records(
    hmr: Hmr, root: Path, tmp_path: Path
) -> None:
    """The first fails, the second warns; both say what to do."""
    file = tmp_path / "clip.json"
    file.write_text("{}")
    blocked = {check["check"]: check for check in hmr("doctor", "--offline", "--root", file, "--json").value}
    assert (blocked["data root"]["level"], "--root" in blocked["data root"]["next"]) == ("FAIL", True)
    assert hmr("import", file, "--root", root).code == 0
    empty = {check["check"]: check for check in hmr("doctor", "--root", root, "--json").value}
    assert (empty["reading"]["level"], "hmr import" in empty["reading"]["next"]) == ("WARN", True)


def test_a_dry_run_tells_the_revision_that_the_import_then_has(hmr: Hmr, filled: Path) -> None:
    """It once told the revision of its own rehearsal. The second import of the same files makes none."""
    told = [
        hmr("import", FIXTURES, *more, "--root", filled, "--json").value for more in (["--dry-run"], [], ["--dry-run"])
    ]
    assert told[0]["revision"] == told[1]["revision"] == told[2]["revision"] > 33


def test_a_dry_run_of_a_primary_takes_nothing_over(
    hmr: Hmr, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store without a revision once took the files of its data root over, in a run that should write nothing."""
    (filled / "reference.sqlite3").unlink()
    store = SqlStore(f"sqlite:///{filled / 'reference.sqlite3'}")
    assert store.head() == 0  # creates the tables
    settings = HordeModelReferenceSettings(replicate_mode="PRIMARY")
    monkeypatch.setattr("horde_model_reference.settings.get_settings", lambda: settings)
    assert hmr("import", FIXTURES, "--dry-run", "--root", filled).code == 0
    assert store.head() == 0
    store.close()
    assert hmr("import", FIXTURES, "--root", filled).code == 0
    assert "taken over" in hmr("log", "--limit", "99", "--root", filled).out


@pytest.mark.parametrize("name", ["legacy/clip.json", "meta/v2/clip_metadata.json"])
def test_an_import_without_changes_repairs_a_mirror_that_doctor_finds_behind(hmr: Hmr, filled: Path, name: str) -> None:
    """Also the files beside the v2 ones."""
    (filled / name).unlink()
    (warning,) = [check for check in hmr("doctor", "--root", filled, "--json").value if check["level"] == "WARN"]
    assert name in warning["result"]
    assert "took 0 changes" in hmr("import", "--starter", "--root", filled).out
    assert (filled / name).is_file()


@pytest.mark.parametrize("form", ["v2", "legacy"])
def test_an_export_says_which_files_in_the_folder_are_of_another_state(
    hmr: Hmr, filled: Path, tmp_path: Path, form: str
) -> None:
    """Files of categories that had no records then; and where there was nothing at all, that too."""
    hmr("export", tmp_path, "--format", form, "--root", filled)
    mixed = hmr("export", tmp_path, "--format", form, "--at", "1", "--root", filled, "--json")
    left = [line for line in mixed.err.splitlines() if "no records at revision 1" in line]
    assert mixed.code == 1
    assert len(left) == len([*tmp_path.glob("*.*")]) - len(mixed.value["written"]) > 5
    nothing = hmr("export", tmp_path / "new", "--format", form, "--at", "2001-01-01", "--root", filled)
    assert (nothing.code, "no records at revision 0" in nothing.err) == (0, True)


def test_a_model_that_was_not_there_then_is_told_with_the_revision(hmr: Hmr, filled: Path) -> None:
    """For it may be there now."""
    done = hmr("show", "image_generation", "SDXL 1.0", "--at", "3", "--root", filled)
    assert (done.code, "at revision 3" in done.err) == (3, True)


def test_strict_says_that_warnings_count(hmr: Hmr, tmp_path: Path) -> None:
    """Else "0 errors" and exit code 1 contradict each other."""
    record = {
        "name": "x",
        "record_type": "image_generation",
        "baseline": "unheard_of",
        "nsfw": False,
        "inpainting": False,
    }
    (tmp_path / "stable_diffusion.json").write_text(json.dumps({"x": record}))
    done = hmr("validate", "--strict", tmp_path)
    assert (done.code, "0 errors, 1 warnings, which --strict counts" in done.err) == (1, True)
