"""What the service answers: bodies, tags, revisions, statuses, with and without the /api prefix, names of any kind."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from horde_model_reference.domain.categories import CANONICAL_CATEGORIES, MODEL_REFERENCE_CATEGORY
from horde_model_reference.domain.snapshots import content_etag
from horde_model_reference.service.application import create_app
from horde_model_reference.stores.sql import SqlStore
from tests.service.servers import ScriptedStore, parts_over, running

LEGACY = Path(__file__).parents[1] / "fixtures" / "legacy"
V2 = "/api/model_references/v2"
V1 = "/api/model_references/v1"


def test_every_route_answers_with_and_without_the_prefix(client: httpx.Client) -> None:
    """Clients configured with either base find the same bytes."""
    for path in ("/", "/heartbeat", "/replicate_mode", "/model_references/v2/blip", "/model_references/v1/blip"):
        prefixed, plain = client.get(f"/api{path}"), client.get(path)
        assert (prefixed.status_code, prefixed.content) == (plain.status_code, plain.content) == (200, plain.content)


def test_the_mode_is_what_it_is(client: httpx.Client) -> None:
    """A PRIMARY takes writes, in its canonical format, and says so."""
    expected = {"replicate_mode": "PRIMARY", "canonical_format": "v2", "writable": True}
    assert client.get("/replicate_mode").json() == expected


def test_the_two_interfaces_list_their_categories(client: httpx.Client) -> None:
    """v2 leaves out what is managed elsewhere, v1 lists all."""
    assert client.get(f"{V2}/model_categories").json() == list(CANONICAL_CATEGORIES)
    assert client.get(f"{V1}/model_categories").json() == list(MODEL_REFERENCE_CATEGORY)


def test_a_v2_record_has_what_every_reader_may_rely_on(client: httpx.Client, store: SqlStore) -> None:
    """The stored document, then the promised keys; the category body and the single model agree.

    The metadata are those that the document has, and when the record was created and changed, in Unix seconds.
    """
    stored = json.loads(store.snapshot("text_generation").body)
    body = client.get(f"{V2}/text_generation").json()
    assert list(body) == list(stored)
    for name, document in stored.items():
        assert [key for key in body[name] if key in document] == list(document)
        assert {**body[name], "metadata": None}.items() >= {**document, "metadata": None}.items()
        assert body[name]["metadata"].items() >= document.get("metadata", {}).items()
        assert {"created_at", "updated_at"} <= body[name]["metadata"].keys()
        assert body[name]["licensing"]["license_expression"] == "NOASSERTION"
        assert body[name]["guidance"]["status"] == "undocumented"
    image = client.get(f"{V2}/image_generation").json()
    assert all(record["record_type"] == "image_generation" for record in image.values())
    for name, record in image.items():
        assert client.get(f"{V2}/image_generation/model/{name}").json() == record


@pytest.mark.parametrize("name", ["ViT-L/14", "ViT-L%2F14"])
def test_a_name_with_a_slash_is_found_raw_and_encoded(name: str, client: httpx.Client, store: SqlStore) -> None:
    """715 of 719 text models have one."""
    with store.begin(actor="tests") as unit:
        unit.put("clip", "ViT-L/14", '{"name":"ViT-L/14"}')
    answer = client.get(f"{V2}/clip/model/{name}")
    assert (answer.status_code, answer.json()["name"]) == (200, "ViT-L/14")


def test_v1_gives_the_originals_of_what_nobody_changed(client: httpx.Client) -> None:
    """Every JSON category as data, under its own name and its spellings; text as db.json."""
    for category in ("blip", "controlnet", "esrgan", "gfpgan", "safety_checker", "codeformer", "miscellaneous"):
        assert client.get(f"{V1}/{category}").json() == json.loads((LEGACY / "image" / f"{category}.json").read_bytes())
    images = json.loads((LEGACY / "image" / "stable_diffusion.json").read_bytes())
    for spelling in ("image_generation", "image_generation.json", "stable_diffusion", "stable_diffusion.json"):
        assert client.get(f"{V1}/{spelling}").json() == images
    text = json.loads((LEGACY / "text" / "db.json").read_bytes())
    assert client.get(f"{V1}/text_generation").json() == client.get(f"{V1}/db.json").json() == text


def test_the_entity_tag_is_the_hash_of_the_bytes_and_saves_them(client: httpx.Client, store: SqlStore) -> None:
    """If-None-Match with that tag, alone, weak or in a list, is answered 304 without a body."""
    answer = client.get(f"{V2}/image_generation", headers={"accept-encoding": "identity"})
    tag = answer.headers["etag"]
    assert tag == content_etag(answer.content)
    assert answer.headers["x-reference-revision"] == str(store.head())
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get(f"{V2}/image_generation", headers={"if-none-match": known, "accept-encoding": "identity"})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get(f"{V2}/image_generation", headers={"if-none-match": '"other"'}).status_code == 200


def test_a_change_is_served_as_soon_as_it_is_committed(client: httpx.Client, store: SqlStore) -> None:
    """Body, tag and revision move together, and v1 shows a v2 change."""
    before = client.get(f"{V2}/esrgan")
    name, entry = next(iter(store.entries("esrgan").items()))
    with store.begin(actor="tests") as unit:
        unit.put("esrgan", name, json.dumps(json.loads(entry.document) | {"description": "changed"}))
    after = client.get(f"{V2}/esrgan")
    assert after.json()[name]["description"] == "changed"
    assert after.headers["etag"] != before.headers["etag"]
    assert int(after.headers["x-reference-revision"]) == store.head()
    assert client.get(f"{V1}/esrgan").json()[name]["description"] == "changed"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{V2}/blip/model/nobody", 404),
        (f"{V1}/video_generation", 404),
        (f"{V1}/nope", 422),
        (f"{V1}/db", 422),
        (f"{V1}/models.csv", 422),
        ("/api/nowhere", 404),
    ],
)
def test_a_failure_has_the_recorded_status_and_a_detail(path: str, status: int, client: httpx.Client) -> None:
    """Clients show `detail` to people."""
    answer = client.get(path)
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("category", ["lora", "ti"])
def test_what_is_managed_elsewhere_is_served_without_records(category: str, client: httpx.Client) -> None:
    """As recorded; in both interfaces."""
    for base in (V2, V1):
        answer = client.get(f"{base}/{category}")
        assert (answer.status_code, answer.content) == (200, b"{}")


def test_an_unknown_category_is_an_enum_error_in_v2(client: httpx.Client) -> None:
    """The same shape as FastAPI's own, which clients read."""
    answer = client.get(f"{V2}/nope")
    (fault,) = answer.json()["detail"]
    assert (answer.status_code, fault["type"], fault["loc"]) == (422, "enum", ["path", "model_category_name"])
    assert fault["input"] == "nope"


def test_the_service_describes_itself() -> None:
    """Operation ids are unique, and the two interfaces have theirs."""
    document = create_app().openapi()
    operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == len(set(operations))
    assert {"read_v2_reference", "read_v2_single_model", "read_legacy_reference"} <= set(operations)


def test_v1_is_of_one_moment(scripted: ScriptedStore, tmp_path: Path) -> None:
    """Records and their originals are read one after the other, and a change may come between."""

    def change() -> None:
        with scripted.begin(actor="tests") as unit:
            unit.put("blip", "B", '{"name":"B"}', origin='{"name":"B","later":true}')
            unit.delete("blip", "A")

    with scripted.begin(actor="tests") as unit:
        unit.put("blip", "A", '{"name":"A"}', origin='{"name":"A"}')
        unit.put("blip", "B", '{"name":"B"}', origin='{"name":"B"}')
    with running(create_app(parts_over(scripted, tmp_path))) as url:
        scripted.after_entries = change
        first, again = (httpx.get(f"{url}{V1}/blip") for _ in range(2))
    assert first.json() == {"B": {"name": "B", "later": True}}
    assert (first.content, first.headers["x-reference-revision"]) == (again.content, str(scripted.head()))
