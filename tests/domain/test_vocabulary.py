"""The vocabularies: what is known, what happens to what is not, and how more becomes known."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from horde_model_reference import licensing, meta_consts, text_backend_names
from horde_model_reference.domain import record_parts, vocabulary
from horde_model_reference.domain.vocabulary import BaselineDescriptor, Vocabulary
from horde_model_reference.model_consts import image, shared, text

_CONTRACT = Path(os.environ.get("HORDE_CONTRACT", Path(__file__).resolve().parents[3] / "shared" / "contract"))
_ENUMS = ("meta_consts", "model_consts.image", "model_consts.shared", "model_consts.text", "licensing")
_PLACES = (meta_consts, licensing, record_parts)


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    """The recorded enums; tests that ask for them skip where they are absent."""
    file = _CONTRACT / "enums.json"
    if not file.is_file():
        pytest.skip("the contract is not at hand (set HORDE_CONTRACT)")
    loaded: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return loaded


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """What a test registers is gone when it ends."""
    growing: list[dict[str, Any]] = [vocabulary._DESCRIPTORS, vocabulary._RESOLUTIONS]
    growing += [known._values for known in vars(vocabulary).values() if isinstance(known, Vocabulary)]
    before = [dict(each) for each in growing]
    yield
    for each, values in zip(growing, before, strict=True):
        each.clear()
        each.update(values)


def test_every_enum_of_the_domain_is_as_recorded(contract: dict[str, Any]) -> None:
    """Names, values and order of the members: clients iterate over them and freeze their JSON schema."""
    recorded = {e["name"]: e["members"] for e in contract["enums"] if e["module"].endswith(_ENUMS)}
    recorded |= {e["name"]: e["members"] for e in contract["enums"] if hasattr(record_parts, e["name"])}
    ours = {name: getattr(place, name) for name in recorded for place in _PLACES if hasattr(place, name)}
    assert {n: [[m.name, m.value] for m in enum] for n, enum in ours.items()} == recorded
    assert len(recorded) == 15


def test_every_baseline_is_as_recorded(contract: dict[str, Any]) -> None:
    """Native resolutions and alternative names, in order."""
    ours = {
        name: {"native_resolution": d.native_resolution, "alternative_names": list(d.alternative_names)}
        for name, d in vocabulary.get_all_registered_baselines().items()
        if name in vocabulary.KNOWN_IMAGE_GENERATION_BASELINE.__members__
    }
    assert ours == contract["baselines_builtin"]
    assert list(ours) == list(contract["baselines_builtin"])


def test_tags_and_prefixes_are_as_recorded(contract: dict[str, Any]) -> None:
    """The 18 tags, and the prefix of each text backend."""
    assert vocabulary.get_known_tags() == contract["known_tags_sorted"]
    assert contract["text_backend_prefixes"] == text_backend_names.TEXT_LEGACY_BACKEND_PREFIXES
    lookup = vocabulary.IMAGE_GENERATION_BASELINE_NATIVE_RESOLUTION_LOOKUP
    assert {k: v for k, v in lookup.items() if not k.startswith("test ")} == contract[
        "baseline_native_resolution_lookup"
    ]


def test_all_documented_paths_give_the_same_object() -> None:
    """An enum imported from two places must compare by identity."""
    assert image.KNOWN_IMAGE_GENERATION_BASELINE is meta_consts.KNOWN_IMAGE_GENERATION_BASELINE
    assert shared.MODEL_STYLE is meta_consts.MODEL_STYLE
    assert text.TEXT_BACKENDS is text_backend_names.TEXT_BACKENDS is meta_consts.TEXT_BACKENDS


@pytest.mark.parametrize(
    ("baseline", "pixels"),
    [("stable_diffusion_1", 512), (image.KNOWN_IMAGE_GENERATION_BASELINE.stable_diffusion_2_768, 768), ("anima", 1024)],
)
def test_a_baseline_has_its_native_resolution(baseline: str, pixels: int) -> None:
    """By member and by string."""
    assert image.get_baseline_native_resolution(baseline) == pixels
    assert baseline in image.get_baselines_by_resolution(pixels)


@pytest.mark.parametrize("baseline", ["infer", "SDXL", "no such"])
def test_only_canonical_baselines_have_a_native_resolution(baseline: str) -> None:
    """Clients catch the KeyError and fall back."""
    with pytest.raises(KeyError):
        image.get_baseline_native_resolution(baseline)


def test_a_baseline_can_be_registered_and_replaced() -> None:
    """It is known from then on, by name and alternative name; a second registration must say that it replaces."""
    image.register_image_baseline("test hologram", BaselineDescriptor(2048, ("test holo",)))
    assert image.get_baseline_native_resolution("test hologram") == 2048
    assert image.is_known_image_baseline("test holo")
    with pytest.raises(ValueError, match="replace=True"):
        image.register_image_baseline("test hologram", BaselineDescriptor())
    image.register_image_baseline("test hologram", BaselineDescriptor(), replace=True)
    assert image.get_baseline_descriptor("test hologram") == BaselineDescriptor()
    assert image.get_baselines_by_resolution(2048) == []


@pytest.mark.parametrize(
    "kind",
    ["controlnet_style", "image_scheduler", "model_style", "tag", "text_backend", "model_domain", "model_purpose"],
)
def test_every_vocabulary_grows_at_run_time(kind: str) -> None:
    """`register_x` makes `is_known_x` true, and says nothing when repeated."""
    is_known = getattr(meta_consts, f"is_known_{kind}")
    assert not is_known("test value")
    for _ in range(2):
        getattr(meta_consts, f"register_{kind}")("test value")
    assert is_known("test value")


def test_a_vocabulary_is_a_set_in_order() -> None:
    """Set operations give plain sets, and a loop may register while it runs."""
    words = Vocabulary("word", ["b", "a"])
    for word in words:
        words.register(word + "!")
    assert list(words) == ["b", "a", "b!", "a!"]
    assert words & {"a", "x"} == frozenset({"a"})
    assert len(words) == 4


def test_an_unknown_value_is_reported_once_and_in_these_words(caplog: pytest.LogCaptureFixture) -> None:
    """Operators search their logs for this line; line breaks in a name cannot forge another."""
    words = Vocabulary("word", [])
    with caplog.at_level(logging.WARNING, logger="horde_model_reference"):
        assert words.note_unknown("warp\n", "m\nERROR x")
        assert not words.note_unknown("warp\n", "m2")
    expected = r"Unknown word 'warp\n' (first seen on model m\nERROR x); the value is kept as written."
    assert caplog.messages == [expected]


def test_reports_end_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile reference with endless new values is reported up to a limit; long values are cut."""
    monkeypatch.setattr(vocabulary, "_reported", {})
    monkeypatch.setattr(vocabulary, "_MOST_REPORTED", 3)
    words = Vocabulary("word", [])
    assert sum(words.note_unknown(f"{number}", "m") for number in range(9)) == 3
    monkeypatch.setattr(vocabulary, "_MOST_REPORTED", 4)
    assert words.note_unknown("x" * 10_000_000, "m")
    assert max(len(value) for _, value in vocabulary._reported) < 300


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("a/m", ["a/m", "aphrodite/a/m", "koboldcpp/m"]),
        ("m", ["m", "aphrodite/m", "koboldcpp/m"]),
        ("a/b/c", ["a/b/c", "aphrodite/a/b/c", "koboldcpp/b/c"]),
    ],
)
def test_a_text_model_goes_by_three_names(name: str, variants: list[str]) -> None:
    """Its own, Aphrodite's with the author, KoboldCpp's without."""
    assert text_backend_names.get_model_name_variants(name) == variants


@pytest.mark.parametrize(
    ("name", "bare"), [("aphrodite/a/m", "a/m"), ("koboldcpp/m", "m"), ("Koboldcpp/m", "Koboldcpp/m"), ("a/m", "a/m")]
)
def test_one_prefix_is_stripped_and_letter_case_counts(name: str, bare: str) -> None:
    """Only the two prefixes as they are written."""
    assert text_backend_names.strip_backend_prefix(name) == bare
    assert text_backend_names.has_legacy_text_backend_prefix(name) is (name != bare)
