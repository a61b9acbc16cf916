"""Settings: names, types, defaults, parsing, combinations, and what is shown of them."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from horde_model_reference import settings as settings_module
from horde_model_reference import settings_report
from horde_model_reference._environment import select
from horde_model_reference.errors import SettingsInvalid
from horde_model_reference.settings import (
    CanonicalFormat,
    HordeModelReferenceSettings,
    RedisSettings,
    ReplicateMode,
    listed,
    masked,
)
from horde_model_reference.settings_report import SettingRow, describe_settings
from tests.test_environment import python

PREFIX = "HORDE_MODEL_REFERENCE_"
REPOSITORY = Path(__file__).resolve().parents[1]
CONTRACT = Path(os.environ.get("HORDE_CONTRACT", REPOSITORY.parent / "shared" / "contract"))

Environment: TypeAlias = Callable[[Mapping[str, str]], None]
Facts: TypeAlias = dict[str, Any]  # the contract as it lies there: whatever JSON holds


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Sets what counts as the environment at import, and forgets the settings of the process."""

    def use(variables: Mapping[str, str]) -> None:
        for module in (settings_module, settings_report):
            monkeypatch.setattr(module, "captured", lambda: select(variables))
        monkeypatch.setattr(settings_module, "_settings", None)

    use({})
    return use


@pytest.fixture
def facts() -> Facts:
    """The facts about settings; skips where the contract is not at hand."""
    if not (CONTRACT / "enums.json").is_file():
        pytest.skip("the contract is not at hand (set HORDE_CONTRACT)")
    facts: Facts = json.loads((CONTRACT / "enums.json").read_text(encoding="utf-8"))
    return facts


def at(settings: object, attribute: str) -> object:
    """The value at a dotted path, as plain data."""
    for name in attribute.split("."):
        settings = getattr(settings, name)
    return settings.model_dump() if isinstance(settings, BaseModel) else settings


def row(settings: HordeModelReferenceSettings, variable: str) -> SettingRow:
    """The row of one variable, named without our prefix."""
    return next(each for each in describe_settings(settings) if each.env in (variable, PREFIX + variable))


# ---- against the contract ----

DIFFERENT_ON_PURPOSE = {  # probe -> what ours gives where the contract's refuses, or gives something else
    f"{PREFIX}PENDING_QUEUE__REQUESTOR_IDS=1,2": ("pending_queue.requestor_ids", ["1", "2"]),
    f"{PREFIX}PENDING_QUEUE__REQUESTOR_IDS=1": ("pending_queue.requestor_ids", ["1"]),
    f"{PREFIX}PENDING_QUEUE__REQUESTOR_IDS=": ("pending_queue.requestor_ids", []),
    f"{PREFIX}PREFERRED_FILE_HOSTS=a": ("preferred_file_hosts", ["a"]),
    "GITHUB_PROXY_URL_BASE=https://proxy.example": (
        "image_github_repo.proxy_settings",
        {"github_proxy_url_base": "https://proxy.example"},
    ),
}
NOT_AN_ATTRIBUTE = ("ok", "logs", "sd_url", "base_path")  # tested with the paths and the repositories


def test_every_setting_has_the_name_type_and_default_of_the_contract(environment: Environment, facts: Facts) -> None:
    """All of them, groups included, by the same environment name and attribute."""
    rows = {each.env: each for each in describe_settings(HordeModelReferenceSettings())}
    for fact in facts["settings_HORDE_MODEL_REFERENCE"]:
        if fact.get("nested"):
            assert type(getattr(HordeModelReferenceSettings(), fact["attribute"])).__name__ == fact["type"]
            continue
        ours = rows[fact["env"]]
        kind = fact["type"].removesuffix(" enum").removeprefix("horde_model_reference.")
        assert (ours.attribute, ours.type, ours.default) == (fact["attribute"], kind, fact["default"])


def test_every_probe_gives_what_the_contract_records(
    environment: Environment, facts: Facts, caplog: pytest.LogCaptureFixture
) -> None:
    """Values, refusals and levels of log lines of every recorded probe, but for the table of differences."""
    caplog.set_level(logging.INFO, "horde_model_reference.settings")
    replayed = 0
    for probe in facts["settings_probe"]:
        if any(name.startswith(("HORDE_GITHUB_SYNC_", "GITHUB_APP", "GITHUB_TOKEN")) for name in probe["env"]):
            continue
        environment(probe["env"])
        caplog.clear()
        replayed += 1
        label, expected = ",".join(f"{name}={value}" for name, value in probe["env"].items()), probe["result"]
        if label in DIFFERENT_ON_PURPOSE:
            attribute, value = DIFFERENT_ON_PURPOSE[label]
            assert at(HordeModelReferenceSettings(), attribute) == value, label
        elif not expected["ok"]:
            with pytest.raises(SettingsInvalid):
                settings_module.get_settings()
        else:
            settings = HordeModelReferenceSettings()
            found = {key: at(settings, key) for key in expected if key not in NOT_AN_ATTRIBUTE}
            assert found == {key: expected[key] for key in found}, label
            levels = [level for level, text in expected["logs"] if not text.startswith(("Making all", "BASE_PATH"))]
            assert [record.levelname for record in caplog.records] == levels, label
    assert replayed >= 40


# ---- reading ----


def test_a_group_can_be_given_whole_and_field_by_field(environment: Environment) -> None:
    """The two are merged, and the single variable wins."""
    environment({f"{PREFIX}REDIS": '{"url": "redis://a", "pool_size": 3}', f"{PREFIX}REDIS__POOL_SIZE": "4"})
    redis = HordeModelReferenceSettings().redis
    assert (redis.url, redis.pool_size, redis.socket_timeout) == ("redis://a", 4, 5)


def test_arguments_win_over_the_environment(environment: Environment) -> None:
    """At any depth, without losing what the environment says beside them."""
    environment({f"{PREFIX}OFFLINE": "true", f"{PREFIX}AUDIT__RELATIVE_SUBDIR": "log"})
    settings = HordeModelReferenceSettings(offline=False, audit={"enabled": False})
    assert (settings.offline, settings.audit.enabled, settings.audit.relative_subdir) == (False, False, "log")


def test_unknown_variables_are_ignored_and_unknown_arguments_refused(environment: Environment) -> None:
    """Other programs use our prefix; a misspelt argument is a mistake in the calling program."""
    environment({f"{PREFIX}BOGUS": "1", f"{PREFIX}REDIS__BOGUS": "1", f"{PREFIX}OFFLINE__DEEP": "x"})
    assert HordeModelReferenceSettings().offline is False
    with pytest.raises(ValidationError, match="oflfine"):
        HordeModelReferenceSettings(oflfine=True)


@given(st.lists(st.text("abc.*:/- ", min_size=1).map(str.strip).filter(bool)))
def test_a_list_reads_the_same_as_json_and_comma_separated(items: list[str]) -> None:
    """For every list whose items hold no comma."""
    assert listed(json.dumps(items)) == listed(" , ".join(items)) == items


def test_github_is_read_through_a_relay_where_one_is_set(environment: Environment) -> None:
    """Both repositories use it; one that names its own keeps that; clones never go through it."""
    environment({
        "GITHUB_PROXY_URL_BASE": "https://relay/",
        f"{PREFIX}TEXT_GITHUB_REPO__PROXY_SETTINGS": '{"github_proxy_url_base": "https://own"}',
    })  # fmt: skip
    settings = HordeModelReferenceSettings()
    assert settings.image_github_repo.url_base_only.startswith("https://relay/https://raw.githubusercontent.com/")
    assert settings.text_github_repo.url_base_only.startswith("https://own/https://raw.githubusercontent.com/")
    assert settings.image_github_repo.git_clone_url == (
        "https://github.com/Haidra-Org/AI-Horde-image-model-reference.git"
    )


def test_attributes_can_be_assigned(environment: Environment) -> None:
    """Clients switch `offline` at run time."""
    settings = HordeModelReferenceSettings()
    settings.offline = True
    assert settings.offline
    assert "offline" in HordeModelReferenceSettings.model_fields


def test_two_objects_share_no_lists(environment: Environment) -> None:
    """A default that one caller changes stays what it was for others."""
    HordeModelReferenceSettings().preferred_file_hosts.append("x")
    assert HordeModelReferenceSettings().preferred_file_hosts == ["huggingface.co"]


# ---- errors ----


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("REPLICATE_MODE", "bogus", "should be 'PRIMARY' or 'REPLICA', is 'bogus'"),
        ("CANONICAL_FORMAT", "V2", "should be 'legacy', 'v2' or 'legacy', is 'V2'"),
        ("CACHE_TTL_SECONDS", "1.5", "should be a valid integer, unable to parse string as an integer, is '1.5'"),
        ("REDIS__POOL_SIZE", "many", "should be a valid integer"),
        ("OFFLINE", "perhaps", "should be a valid boolean"),
        ("REDIS", "garbage", "should be a valid dictionary"),
        ("REDIS", "{garbage", "should be a valid dictionary"),
        ("CORS_ALLOWED_ORIGINS", "[bad", "must be comma separated, or a JSON array"),
        ("MAX_RESPONSE_BYTES", "0", "should be greater than 0"),
        ("DATABASE_URL", "user:secret-word@host", "must be a URL"),
    ],
)
def test_a_bad_value_is_refused_by_name(environment: Environment, name: str, value: str, says: str) -> None:
    """The error is a ValueError that names the variable and what is allowed, and tells no secret."""
    environment({PREFIX + name: value})
    with pytest.raises(ValueError, match=f"^{PREFIX}{name}: ") as caught:
        settings_module.get_settings()
    assert says in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_a_bad_group_is_refused_also_where_a_relay_would_be_added_to_it(environment: Environment) -> None:
    """The relay is no reason to forget what was given."""
    environment({f"{PREFIX}TEXT_GITHUB_REPO": "garbage", "GITHUB_PROXY_URL_BASE": "https://relay"})
    with pytest.raises(SettingsInvalid, match=r"TEXT_GITHUB_REPO: .*should be a valid dictionary"):
        settings_module.get_settings()


def test_all_bad_values_are_told_at_once(environment: Environment) -> None:
    """An operator should not have to start the program once a mistake."""
    environment({f"{PREFIX}OFFLINE": "x", f"{PREFIX}R2__MANIFEST_TTL_SECONDS": "y"})
    with pytest.raises(SettingsInvalid) as caught:
        settings_module.get_settings()
    assert [name for name, _ in caught.value.problems] == [f"{PREFIX}OFFLINE", f"{PREFIX}R2__MANIFEST_TTL_SECONDS"]


# ---- combinations ----


def test_offline_turns_the_network_off(environment: Environment) -> None:
    """Redis and seeding; and a group that the caller passed is left as it was."""
    mine = RedisSettings(use_redis=True)
    settings = HordeModelReferenceSettings(
        offline=True, replicate_mode=ReplicateMode.PRIMARY, redis=mine, github_seed_enabled=True
    )
    assert (settings.redis.use_redis, settings.github_seed_enabled, mine.use_redis) == (False, False, True)


def test_the_singleton_is_built_and_warned_about_once(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    """The module attribute is the same object, and its warning is logged a single time."""
    environment({f"{PREFIX}REDIS__USE_REDIS": "true"})
    first = settings_module.get_settings()
    assert settings_module.horde_model_reference_settings is first is settings_module.get_settings()
    assert len(caplog.records) == 1
    assert CanonicalFormat.__members__["LEGACY"] is CanonicalFormat.legacy


# ---- what is shown ----


def test_origins_are_told_apart(environment: Environment) -> None:
    """Default, environment, argument, and a combination rule that overruled one."""
    environment({f"{PREFIX}CACHE_TTL_SECONDS": "60", f"{PREFIX}REDIS__USE_REDIS": "true", "HORDE_URL": "http://h/"})
    settings = HordeModelReferenceSettings(primary_api_timeout=3)
    settings.horde_api_timeout = 7
    expected = {
        "CACHE_TTL_SECONDS": "environment",
        "PRIMARY_API_TIMEOUT": "argument",
        "HORDE_API_TIMEOUT": "argument",
        "REDIS__USE_REDIS": "rule",
        "OFFLINE": "default",
        "HORDE_URL": "environment",
    }
    assert {name: row(settings, name).origin for name in expected} == expected


def test_secrets_are_masked(environment: Environment) -> None:
    """Whole where the setting is a secret, the password alone inside other URLs; nor are they in the repr."""
    environment({
        f"{PREFIX}DATABASE_URL": "postgresql://u:hunter2@h/db",
        f"{PREFIX}R2__UPLOAD_SECRET_ACCESS_KEY": "hunter2",
        f"{PREFIX}REDIS__URL": "redis://u:hunter2@h:6379/0",
    })  # fmt: skip
    settings = HordeModelReferenceSettings()
    assert "hunter2" not in str([each.value for each in describe_settings(settings)])
    assert row(settings, "REDIS__URL").value == "redis://u:***@h:6379/0"
    assert isinstance(settings.database_url, SecretStr)
    assert settings.database_url.get_secret_value().endswith("hunter2@h/db")


@given(st.text("abc/@:%#?", min_size=1))
def test_no_password_in_a_url_survives_masking(password: str) -> None:
    """Whatever characters it holds, also those that should have been escaped."""
    assert masked(f"redis://user:{password}SECRET@host/0") == "redis://user:***@host/0"


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "tools" / "generate_configuration.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not (REPOSITORY / "tools" / "generate_configuration.py").is_file(), reason="not in a source tree")
def test_the_configuration_page_is_up_to_date() -> None:
    """Every setting is documented, because the page is written from the settings."""
    assert _generator().main(["--check"]) == 0


def test_every_setting_says_what_it_means(environment: Environment) -> None:
    """Each has a sentence of its own and a status."""
    for each in describe_settings(HordeModelReferenceSettings()):
        assert each.description.endswith("."), each.env
        assert each.status, each.env


def test_a_setting_that_nothing_reads_is_marked_as_such() -> None:
    """The marks are compared with the code: `settings.<name>` stands somewhere, or the page says "not read yet"."""
    described = ("settings.py", "settings_report.py")
    files = [path for path in Path(settings_module.__file__).parent.rglob("*.py") if path.name not in described]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    rows = [each for each in describe_settings(HordeModelReferenceSettings.model_construct()) if not each.group]
    read = {each.attribute for each in rows if re.search(rf"\bsettings\.{each.attribute}\b", code)}
    assert {each.attribute for each in rows if each.status != "not read yet"} == read


def test_a_relay_can_be_given_by_one_variable_of_its_repository(environment: Environment) -> None:
    """And it is documented, as every variable that has an effect."""
    variable = f"{PREFIX}TEXT_GITHUB_REPO__PROXY_SETTINGS__GITHUB_PROXY_URL_BASE"
    environment({variable: "https://own"})
    settings = HordeModelReferenceSettings()
    assert settings.text_github_repo.url_base_only.startswith("https://own/")
    assert (row(settings, variable).value, row(settings, variable).origin) == ("https://own", "environment")
    assert row(settings, f"{PREFIX}IMAGE_GITHUB_REPO__PROXY_SETTINGS__GITHUB_PROXY_URL_BASE").value is None


def test_nothing_is_read_from_the_environment_of_later() -> None:
    """A fresh process, variables in lower case, no log line at import."""
    code = "import horde_model_reference.settings as s, sys; print(s._settings is None, s.get_settings().offline)"
    assert python(code, horde_model_reference_offline="true") == "True True"
