"""What comes in is settled as the contract records it or refused by field; what is told to reviewers is named."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from horde_model_reference.domain.categories import get_all_registered_categories
from horde_model_reference.domain.findings import JsonObject, JsonValue, Severity
from horde_model_reference.domain.vocabulary import BaselineDescriptor, register_image_baseline
from horde_model_reference.exchange.importing import read_folder
from horde_model_reference.moderation.prereview import (
    CHECKS,
    Neighbours,
    ProposalInvalid,
    as_stored,
    folded,
    prereview,
    strictly,
)
from tests.service.test_contract_openapi import contract_folder

HASH, OTHER = "ab" * 32, "cd" * 32
URL = "https://huggingface.co/acme/x/resolve/0123abcd/f.safetensors"


def image(**fields: JsonValue) -> JsonObject:
    """A sound proposal of an image model."""
    file: JsonObject = {"file_name": "f.safetensors", "file_url": URL, "sha256sum": HASH, "size_bytes": 7}
    sound: JsonObject = {"name": "m", "baseline": "stable_diffusion_xl", "nsfw": False, "config": {"download": [file]}}
    return sound | fields


def with_file(**fields: JsonValue) -> JsonObject:
    """The same with other facts about its file."""
    record = image()
    cast("list[JsonObject]", cast("JsonObject", record["config"])["download"])[0].update(fields)
    return record


def refused(
    document: JsonValue, name: str = "m", category: str = "image_generation", before: JsonObject | None = None
) -> list[str]:
    """The fields for which it is refused."""
    with pytest.raises(ProposalInvalid) as refusal:
        strictly(category, name, document, before)
    assert all(each.severity is Severity.ERROR and each.reason for each in refusal.value.findings)
    assert str(refusal.value).encode(), "it can be shown"
    return [each.field for each in refusal.value.findings]


def told(before: JsonObject | None, after: JsonObject, neighbours: Neighbours | None = None) -> dict[str, list[str]]:
    """The fields that each check of the pre-review names, for the image model `m`."""
    found: dict[str, list[str]] = {}
    for each in prereview("image_generation", "m", before, after, neighbours):
        found.setdefault(each.check, []).append(each.field)
    return found


# -- what comes in --


def samples() -> list[tuple[str, str, JsonObject, JsonObject]]:
    """The recorded proposals: category, name, what was sent, and the payload that came back."""
    found = []
    for sample in map(json.loads, (contract_folder() / "http_samples.jsonl").read_text("utf-8").splitlines()):
        if sample["operationId"].startswith(("create_v2_", "update_v2_")) and sample["status"] == 202:
            answer = sample["body"]
            found.append((answer["category"], answer["model_name"], sample["request"]["body"], answer["payload"]))
    return found


def test_every_recorded_proposal_gives_the_recorded_payload() -> None:
    """Key by key and in order, but for what differs on purpose: who and when is the server's, and so is the class."""
    checked = 0
    for category, name, sent, payload in samples():
        created = payload["licensing"]["notes"].startswith("No licensing")  # type: ignore[index,call-overload,union-attr]
        before: JsonObject | None = None if created else {"metadata": {"created_at": 7, "created_by": "other"}}
        wanted = deepcopy(payload)
        metadata = cast("JsonObject", wanted["metadata"])
        metadata |= {} if created else {"created_at": 7, "created_by": "other"}
        if "record_type" in sent:  # the generic route: the peer stored the record as one of another class
            wanted["model_classification"] = {"domain": "image", "purpose": "feature_extractor"}
        settled, findings, _read = strictly(category, name, sent, before)
        assert json.dumps(settled) == json.dumps(wanted)
        assert findings == ()
        checked += 1
    assert checked > 20


def test_every_real_record_may_be_proposed_again_and_settles_to_itself(real_data: Path) -> None:
    """What is published must stay possible to correct: as a change of it nothing of it is refused, or lost."""
    refusals = []
    count = 0
    for category, records in read_folder(real_data).records.items():
        for incoming in records:
            name = incoming.name
            before = cast("JsonObject", json.loads(incoming.document))
            try:
                settled, *_ = strictly(category, name, before | {"name": name}, before)
            except ProposalInvalid as refusal:
                refusals.append((category, name, str(refusal)))
                continue
            again, findings, _read = strictly(category, name, settled, before)
            assert (again, findings) == (settled, ())
            found = prereview(category, name, before, as_stored(category, name, settled))
            assert not {"schema", "lost_field", "difference"} & {each.check for each in found}, (name, found)
            count += 1
    assert refusals == []
    assert count > 900


def test_a_record_that_was_read_over_http_may_be_sent_back() -> None:
    """What was only promised to readers does not become part of the record."""
    before: JsonObject = {"name": "a/m", "parameters": 7}
    guidance: JsonObject = {"status": "undocumented", "primary_profile_id": None, "supplemental_profile_ids": []}
    settled, *_ = strictly("text_generation", "a/m", {**before, "guidance": guidance}, before)
    assert "guidance" not in settled
    assert as_stored("text_generation", "a/m", settled)["parameters"] == 7
    assert "parameters_count" not in as_stored("text_generation", "a/m", settled)


def test_what_is_the_servers_is_never_taken_from_the_proposal() -> None:
    """Who created a record and when stays as stored; when it was changed is told by the log of events."""
    mine: JsonObject = {
        "created_at": 1,
        "created_by": "x",
        "updated_at": 2,
        "updated_by": "y",
        "schema_version": "2.1.0",
    }
    held: JsonObject = {"created_at": 5, "updated_at": 6, "updated_by": "z"}
    assert strictly("image_generation", "m", image(metadata=mine))[0]["metadata"] == {"schema_version": "2.1.0"}
    settled, *_ = strictly("image_generation", "m", image(metadata=mine), {"metadata": held})
    assert settled["metadata"] == {"schema_version": "2.1.0", "created_at": 5}


def test_licensing_is_kept_where_a_change_leaves_it_out_and_cannot_be_taken_away() -> None:
    """A creation without it, or with null, says that nobody concluded anything."""
    block, *_ = strictly("image_generation", "m", image(licensing=None))
    assert cast("JsonObject", block["licensing"])["license_expression"] == "NOASSERTION"
    mit: JsonObject = {"license_expression": "MIT", "license_ids": ["MIT"]}
    mit |= {"commercial_use": "allowed", "redistribution": "allowed"}
    kept, *_ = strictly("image_generation", "m", image(), image(licensing=mit))
    assert mit.items() <= cast("JsonObject", kept["licensing"]).items()
    assert refused(image(licensing=None), before=image()) == ["licensing"]
    assert refused(image(licensing={**mit, "license_ids": []})) == ["licensing"]


@pytest.mark.parametrize(("given", "kept"), [(HASH.upper(), HASH), (f" {HASH}\n", HASH)])
def test_a_hash_in_capitals_is_put_right_and_that_is_told(given: str, kept: str) -> None:
    """The record holds small letters, the reviewer reads that it was otherwise; what was sent stays as it was."""
    sent = with_file(sha256sum=given)
    settled, findings, _read = strictly("image_generation", "m", sent)
    assert f'"{kept}"' in json.dumps(settled)
    assert [(each.check, each.field) for each in findings] == [("hash", "config.download.0.sha256sum")]
    assert sent == with_file(sha256sum=given)


@pytest.mark.parametrize("unknown", ["", "FIXME", "fixme", None])
def test_an_unknown_hash_is_said_to_be_unknown(unknown: str | None) -> None:
    """Null and any spelling of FIXME are the word that the record class knows."""
    settled, findings, _read = strictly("image_generation", "m", with_file(sha256sum=unknown))
    assert findings == ()
    assert f'"sha256sum": "{"FIXME" if unknown != "" else ""}"' in json.dumps(settled)


def test_a_baseline_registered_here_may_be_used_and_its_other_names_may_not() -> None:
    """A new image model names its baseline as the catalogue does; what is there already may keep another name."""
    register_image_baseline("newest_1", BaselineDescriptor(1024, ("newest one",)), replace=True)
    strictly("image_generation", "m", image(baseline="newest_1"))
    for name in ("newest one", "SDXL", "stable diffusion 1", "bogus", ""):
        assert refused(image(baseline=name)) == ["baseline"]
        strictly("image_generation", "m", image(baseline=name), image())


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ([], [""]),
        (None, [""]),
        ({"name": "m"}, ["baseline", "nsfw"]),
        (image(nsfw="maybe", tags=3), ["tags", "nsfw"]),
        (image(name="other"), ["name"]),
        (image(name=None), ["name", "name"]),
        (image(record_type="blip"), ["record_type"]),
        (image(config=[]), ["config"]),
        (image(config={"download": [3]}), ["config.download.0"]),
        (image(metadata=3), ["metadata"]),
        (with_file(file_name="../f"), ["config.download.0.file_name"]),
        (with_file(file_name="/etc/passwd"), ["config.download.0.file_name"]),
        (with_file(file_name="C:\\f"), ["config.download.0.file_name"]),
        (with_file(file_name=" "), ["config.download.0.file_name"]),
        (with_file(file_name=None), ["config.download.0.file_name"]),
        (with_file(sha256sum="abc"), ["config.download.0.sha256sum"]),
        (with_file(sha256sum=HASH[:-1] + "g"), ["config.download.0.sha256sum"]),
        (with_file(sha256sum=[HASH]), ["config.download.0.sha256sum"] * 2),
        *[
            (with_file(file_url=url), ["config.download.0.file_url"])
            for url in (
                *("ftp://h/f", "javascript:alert(1)", "https://", "https:///f", "h/f", "https://u:p@h/f", "//h/f"),
                *(
                    "https://h/a b",
                    "https://h/\n",
                    "https://[::1",
                    "https://h:99999/f",
                    "https://h\\@evil/f",
                    "file:///f",
                ),
            )
        ],
        (image(homepage="javascript:alert(1)"), ["homepage"]),
        (image(showcases=["https://h/ok.png", "data:x"]), ["showcases.1"]),
        (image(finetune_series={"name": "s", "homepage": "x"}), ["finetune_series.homepage"]),
        (image(description="x" * 20_001), ["description"]),
        (image(tags=["t"] * 1_001), ["tags"]),
        (image(config={"download": [{}] * 201}), ["config.download"]),
        (image(extra={str(n): n for n in range(1_001)}), ["extra"]),
        (image(extra=["x" * 19_000] * 60), [""]),
        (image(extra=10**30), ["extra"]),
        (image(extra=-(2**63)), ["extra"]),
        (image(extra=[0.5, float("nan")]), ["extra.1"]),
        (image(extra=float("-inf")), ["extra"]),
        (image(description="half \ud800"), ["description"]),
        (image(description="nul \0"), ["description"]),
        (image(description="evil \u202e gnp.exe"), ["description"]),
        (image(extra={"a": {"b\ud800": 1}}), ["extra.a"]),
        (image(**{"x" * 20_001: 1}), [""]),
    ],
)
def test_what_cannot_become_a_record_is_refused_by_field(document: JsonValue, fields: list[str]) -> None:
    """Each wrong field once, by its path; nothing of it is anybody else's fault."""
    assert refused(document) == fields


def test_what_is_nested_too_deeply_is_refused_before_anything_runs_out() -> None:
    """Also where no recursion could follow it."""
    deep: JsonValue = 1
    for _ in range(100_000):
        deep = [deep]
    (field,) = refused(image(extra=deep))
    assert field.startswith("extra.0.0")
    while isinstance(deep, list):  # taken apart by hand, for the interpreter's sake
        deep = deep.pop()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "  ",
            "a\\b",
            "a\nb",
            "a\u202eb",
            "a\u200bb",
            "a\ud800",
            "e\u0301",
            " a",
            "a ",
            "a\u00a0b",
            "..",
            "a/../b",
        ),
        *("https://h/m", "x" * 513),
    ],
)
def test_a_name_that_deceives_is_refused_where_it_is_new(name: str) -> None:
    """A record that has it already can still be corrected."""
    assert set(refused(image(name=name), name)) <= {"name"}


@pytest.mark.parametrize("name", ["a/b", "100% Ünï ✨", "模型 1.5", "ViT-L/14", "a+b=c", "x" * 512])
def test_any_readable_name_is_accepted(name: str) -> None:
    """Slashes, spaces and scripts."""
    assert strictly("image_generation", name, image(name=name))[0]["name"] == name


def test_a_name_that_is_left_out_is_the_one_the_change_is_for() -> None:
    """And a bad one of an existing record does not keep it from being corrected."""
    assert strictly("blip", "m", {})[0]["name"] == "m"
    assert strictly("blip", " old ", {}, {"name": " old "})[0]["name"] == " old "


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = st.sampled_from(
    "name record_type config metadata licensing tags nsfw baseline style requirements homepage showcases parameters "
    "settings finetune_series model_classification zz".split()
)


@given(
    st.sampled_from([*map(str, get_all_registered_categories()), "nobody's"]),
    st.dictionaries(_FIELDS, _JSON | st.fixed_dictionaries({"download": st.lists(_JSON, max_size=3)})),
    st.none() | st.dictionaries(_FIELDS, _JSON),
)
@example("image_generation", {"baseline": {"download": []}}, None)
@example("blip", {"tags": [{"\ud800": None}, "\udfff", float("nan")]}, {"tags": []})
def test_whatever_is_sent_is_settled_or_refused(category: str, document: JsonObject, before: JsonObject | None) -> None:
    """Nothing else is ever raised; what was settled settles to itself, and pre-review can read anything."""
    prereview(category, "m", before, document)
    with suppress(ProposalInvalid):
        settled, *_ = strictly(category, "m", document, before)
        assert strictly(category, "m", settled, before)[0] == settled
        json.dumps(settled, allow_nan=False).encode()


# -- before a person looks --


def test_a_sound_proposal_has_nothing_to_tell() -> None:
    """Neither new nor unchanged; and a deletion is nothing to look into."""
    settled, *_ = strictly("image_generation", "m", image())
    assert told(None, settled) == told(settled, settled) == {}
    assert prereview("image_generation", "m", settled, None) == ()


@pytest.mark.parametrize(
    ("after", "check", "fields"),
    [
        (image(nsfw="maybe"), "schema", ["nsfw"]),
        (image(basline="x"), "unknown_field", ["basline"]),
        (with_file(sha265sum="x"), "unknown_field", ["config.download.0.sha265sum"]),
        (image(baseline="bogus", style="bogus"), "vocabulary", ["baseline", "style"]),
        (image(requirements={"schedulers": ["bogus"]}), "vocabulary", ["requirements.schedulers"]),
        (image(baseline="SDXL"), "vocabulary", ["baseline"]),
        (with_file(sha256sum="FIXME"), "unverified", ["config.download.0.sha256sum"]),
        (with_file(size_bytes=None), "unverified", ["config.download.0.size_bytes"]),
        (image(tags=["Hentai", "x"]), "nsfw", ["nsfw"]),
        (image(tags=["sfw"], nsfw=True), "nsfw", ["nsfw"]),
        *[
            (with_file(file_url=url), "doubtful_url", ["config.download.0.file_url"])
            for url in (
                "",
                "http://h/f",
                "https://huggingface.co/a/b/resolve/main/f",
                "https://huggingface.co/a/b/raw/main/f",
                "https://huggingface.co/a/b/blob/0123abc/f",
                "https://raw.githubusercontent.com/a/b/main/f",
                "https://civitai.com/api/download/models/1?fileId=2",
                "https://h/f?x=1&Token=secret",
            )
        ],
    ],
)
def test_each_check_names_what_to_look_at(after: JsonObject, check: str, fields: list[str]) -> None:
    """That check and no other."""
    assert told(None, after) == {check: fields}


def test_a_misspelt_field_comes_with_the_one_that_was_meant() -> None:
    """The reviewer need not search."""
    (found,) = prereview("image_generation", "m", None, image(basline="x"))
    assert "baseline" in found.reason


def test_a_size_of_the_whole_record_is_a_size() -> None:
    """Records say it for all files together."""
    assert told(None, with_file(size_bytes=None) | {"size_on_disk_bytes": 7}) == {}


def test_neighbours_are_named() -> None:
    """Names that read the same, and other records with the same file."""
    near = Neighbours(("M",), {HASH: (("clip", "c"), ("image_generation", "i"))})
    found = prereview("image_generation", "m", None, image(), near)
    assert [(each.check, each.reason) for each in found] == [
        ("near_name", "reads like 'M', which is there already"),
        ("shared_file", "the same file is in clip/c"),
        ("shared_file", "the same file is in image_generation/i"),
    ]


def test_a_change_of_a_record_does_not_tell_of_its_name_again() -> None:
    """Nobody can do anything about that in a change."""
    assert told(image(), image(), Neighbours(("M",))) == {}


def test_the_name_of_a_backend_before_that_of_a_text_model_is_told() -> None:
    """Workers announce models so; the reference does not list them so."""
    found = prereview("text_generation", "koboldcpp/m", None, {"name": "koboldcpp/m", "parameters": 7})
    assert [each.check for each in found] == ["near_name"]


def test_other_bytes_under_the_same_address_are_an_error() -> None:
    """Nobody should publish that without looking at the file."""
    (found,) = prereview("image_generation", "m", image(), with_file(sha256sum=OTHER))
    assert (found.check, found.severity, found.field) == (
        "difference",
        Severity.ERROR,
        "config.download[f.safetensors]",
    )


def test_what_was_there_before_and_is_lost_is_told() -> None:
    """An update replaces the whole record, so what it leaves out is gone; not so what is the server's."""
    before = image(description="d", tags=["t"], inpainting=True, trigger=[], metadata={"updated_at": 5}, homepage="")
    assert told(before, image(tags=[], metadata={})) == {"lost_field": ["description", "tags", "inpainting"]}
    assert told(image(), image(config={"download": []})) == {"lost_field": ["config.download[f.safetensors]"]}


def test_a_flood_of_findings_is_cut_for_each_check_alone() -> None:
    """What is told last is told too."""
    flood = image(config={"download": [{"file_name": str(n), "file_url": ""} for n in range(200)]}, tags=["nsfw"])
    found = told(None, flood)
    assert [len(found[check]) for check in ("unverified", "doubtful_url", "nsfw")] == [50, 50, 1]


def test_the_names_of_checks_are_told_apart() -> None:
    """They are what programs and people refer to."""
    assert len({name for name, _, _ in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Deliberate V2", "deliberate_v2", True),
        ("Deliberate", "DELIBERATE ", True),
        ("ＡＢＣ", "abc", True),
        ("e\u0301", "\u00e9", True),
        ("v1.5", "v1-5", True),
        ("v1.5", "v15", False),
        ("a/m", "b/m", False),
        ("a/m", "m", False),
        ("m-Q4_K_M", "m-Q5_K_M", False),
        ("m 7B", "m 13B", False),
        ("---", "___", False),
    ],
)
def test_names_fold_together_where_a_reader_could_confuse_them(one: str, other: str, same: bool) -> None:
    """Sizes, quantisations and authors tell models apart."""
    assert (folded(one) == folded(other)) is same


def test_the_real_names_hardly_ever_fold_together(real_data: Path) -> None:
    """A warning that comes always is read by nobody."""
    for category, records in read_folder(real_data).records.items():
        assert len({folded(each.name) for each in records}) >= len(records) * 0.98, category
