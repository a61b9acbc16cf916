"""Searches over HTTP: each filter beside the same thing said in plain Python, orders, pages, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horde_model_reference.service.application import create_app
from tests.service.servers import ScriptedStore, parts_over, running

V2 = "/api/model_references/v2"
Record = dict[str, Any]

_LICENCES: tuple[Record | None, ...] = (
    None,
    {"license_expression": "MIT", "license_ids": ["MIT"], "commercial_use": "unknown", "redistribution": "allowed"},
    {
        "license_expression": "MIT AND Apache-2.0",
        "license_ids": ["MIT", "Apache-2.0"],
        "commercial_use": "allowed",
        "redistribution": "prohibited",
    },
)
_IMAGES: dict[str, Record] = {
    f"Image {number} é": {
        "name": f"Image {number} é",
        "baseline": baseline,
        "nsfw": nsfw,
        "inpainting": inpainting,
        "tags": tags,
        "size_on_disk_bytes": size,
        "description": description,
    }
    | ({"licensing": licence} if licence else {})
    for number, ((baseline, nsfw, inpainting), tags, size, description, licence) in enumerate(
        zip(
            product(("stable_diffusion_1", "flux_1", "of_tomorrow"), (True, False), (True, False)),
            ([], ["a"], ["a", "b"], ["b", "c"], ["c"], ["A"]) * 2,
            (5, None, 3, 5, 1, 4, None, 2, 5, 0, 7, 6),
            ("b", "B", None, "a", "é", "", "z", "Z", None, "10", "9", "b"),
            _LICENCES * 4,
            strict=True,
        )
    )
}
_TEXTS: dict[str, Record] = {
    name: {"name": name, "parameters": parameters, "baseline": "llama", "nsfw": number % 2 == 0, "tags": ["a"]}
    for number, (name, parameters) in enumerate(
        {
            "acme/Marmot-7B": 7_000_000_000,
            "aphrodite/acme/Marmot-7B": 7_000_000_000,
            "koboldcpp/Marmot-7B": 7_000_000_000,
            "acme/Marmot-13B-Q4_K_M": 13_000_000_000,
            "koboldcpp/Marmot-13B-Q4_K_M": 13_000_000_000,
            "acme/Beaver-1B": 1_000_000_000,
        }.items()
    )
}
_CLIPS: dict[str, Record] = {f"clip {number}": {"name": f"clip {number}"} for number in range(7)}
_HELD = {"image_generation": _IMAGES, "text_generation": _TEXTS, "clip": _CLIPS}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service over those records."""
    root: Path = tmp_path_factory.mktemp("searched")
    store = ScriptedStore(root)
    with store.begin(actor="tests") as unit:
        for category, records in _HELD.items():
            for name, record in records.items():
                unit.put(category, name, json.dumps(record, ensure_ascii=False))
    with running(create_app(parts_over(store, root))) as url, httpx.Client(base_url=url) as client:
        yield client
    store.close()


def _names(client: httpx.Client, path: str, **asked: Any) -> list[str]:
    answer = client.get(f"{V2}/{path}", params={"limit": 500} | asked)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["total"] == len(told["results"])
    return [record["name"] for record in told["results"]]


def _licence(record: Record) -> Record:
    return record.get("licensing") or {"license_ids": [], "commercial_use": "unknown", "redistribution": "unknown"}


_FILTERS: dict[str, tuple[tuple[Any, ...], Callable[[Record, Any], bool]]] = {
    "nsfw": ((True, False), lambda r, v: r.get("nsfw") is v),
    "baseline": (("flux_1", "of_tomorrow", "llama", "none"), lambda r, v: r.get("baseline") == v),
    "inpainting": ((True, False), lambda r, v: r.get("inpainting") is v),
    "name_contains": (("IMAGE 1", "É", "marmot", "/", ""), lambda r, v: v.casefold() in r["name"].casefold()),
    "tags_any": ((["a"], ["a", "c"], ["zzz"]), lambda r, v: bool(set(v) & set(r.get("tags", [])))),
    "tags_all": ((["a"], ["a", "b"], ["a", "c"]), lambda r, v: set(v) <= set(r.get("tags", []))),
    "tags_none": ((["a"], ["a", "c"], ["zzz"]), lambda r, v: not set(v) & set(r.get("tags", []))),
    "backend": (("koboldcpp", "aphrodite", "acme"), lambda r, v: r["name"].startswith(f"{v}/")),
    "exclude_backend_variations": (
        (True, False),
        lambda r, v: not (v and r["name"].split("/")[0] in ("koboldcpp", "aphrodite")),
    ),
    "quantized": ((True, False), lambda r, v: r["name"].endswith("Q4_K_M") is v),
    "license_id": (("MIT", "Apache-2.0", "none"), lambda r, v: v in _licence(r)["license_ids"]),
    "commercial_use": (("allowed", "unknown", "prohibited"), lambda r, v: _licence(r)["commercial_use"] == v),
    "redistribution": (("allowed", "unknown", "prohibited"), lambda r, v: _licence(r)["redistribution"] == v),
}
_EVERYWHERE = [name for name in _FILTERS if name in ("nsfw", "name_contains", "license_id", "commercial_use")]


@pytest.mark.parametrize("name", _FILTERS)
@pytest.mark.parametrize("category", _HELD)
def test_a_filter_leaves_what_plain_python_leaves(client: httpx.Client, name: str, category: str) -> None:
    """In the order in which records were created; a record that lacks the field is not what was asked for."""
    values, accepts = _FILTERS[name]
    for value in values:
        expected = [record["name"] for record in _HELD[category].values() if accepts(record, value)]
        assert _names(client, f"{category}/search", **{name: value}) == expected, value


@settings(max_examples=60)
@given(
    asked=st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, (values, _) in _FILTERS.items()}),
    category=st.sampled_from(list(_HELD)),
)
def test_filters_together_leave_what_each_of_them_leaves(
    client: httpx.Client, asked: dict[str, Any], category: str
) -> None:
    """Any of them at once."""
    expected = [
        name
        for name, record in _HELD[category].items()
        if all(_FILTERS[filter_][1](record, value) for filter_, value in asked.items())
    ]
    assert _names(client, f"{category}/search", **asked) == expected


@pytest.mark.parametrize("name", ["nsfw", "name_contains", "tags_any", "tags_all", "tags_none", "license_id"])
def test_the_search_over_all_goes_category_by_category(client: httpx.Client, name: str) -> None:
    """With the filters that make sense for all; categories in the order in which they are listed."""
    listed = [category for category in client.get(f"{V2}/model_categories").json() if category in _HELD]
    values, accepts = _FILTERS[name]
    for value in values:
        expected = [n for category in listed for n, record in _HELD[category].items() if accepts(record, value)]
        assert _names(client, "search", **{name: value}) == expected


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("field", ["size_on_disk_bytes", "description", "name", "nsfw", "baseline"])
def test_an_order_has_what_lacks_the_field_last_either_way(client: httpx.Client, field: str, descending: bool) -> None:
    """Numbers by size, texts without regard to case; equals stay in the order in which they were created."""

    def key(record: Record) -> Any:
        value = record[field]
        return value.casefold() if isinstance(value, str) else value

    having = [record for record in _IMAGES.values() if record.get(field) is not None]
    lacking = [record["name"] for record in _IMAGES.values() if record.get(field) is None]
    expected = [record["name"] for record in sorted(having, key=key, reverse=descending)] + lacking
    assert _names(client, "image_generation/search", sort_by=field, sort_desc=descending) == expected


@pytest.mark.parametrize("descending", [False, True])
def test_an_order_over_all_categories_has_those_without_the_field_last(client: httpx.Client, descending: bool) -> None:
    """Also where a whole category knows no such field."""
    found = _names(client, "search", sort_by="size_on_disk_bytes", sort_desc=descending)
    sizes = [_IMAGES.get(name, {}).get("size_on_disk_bytes") for name in found]
    counted = [size for size in sizes if size is not None]
    assert counted == sorted(counted, reverse=descending)
    assert sizes[len(counted) :] == [None] * (len(found) - len(counted))
    assert len(found) == sum(map(len, _HELD.values()))


@pytest.mark.parametrize("query", [{}, {"sort_by": "nsfw"}, {"sort_by": "name", "sort_desc": True}, {"tags_any": "a"}])
@pytest.mark.parametrize("path", ["search", "image_generation/search"])
@pytest.mark.parametrize("limit", [1, 4, 7, 500])
def test_pages_put_together_are_the_whole(client: httpx.Client, path: str, query: dict[str, Any], limit: int) -> None:
    """Nothing twice, nothing left out, and `has_more` until there is none."""
    whole, pages, offset = _names(client, path, **query), list[str](), 0
    while True:
        page = client.get(f"{V2}/{path}", params=query | {"limit": limit, "offset": offset}).json()
        pages += [record["name"] for record in page["results"]]
        assert (page["total"], page["offset"], page["limit"]) == (len(whole), offset, limit)
        assert page["has_more"] == (offset + limit < len(whole))
        offset += limit
        if not page["has_more"]:
            break
    assert pages == whole


def test_beyond_the_end_there_is_nothing(client: httpx.Client) -> None:
    """An empty page that says how many there are."""
    page = client.get(f"{V2}/clip/search?offset=100").json()
    assert page == {"results": [], "total": 7, "offset": 100, "limit": 50, "has_more": False}
    assert client.get(f"{V2}/clip/search?offset={10**30}").json()["results"] == []


def test_a_record_found_is_what_a_read_has_with_one_more_name(client: httpx.Client) -> None:
    """`parameters_count`, which searches have always said, beside `parameters`."""
    for category in _HELD:
        read = client.get(f"{V2}/{category}").json()
        for record in client.get(f"{V2}/{category}/search?limit=500").json()["results"]:
            expected = dict(read[record["name"]])
            if category == "text_generation":
                expected["parameters_count"] = expected["parameters"]
            assert record == expected


def test_a_member_of_that_name_further_in_is_another(tmp_path: Path) -> None:
    """What a record says in its metadata does not stand for what it lacks itself."""
    store = ScriptedStore(tmp_path)
    record = {"name": "m", "parameters": 7, "metadata": {"parameters_count": 1}}
    with store.begin(actor="tests") as unit:
        unit.put("text_generation", "m", json.dumps(record))
    with running(create_app(parts_over(store, tmp_path))) as url:
        (found,) = httpx.get(f"{url}{V2}/text_generation/search").json()["results"]
    assert (found["parameters_count"], found["parameters"], found["metadata"]["parameters_count"]) == (7, 7, 1)
    store.close()


def test_a_search_that_was_asked_before_tells_what_is_now(tmp_path: Path) -> None:
    """What a service remembers of the plain filters is of the records that it remembers it for."""
    store = ScriptedStore(tmp_path)

    def put(**nsfw: bool) -> None:
        with store.begin(actor="tests") as unit:
            for name, value in nsfw.items():
                record = {"name": name, "nsfw": value, "baseline": "stable_diffusion_1", "inpainting": False}
                unit.put("image_generation", name, json.dumps(record))

    with running(create_app(parts_over(store, tmp_path))) as url:

        def found(asked: str) -> list[str]:
            results = httpx.get(f"{url}{V2}/image_generation/search?{asked}").json()["results"]
            return [record["name"] for record in results]

        put(one=False, two=True)
        assert [found(f"nsfw=false&inpainting=false&limit={limit}") for limit in (1, 2, 3)] == [["one"]] * 3
        assert (found("nsfw=true"), found("")) == (["two"], ["one", "two"])
        put(one=True, three=False)
        assert (found("nsfw=false&inpainting=false"), found("nsfw=true")) == (["three"], ["one", "two"])
    store.close()


@pytest.mark.parametrize("field", ["nothing", "", "model_fields", "__class__", "model_dump", "copy", "__dict__"])
@pytest.mark.parametrize("path", ["search", "clip/search", "image_generation/search"])
def test_what_cannot_be_sorted_by_is_refused(client: httpx.Client, path: str, field: str) -> None:
    """By 400, whatever the name is that of."""
    answer = client.get(f"{V2}/{path}", params={"sort_by": field})
    assert (answer.status_code, "detail" in answer.json()) == (400, True)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "offset=-1", "nsfw=maybe", "sort_desc=7", "commercial_use=perhaps"]
)
@pytest.mark.parametrize("path", ["search", "clip/search"])
def test_what_is_out_of_bounds_is_refused(client: httpx.Client, path: str, query: str) -> None:
    """By 422, as recorded."""
    assert client.get(f"{V2}/{path}?{query}").status_code == 422


def test_a_source_that_is_not_here_is_refused(client: httpx.Client) -> None:
    """Records of other sources come from a provider, which this service has none of."""
    assert client.get(f"{V2}/clip/search?source=any").json()["total"] == 7
    assert client.get(f"{V2}/clip/search?source=elsewhere").status_code == 400


def test_an_unknown_category_is_refused(client: httpx.Client) -> None:
    """With a text, as recorded."""
    answer = client.get(f"{V2}/nope/search")
    assert (answer.status_code, isinstance(answer.json()["detail"], str)) == (422, True)


def test_an_empty_category_has_nothing(client: httpx.Client) -> None:
    """Also where another program keeps it."""
    for category in ("blip", "lora"):
        assert client.get(f"{V2}/{category}/search").json()["total"] == 0
