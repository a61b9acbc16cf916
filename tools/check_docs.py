"""Documentation coverage: every setting, command, option and route is named on its page.

What the program offers is asked of the program itself, so that nothing can be added in silence.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, cast

from pydantic import BaseModel
from pydantic_settings import BaseSettings

from tools.workshop import PACKAGE, ROOT, finish, loud

__all__ = ["command_words", "main", "missing_names", "missing_words", "setting_names"]

_SETTINGS = f"{PACKAGE}.settings"
_COMMANDS = f"{PACKAGE}.cli.main"
_SERVICE = f"{PACKAGE}.service.app"
_SHARED = ("every", "all", "common")
_EVERYWHERE = {"--help", "--install-completion", "--show-completion"}


class _Parameter(Protocol):
    opts: list[str]


class _Command(Protocol):
    hidden: bool

    @property
    def params(self) -> Sequence[_Parameter]: ...


class _Application(Protocol):
    def openapi(self) -> dict[str, dict[str, object]]: ...


def _nested(annotation: object) -> type[BaseModel] | None:
    """The settings class inside `X` or `X | None`, if there is one."""
    inner = (annotation, *getattr(annotation, "__args__", ()))
    return next((part for part in inner if inspect.isclass(part) and issubclass(part, BaseModel)), None)


def setting_names(model: type[BaseModel], prefix: str, delimiter: str) -> Iterator[str]:
    """The environment variables of a settings class, nested ones included."""
    for field_name, field in model.model_fields.items():
        inner = _nested(field.annotation)
        if inner is not None and delimiter:
            yield from setting_names(inner, f"{prefix}{field_name}{delimiter}".upper(), delimiter)
        else:
            alias = field.validation_alias
            yield alias if isinstance(alias, str) else f"{prefix}{field_name}".upper()


def command_words(command: _Command, path: str = "") -> Iterator[str]:
    """The commands below `command` as they are typed, and the long options of each (`"show --json"`)."""
    for name, inner in sorted(cast("dict[str, _Command]", getattr(command, "commands", {})).items()):
        if not inner.hidden:
            typed = f"{path} {name}".strip()
            yield typed
            yield from command_words(inner, typed)
    for parameter in command.params:
        if not getattr(parameter, "hidden", False):
            options = [word for word in parameter.opts if word.startswith("--") and word not in _EVERYWHERE]
            yield from (f"{path} {option}".strip() for option in options)


def _holds(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


def missing_names(text: str, names: Iterable[str]) -> Iterator[str]:
    """The names that a page does not hold as whole words."""
    return (name for name in names if not _holds(text, name))


def missing_words(text: str, typed: Iterable[str]) -> Iterator[str]:
    """What can be typed and is not told in the section of its command, or in one on what all commands share.

    A section of the command `show` has the word in its heading; an option of it may also stand under a heading with
    "every", "all" or "common" in it.
    """
    sections = re.split(r"^(?=#{1,6} )", text, flags=re.MULTILINE)
    headed = [(section.partition("\n")[0].lower(), section) for section in sections]
    shared = "".join(section for heading, section in headed if any(_holds(heading, w) for w in _SHARED))
    for name in typed:
        words, option = name.partition("--")[::2]
        own = "".join(section for heading, section in headed if all(_holds(heading, w) for w in words.split()))
        if not own or (option and not _holds(own + shared, f"--{option}")):
            yield name


def _page(name: str) -> str:
    path = ROOT / "docs" / name
    return path.read_text("utf-8") if path.exists() else ""


def _there(module: str) -> bool:
    """Whether a module exists yet. Absence is told loudly: the check of that part did not happen."""
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        loud(f"{module} does not exist yet, so its documentation was not compared")
    return found


def _settings() -> Iterator[str]:
    module = importlib.import_module(_SETTINGS)
    classes = [
        c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, BaseSettings) and c is not BaseSettings
    ]
    for settings in classes:
        config = settings.model_config
        yield from setting_names(settings, config.get("env_prefix", ""), config.get("env_nested_delimiter") or "")


def _commands() -> Iterator[str]:
    typer = importlib.import_module("typer.main")
    yield from command_words(typer.get_command(importlib.import_module(_COMMANDS).app))


def _routes() -> Iterator[str]:
    application = cast("_Application", importlib.import_module(_SERVICE).create_app())
    yield from sorted({path.removeprefix("/api") for path in application.openapi()["paths"]} - {"", "/"})


def _findings() -> Iterator[str]:
    if _there(_SETTINGS):
        missing = missing_names(_page("configuration.md"), _settings())
        yield from (f"docs/configuration.md: setting `{name}` is not documented" for name in missing)
    if _there(_COMMANDS):
        missing = missing_words(_page("command-line.md"), _commands())
        yield from (f"docs/command-line.md: `hmr {typed}` is not documented" for typed in missing)
    if _there(_SERVICE):
        text = _page("http.md")
        yield from (f"docs/http.md: route `{path}` is not documented" for path in _routes() if path not in text)


def main() -> int:
    """Compare the program with docs/configuration.md, docs/command-line.md and docs/http.md."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIWORKER_CACHE_HOME"] = folder
        return finish("docs", _findings(), "what exists is documented")


if __name__ == "__main__":
    sys.exit(main())
