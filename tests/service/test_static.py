"""The read interface as files: what the service answers, byte for byte, and nothing that is no longer so."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from horde_model_reference.domain.snapshots import content_etag
from horde_model_reference.exchange.importing import import_records, read_path
from horde_model_reference.formats.json_codec import decode_object, encode
from horde_model_reference.service.application import create_app
from horde_model_reference.service.static import write_static
from horde_model_reference.settings import make_settings
from horde_model_reference.stores.sql import SqlStore
from horde_model_reference.wiring import Parts
from tests.service.conftest import LEGACY
from tests.service.servers import ScriptedStore, parts_over, running, unpacked

_CODINGS = {".zst": "zstd", ".br": "br", ".gz": "gzip"}
_WORTH_PACKING = 1_024
_HOSTILE = ["../../escaped", "/absolute/path", "a/../../b", "..", "con:", "name.gz", "manifest", "a\\b", "猫"]
_REFERENCES = "api/model_references"


class Site:
    """A store, and the folder that it is written to as files."""

    def __init__(self, store: SqlStore, root: Path) -> None:
        self.store = store
        self.parts = parts_over(store, root)
        self.written: list[Path] = []
        self.above = root / "above"
        self.folder = self.above / "site"

    def put(self, category: str, *names: str, text: str = "") -> None:
        """Commit records of those names."""
        with self.store.begin(actor="tests") as unit:
            for name in names:
                unit.put(category, name, encode({"name": name, "description": text}).decode())

    def delete(self, category: str, *names: str) -> None:
        """Take records out."""
        with self.store.begin(actor="tests") as unit:
            for name in names:
                unit.delete(category, name)

    def write(self) -> dict[str, bytes]:
        """Write it, and give all files that are above the folder then, by their path in it."""
        self.written = write_static(self.parts, make_settings(), self.folder)
        files = sorted(path for path in self.above.rglob("*") if not path.is_dir())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def site(scripted: ScriptedStore, tmp_path: Path) -> Site:
    """One with nothing in it yet."""
    return Site(scripted, tmp_path)


def _whole(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: body for name, body in files.items() if Path(name).suffix not in _CODINGS}


def _twins(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    """What the twins of a file hold, unpacked, by their coding."""
    found = {coding: files.get(name + suffix) for suffix, coding in _CODINGS.items()}
    return {coding: unpacked(data, coding) for coding, data in found.items() if data is not None}


def test_every_file_is_what_the_service_answers(parts: Parts, client: httpx.Client, tmp_path: Path) -> None:
    """At the address that is its path, for a whole imported reference; nothing else is written."""
    written = write_static(parts, make_settings(), tmp_path)
    there = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert set(written) == there
    assert len(written) == len(there)
    whole = [path for path in written if path.suffix not in _CODINGS]
    assert len(whole) > 20
    for path in whole:
        address = "/" + path.relative_to(tmp_path).as_posix()
        answer = client.get(address, headers={"accept-encoding": "identity"})
        assert (address, answer.status_code, answer.content) == (address, 200, path.read_bytes())


def test_every_category_that_the_service_answers_has_its_file(
    parts: Parts, client: httpx.Client, tmp_path: Path
) -> None:
    """Both interfaces, and each spelling of the old one; what the service does not have is no file."""
    write_static(parts, make_settings(), tmp_path)
    for version in ("v1", "v2"):
        names = client.get(f"/{_REFERENCES}/{version}/model_categories").json()
        spelt = [*names, *(f"{name}.json" for name in names), "stable_diffusion", "stable_diffusion.json", "db.json"]
        for name in [*spelt, "model_categories"] if version == "v1" else names:
            address = f"{_REFERENCES}/{version}/{name}"
            status = client.get(f"/{address}").status_code
            assert (address, (tmp_path / address).is_file()) == (address, status == 200)
    assert (tmp_path / _REFERENCES / "v2" / "manifest").is_file()


def test_twins_unpack_to_the_body_beside_them(parts: Parts, tmp_path: Path) -> None:
    """All three where it is worth it, none where it is not; never one without the body itself."""
    written = write_static(parts, make_settings(), tmp_path)
    files = {path.as_posix(): path.read_bytes() for path in written}
    whole = _whole(files)
    assert {len(body) >= _WORTH_PACKING for body in whole.values()} == {True, False}
    for name, body in whole.items():
        expected = dict.fromkeys(_CODINGS.values(), body) if len(body) >= _WORTH_PACKING else {}
        assert _twins(files, name) == expected
    assert {name.removesuffix(Path(name).suffix) for name in files.keys() - whole.keys()} <= whole.keys()


def test_the_tags_of_the_manifest_are_those_of_the_files(parts: Parts, store: SqlStore, tmp_path: Path) -> None:
    """Of the unpacked bodies, with their lengths and counts, at the revision of the store."""
    write_static(parts, make_settings(), tmp_path)
    folder = tmp_path / _REFERENCES / "v2"
    manifest = decode_object((folder / "manifest").read_bytes())
    assert manifest["revision"] == store.head()
    categories = manifest["categories"]
    assert isinstance(categories, dict)
    assert len(categories) > 5
    for name, told in categories.items():
        body = (folder / name).read_bytes()
        assert told == {"count": len(decode_object(body)), "bytes": len(body), "etag": content_etag(body)}


def test_what_is_written_again_leaves_nothing_of_before(site: Site) -> None:
    """A record is gone, and a category is empty: its body is small now, so its packed twins go as well."""
    site.put("esrgan", "kept", "gone", text="much to tell, " * 200)
    site.put("clip", "last", text="much to tell, " * 200)
    before = site.write()
    clip, esrgan = (f"{_REFERENCES}/v2/{name}" for name in ("clip", "esrgan"))
    assert _twins(before, clip).keys() == {"zstd", "br", "gzip"}
    site.delete("esrgan", "gone")
    site.delete("clip", "last")
    after = site.write()
    assert after[clip] == b"{}"
    assert list(decode_object(after[esrgan])) == ["kept"]
    assert {name for name in after if name.startswith(clip)} == {clip}
    assert not [
        name for name, body in after.items() for data in [body, *_twins(after, name).values()] if b'"gone"' in data
    ]
    assert all(body == after[name] for name in _whole(after) for body in _twins(after, name).values())
    assert {path.relative_to(site.folder).as_posix() for path in site.written} == after.keys()


def test_a_category_that_v1_no_longer_tells_has_no_file_there(site: Site) -> None:
    """The service answers 404 or 503 then, so a file of it would be stale for ever; all spellings go, and the twins."""
    import_records(site.store, read_path(LEGACY), actor="tests")
    names = [f"{_REFERENCES}/v1/{name}" for name in ("esrgan", "esrgan.json")]
    before = site.write()
    assert all(name in before for name in names)
    site.delete("esrgan", *site.store.entries("esrgan"))
    after = site.write()
    with running(create_app(site.parts)) as url:
        answers = {name: httpx.get(f"{url}/{name}") for name in names}
    expected = {name: answer.content for name, answer in answers.items() if answer.status_code == 200}
    assert {name: after[name] for name in after if name.startswith(names[0])} == expected


def test_writing_what_is_there_already_changes_nothing(site: Site) -> None:
    """Same names, same bytes; the heartbeat apart, which tells how things are now."""
    site.put("esrgan", "a", text="much to tell, " * 200)
    assert site.write() == site.write()


def test_names_of_models_never_become_paths(site: Site) -> None:
    """Nothing is written beside the folder, nor is there a file for any model in it."""
    site.put("esrgan", "plain")
    before = site.write()
    site.put("esrgan", *_HOSTILE)
    after = site.write()
    assert list(decode_object(after[f"{_REFERENCES}/v2/esrgan"])) == ["plain", *_HOSTILE]
    assert _whole(after).keys() == _whole(before).keys()
    assert [path.name for path in site.above.iterdir()] == ["site"]


def test_no_temporary_file_is_left_and_other_files_are_left_alone(site: Site) -> None:
    """A web server's own pages may lie in the same folder."""
    page = site.folder / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("ours")
    files = site.write()
    assert files.keys() - {path.relative_to(site.folder).as_posix() for path in site.written} == {"index.html"}
    assert files["index.html"] == b"ours"
