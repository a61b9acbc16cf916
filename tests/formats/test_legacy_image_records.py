"""Single JSON entries: what v2 makes of each field, what is refused, and how a change is written back."""

from __future__ import annotations

from typing import Any

import pytest

from horde_model_reference.domain.findings import Severity
from horde_model_reference.formats.legacy import v1_body
from horde_model_reference.formats.legacy_json import LEGACY_JSON

SHA = "a" * 64
FORM = LEGACY_JSON


def entry(**changes: Any) -> dict[str, Any]:
    """A complete image entry with one model file and one configuration file."""
    return {
        "name": "m",
        "type": "ckpt",
        "baseline": "stable diffusion 1",
        "style": "anime",
        "config": {
            "files": [{"path": "m.ckpt", "sha256sum": SHA, "md5sum": "5"}, {"path": "v1.yaml"}],
            "download": [{"file_name": "m.ckpt", "file_path": "", "file_url": "https://example.org/m"}],
        },
        **changes,
    }


def config(*files: Any, download: Any = ()) -> dict[str, Any]:
    """A legacy config of these files."""
    return {"files": [{"sha256sum": SHA, **file} for file in files], "download": list(download)}


def convert(origin: Any, category: str = "image_generation", key: str = "m") -> tuple[Any, list[str]]:
    """The document and the findings as `severity field: reason`."""
    document, findings = FORM.to_v2(category, key, origin)
    assert (document is None) == any(finding.severity is Severity.ERROR for finding in findings)
    assert {finding.record for finding in findings} <= {key}
    return document, [f"{finding.severity} {finding.field}: {finding.reason}" for finding in findings]


def test_an_image_document_has_the_keys_of_the_contract_in_order() -> None:
    """record_type and model_classification included, which the sister implementation leaves out."""
    document, findings = convert(entry(description="d", version="1", size_on_disk_bytes=1, min_bridge_version=2))
    assert findings == []
    assert list(document) == [
        "record_type", "name", "description", "version", "config", "model_classification", "size_on_disk_bytes",
        "baseline", "tags", "showcases", "min_bridge_version", "trigger", "nsfw", "style",
    ]  # fmt: skip
    assert document["config"] == {
        "download": [
            {"file_name": "m.ckpt", "file_url": "https://example.org/m", "sha256sum": SHA, "known_slow_download": False}
        ]
    }
    assert document["model_classification"] == {"domain": "image", "purpose": "generation"}


@pytest.mark.parametrize(
    ("legacy", "field", "value"),
    [
        ({"baseline": "stable diffusion 2"}, "baseline", "stable_diffusion_2_768"),
        ({"baseline": "flux_1"}, "baseline", "flux_1"),
        ({"tags": [" a "], "trigger": None}, "tags", ["a"]),
        ({"nsfw": None}, "nsfw", False),
        ({"inpainting": True}, "inpainting", True),
        ({"inpainting": False}, "inpainting", None),
        ({"style": " anime "}, "style", "anime"),
        ({"requirements": {"karras": True, "n": 1}}, "requirements", {"schedulers": ["karras"], "n": 1}),
        ({"requirements": {"karras": False}}, "requirements", {"schedulers": ["normal"]}),
        ({"requirements": {"karras": True, "schedulers": ["x"]}}, "requirements", {"schedulers": ["x"]}),
        ({"requirements": {"karras": "yes"}}, "requirements", {}),
        ({"metadata": {"created_at": 1}}, "metadata", {"schema_version": "1.0.0", "created_at": 1}),
        ({"licensing": {"notes": ""}}, "licensing", {"notes": ""}),
        ({"available": True, "features_not_supported": ["x"]}, "available", None),
    ],
)
def test_a_field_means_this_in_v2(legacy: dict[str, Any], field: str, value: object) -> None:
    """Values that are only spelt differently raise no finding."""
    document, findings = convert(entry(**legacy))
    assert document.get(field) == value
    assert findings == []


@pytest.mark.parametrize(
    ("url", "slow"),
    [
        ("https://civitai.com/api/1", True),
        ("https://cdn.civitai.com/1", True),
        ("https://example.org/civitai.com", False),
        ("https://notcivitai.org/1", False),
    ],
)
def test_a_slow_download_is_known_by_its_host(url: str, slow: bool) -> None:
    """Not by its path."""
    document, _ = convert(entry(config=config({"path": "m"}, download=[{"file_name": "m", "file_url": url}])))
    assert document["config"]["download"][0]["known_slow_download"] is slow


@pytest.mark.parametrize(
    ("category", "origin", "own"),
    [
        ("controlnet", {"type": "control_canny", "style": "x"}, {"controlnet_style": "control_canny"}),
        ("controlnet", {"style": "control_hed"}, {"controlnet_style": "control_hed"}),
        ("clip", {"pretrained_name": "p", "nsfw": True}, {"pretrained_name": "p"}),
        ("esrgan", {"style": "generalist", "baseline": "x"}, {}),
    ],
)
def test_other_categories_have_metadata_and_their_own_fields(category: str, origin: Any, own: dict[str, Any]) -> None:
    """Everything else is left to the original."""
    document, findings = convert({"name": "m", "config": config({"path": "m"}), **origin}, category)
    assert findings == ["warning config: m has no URL"]
    assert document["metadata"] == {"schema_version": "2.1.0"}
    fixed = ("record_type", "name", "metadata", "config", "model_classification")
    assert {key: value for key, value in document.items() if key not in fixed} == own
    assert list(document)[:5] == list(fixed)


REFUSED = {
    "config": ([], "config: must be an object, not a list"),
    "name": (7, "name: must be a string, not a number"),
    "baseline": (None, "baseline: is missing"),
    "style": ({}, "style: must be a string, not an object"),
    "type": (1, "type: must be a string, not a number"),
    "description": (["x"], "description: must be a string, not a list"),
    "tags": ("x", "tags: must be a list of strings, not a string"),
    "trigger": (["a", 1], "trigger[1]: must be a string, not a number"),
    "showcases": ({}, "showcases: must be a list of strings, not an object"),
    "nsfw": ("no", "nsfw: must be true or false, not a string"),
    "inpainting": (1, "inpainting: must be true or false, not a number"),
    "size_on_disk_bytes": (1.5, "size_on_disk_bytes: must be a whole number, not a number"),
    "min_bridge_version": (True, "min_bridge_version: must be a whole number, not true or false"),
    "requirements": ({"a": [{}]}, "requirements.a: must be a scalar or a list of scalars, not an object"),
    "metadata": ("x", "metadata: must be an object, not a string"),
    "licensing": ([], "licensing: must be an object, not a list"),
}


@pytest.mark.parametrize(("field", "value", "finding"), [(f, *row) for f, row in REFUSED.items()], ids=REFUSED)
def test_a_wrong_kind_sets_the_record_aside(field: str, value: Any, finding: str) -> None:
    """The finding names the field."""
    document, findings = convert(entry(**{field: value}))
    assert document is None
    assert f"error {finding}" in findings


M = {"path": "m"}
REFUSED_CONFIGS = {
    "files no list": ({"files": {}}, "config.files: must be a list, not an object"),
    "a file no object": ({"files": ["m"]}, "config.files[0]: must be an object, not a string"),
    "path no string": (config({"path": 1}), "config.files[0].path: must be a string, not a number"),
    "path leaves": (config(M, M, {"path": "a/../../b"}), "config.files[2].path: 'a/../../b': a file name cannot leave"),
    "path absolute": (config({"path": "/etc/x.yaml"}), "config.files[0].path: '/etc/x.yaml': a file name is relative"),
    "path deceives": (config({"path": "a\u202eb"}), "config.files[0].path: 'a\\u202eb': holds an invisible"),
    "hash no string": (config({"path": "m", "sha256sum": 1}), "config.files[0].sha256sum: must be a string"),
    "unknown download": (config(M, download=[{"file_name": "x"}]), "config.download[0].file_name: unknown download"),
    "unnamed download": (config(M, download=[{}]), "config.download[0].file_name: unknown download entry"),
    "download no object": (config(M, download=[[]]), "config.download[0]: must be an object, not a list"),
    "no URL at all": (
        config(M, download=[{"file_name": "m", "file_url": "https://[x"}]),
        "config.download[0].file_url: is no URL",
    ),
    "hashes no object": (
        config(M) | {"embedded_component_hashes": 1},
        "config.embedded_component_hashes: must be an object",
    ),
}


@pytest.mark.parametrize(("value", "finding"), REFUSED_CONFIGS.values(), ids=REFUSED_CONFIGS)
def test_a_config_that_cannot_be_used_sets_the_record_aside(value: Any, finding: str) -> None:
    """The finding has the path down to the row."""
    document, findings = convert(entry(config=value))
    assert document is None
    assert any(text.startswith(f"error {finding}") for text in findings), findings


@pytest.mark.parametrize("name", ["", " ", "a\0b", "a\u202eb", "back\\slash", "x" * 600])
def test_a_name_that_deceives_sets_the_record_aside(name: str) -> None:
    """Whether it is the key or the name in the entry."""
    assert convert(entry(name=name), key=name)[0] is None
    assert convert(entry(), key=name)[0] is None


@pytest.mark.parametrize("name", ["ViT-L/14", "..", "a/../b", "名前", "a%2Fb"])
def test_a_name_that_is_odd_is_still_a_name(name: str) -> None:
    """Names never become paths, so slashes and dots harm nobody."""
    assert convert(entry(name=name), key=name)[1] == []


WARNED: dict[str, tuple[dict[str, Any], str]] = {
    "another name": ({"name": "n"}, "name: is 'n', other than the key"),
    "no name": ({"name": None}, "name: is missing; the key is used"),
    "unknown baseline": ({"baseline": "stable diffusion 9"}, "baseline: 'stable diffusion 9' is not a known baseline"),
    "unknown style": ({"style": "cubist"}, "style: 'cubist' is not a known style"),
    "unknown type": ({"type": "x"}, "type: is 'x', and 'ckpt' everywhere else"),
    "no config": ({"config": None}, "config: is missing, so no file of this model is known"),
    "unknown hash": ({"config": config({"path": "m", "sha256sum": None})}, "config.files[0].sha256sum: is not known"),
    "short hash": (
        {"config": config({"path": "m", "sha256sum": "ab"})},
        "config.files[0].sha256sum: is no SHA-256 in hexadecimal (2 characters)",
    ),
    "no path": ({"config": config({})}, "config.files[0].path: is missing, so the file is left out"),
    "twice": ({"config": config(M, M)}, "config.files[1]: m is listed before; this one counts"),
    "more keys": ({"config": config(M) | {"x": 1}}, "config.x: is not known and not kept in v2"),
    "file path": (
        {"config": config(M, download=[{"file_name": "m", "file_path": "x"}])},
        "config.download[0].file_path: is set; nothing reads it",
    ),
    "ftp": (
        {"config": config(M, download=[{"file_name": "m", "file_url": "ftp://x/y"}])},
        "config.download[0].file_url: is no http or https address",
    ),
}


@pytest.mark.parametrize(("changes", "finding"), WARNED.values(), ids=WARNED)
def test_what_is_only_odd_is_kept_with_a_warning(changes: dict[str, Any], finding: str) -> None:
    """The record is served, as written."""
    document, findings = convert(entry(**changes))
    assert f"warning {finding}" in findings
    origin = entry(**changes)
    assert FORM.from_v2("image_generation", "m", document, origin) == origin
    assert document["style"] in ("anime", "cubist")


def test_a_configuration_file_may_be_downloaded() -> None:
    """It is in neither list of v2, and back in both of legacy."""
    origin = entry(config=config(M, {"path": "c.yaml"}, download=[{"file_name": "c.yaml", "file_url": "u"}]))
    document, _ = convert(origin)
    assert [row["file_name"] for row in document["config"]["download"]] == ["m"]
    document["config"]["download"][0]["content_hash"] = "h"
    back: Any = FORM.from_v2("image_generation", "m", document, origin)
    assert back["config"]["download"] == origin["config"]["download"]
    assert back["config"]["files"] == [{**origin["config"]["files"][0], "content_hash": "h"}, {**M, "path": "c.yaml", "sha256sum": SHA}]  # fmt: skip  # noqa: E501


THREE = config(
    {"path": "a", "md5sum": "1"},
    {"path": "x.yaml"},
    {"path": "b", "sha256sum": "b" * 64, "file_type": "vae", "md5sum": "2"},
    {"path": "c", "sha256sum": "FIXME", "md5sum": "3"},
    download=[{"file_name": name, "file_path": "", "file_url": name, "more": 1} for name in ("b", "a")],
)


def rewritten(change: Any) -> tuple[list[Any], list[Any]]:
    """Files and downloads of THREE after `change` was made to the list of v2."""
    origin = entry(config=THREE)
    document, _ = convert(origin)
    change(document["config"]["download"])
    back: Any = FORM.from_v2("image_generation", "m", document, origin)
    return back["config"]["files"], back["config"]["download"]


def test_removing_a_download_removes_its_rows_alone() -> None:
    """The configuration file keeps its place."""
    files, downloads = rewritten(lambda rows: rows.pop(0))
    assert files == THREE["files"][1:]
    assert downloads == THREE["download"][:1]


def test_a_new_order_of_downloads_is_the_new_order_of_files() -> None:
    """Each row moves whole; downloads have no order in v2, so theirs stays."""
    files, downloads = rewritten(lambda rows: rows.reverse())
    assert [row["path"] for row in files] == ["c", "x.yaml", "b", "a"]
    assert [row.get("md5sum") for row in files] == ["3", None, "2", "1"]
    assert downloads == THREE["download"]


def test_a_renamed_file_keeps_what_v2_does_not_know() -> None:
    """The hash tells that it is the same file."""
    files, downloads = rewritten(lambda rows: rows[1].update(file_name="b2"))
    assert files[2] == {**THREE["files"][2], "path": "b2"}
    assert downloads[0] == {**THREE["download"][0], "file_name": "b2"}


def test_a_file_without_hash_is_not_taken_for_another_without_one() -> None:
    """FIXME is no identity."""
    files, _ = rewritten(lambda rows: rows[2].update(file_name="d"))
    assert files[3] == {"path": "d", "sha256sum": "FIXME"}


def test_a_download_gets_and_loses_its_url() -> None:
    """A first URL makes a row; an emptied one stays as an empty one."""
    _, downloads = rewritten(lambda rows: (rows[2].update(file_url="c"), rows[0].update(file_url="")))
    assert downloads == [
        THREE["download"][0],
        {**THREE["download"][1], "file_url": ""},
        {"file_name": "c", "file_path": "", "file_url": "c"},
    ]


def test_a_purpose_that_is_taken_away_is_gone() -> None:
    """From this row, and nothing else from it."""
    files, _ = rewritten(lambda rows: rows[1].pop("file_purpose"))
    assert files[2] == {key: value for key, value in THREE["files"][2].items() if key != "file_type"}


def test_a_doubled_file_becomes_one_when_its_config_changes() -> None:
    """The last one counted, so its values are what is written, at the first one's place."""
    origin = entry(config=config(M, {"path": "n"}, {**M, "sha256sum": "b" * 64}))
    document, _ = convert(origin)
    document["config"]["download"][0]["content_hash"] = "h"
    back: Any = FORM.from_v2("image_generation", "m", document, origin)
    assert [row["path"] for row in back["config"]["files"]] == ["m", "n"]
    assert back["config"]["files"][0] == {"path": "m", "sha256sum": "b" * 64, "content_hash": "h"}


def test_a_control_type_changes_wherever_it_was_written() -> None:
    """`style` repeats `type` in the real files; where it says something else it is left alone."""
    for style in ("control_canny", "other"):
        origin: Any = {"name": "m", "type": "control_canny", "style": style, "config": config(M)}
        document, _ = convert(origin, "controlnet")
        back = FORM.from_v2("controlnet", "m", {**document, "controlnet_style": "control_hed"}, origin)
        expected = "control_hed" if style == "control_canny" else "other"
        assert back == {**origin, "type": "control_hed", "style": expected}


def test_a_document_without_original_becomes_a_complete_entry() -> None:
    """What old clients index without asking is there; what only v2 knows is not."""
    document = {
        "record_type": "image_generation",
        "name": "new",
        "baseline": "stable_diffusion_1",
        "finetune_series": {"name": "x"},
        "config": {"download": [{"file_name": "n", "file_url": "u", "sha256sum": SHA, "file_purpose": "vae"}]},
    }
    expected = {
        "name": "new",
        "type": "ckpt",
        "baseline": "stable diffusion 1",
        "config": {
            "files": [{"path": "n", "sha256sum": SHA, "file_type": "vae"}],
            "download": [{"file_name": "n", "file_path": "", "file_url": "u"}],
        },
        "inpainting": False,
        "tags": [],
        "showcases": [],
        "trigger": [],
        "nsfw": False,
    }
    assert FORM.from_v2("image_generation", "new", document, None) == expected  # type: ignore[arg-type]
    assert FORM.from_v2("image_generation", "new", document, {"name": 7}) == expected  # type: ignore[arg-type]
    assert FORM.from_v2("blip", "b", {"name": "b"}, None) == {
        "name": "b",
        "type": "blip",
        "config": {"files": [], "download": []},
    }


def test_a_baseline_that_is_no_word_is_passed_on() -> None:
    """Rendering never fails on a document; judging it is the business of validation."""
    back = FORM.from_v2("image_generation", "m", {"name": "m", "baseline": 5, "config": 7}, None)
    assert (back["baseline"], back["config"]) == (5, {"files": [], "download": []})


def test_constants_are_never_handed_out() -> None:
    """Who changes an entry or a document changes it alone."""
    for _ in range(2):
        document, _findings = convert({"name": "m"}, "esrgan")
        assert document["config"] == {"download": []}
        document["config"]["download"].append("x")
        document["metadata"]["x"] = 1
        assert document["metadata"] == {"schema_version": "2.1.0", "x": 1}
        back: Any = FORM.from_v2("image_generation", "m", {"name": "m"}, None)
        assert back["tags"] == []
        back["tags"].append("x")


def test_the_v1_body_of_an_image_category_is_by_key() -> None:
    """Records with an original and without one side by side."""
    origin = entry()
    documents = {"m": convert(origin)[0], "n": {"name": "n"}}
    body: Any = v1_body("image_generation", documents, {"m": origin}, include_group=True)
    assert body["m"] == origin
    assert body["n"]["type"] == "ckpt"
