"""What a command works on: the data root, the settings, and the parts that they lead to, each made on first use.

`Session.reads_store` alone decides what commands read: the store, where REPLICATE_MODE is PRIMARY, a database is named,
or there is one under the root; one that is not there or lost its content is an error then, for reading creates nothing
and takes nothing over. Else what a REPLICA reads: its PRIMARY, the files under the root, the starter catalogue.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, BadParameter, Option

import horde_model_reference as library  # its names are looked up when they are used: `--help` need not wait for them
from horde_model_reference.errors import StoreUnavailable

if TYPE_CHECKING:
    from horde_model_reference.moderation.queue import Queue
    from horde_model_reference.stores.sql import SqlStore
    from horde_model_reference.wiring import Parts

__all__ = ["At", "CategoryArgument", "CategoryChoice", "CategoryOption", "Session", "categories", "complete", "known"]


def categories() -> dict[str, library.CategoryDescriptor]:
    """The categories of the reference, in order; those that another program manages are none."""
    registered = library.get_all_registered_categories()
    return {category: kind for category, kind in registered.items() if not kind.managed_elsewhere}


def known(name: str) -> str:
    """The name, if there is such a category. Raises `UnknownCategory`."""
    library.get_category_descriptor(name)
    return name


def complete(incomplete: str) -> list[str]:
    """Categories for the shell's completion."""
    return [category for category in categories() if category.startswith(incomplete)]


CategoryArgument = Annotated[str, Argument(help="A category, for example image_generation.", autocompletion=complete)]
CategoryChoice = Annotated[str | None, Argument(help="A category; default: all of them.", autocompletion=complete)]
CategoryOption = Annotated[str | None, Option(help="Only this category.", autocompletion=complete)]
At = Annotated[str, Option(metavar="REVISION|TIME", help="As it was then; needs a store. Default: now.")]
_Root = Annotated[Path | None, Option(help="Data root; default: horde_model_reference in AIWORKER_CACHE_HOME.")]
_Database = Annotated[str | None, Option(metavar="URL", help="Database; default: one file under the data root.")]


@dataclass
class Session:
    """One run of the program: what the common options say, and what was built from it."""

    root: _Root = None
    database: _Database = None
    offline: Annotated[bool, Option("--offline", help="Never use the network.")] = False
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False
    traceback: Annotated[bool, Option("--traceback", help="Show where an error came from.")] = False
    creates_store = False  # both are for commands that write: make a store where none is,
    takes_over = False  # and take in what an earlier installation left

    @cached_property
    def settings(self) -> library.HordeModelReferenceSettings:
        """The settings of the environment, with the database of the command line. Raises `SettingsInvalid`."""
        from horde_model_reference.settings import get_settings, make_settings

        return get_settings() if self.database is None else make_settings(database_url=self.database)

    @property
    def data_root(self) -> Path:
        return (self.root or library.horde_model_reference_paths.base_path).absolute()

    @property
    def is_offline(self) -> bool:
        return self.offline or self.settings.offline

    @property
    def database_file(self) -> Path | None:
        """The file of the database; None for one on a server."""
        from horde_model_reference.wiring import database_address

        found = re.match(r"sqlite(?:\+\w+)?:///([^?]*)", database_address(self.data_root, self.settings))
        return Path(found[1]) if found else None

    @property
    def reads_store(self) -> bool:
        """Whether this machine owns a store, which is then what is read; see the module."""
        named = self.settings.replicate_mode == "PRIMARY" or self.settings.database_url is not None
        return self.creates_store or named or (file := self.database_file) is None or file.is_file()

    @property
    def has_store(self) -> bool:
        """Whether there is a database already, with anything in it."""
        return (file := self.database_file) is None or _size(file) > 0

    @property
    def loss(self) -> str:
        """What an empty store means where the data root has files with records; nothing where it has none."""
        files = (self.data_root / kind.v2_filename(category) for category, kind in categories().items())
        if all(_size(file) <= len(b"{}\n") for file in files):
            return ""
        told = "the store is empty but the data root has files of an earlier state"
        return f"{told}: restore a backup, or `hmr import {self.data_root}`"

    @cached_property
    def parts(self) -> Parts:
        """The reading object and what is behind it. Raises `StoreUnavailable` for a store that is not there."""
        from horde_model_reference.wiring import Mode, assemble

        file, owns = self.database_file, self.reads_store
        if owns and file is not None and not (self.creates_store or self.has_store):
            lost = self.loss or "the file is empty: restore a backup, or begin with: hmr import PATH"
            raise StoreUnavailable(
                str(file), lost if file.is_file() else "there is no store yet; `hmr import PATH` creates it"
            )
        mode = library.ReplicateMode.PRIMARY if owns else library.ReplicateMode.REPLICA
        offline = self.is_offline and not owns
        return assemble(Mode(mode, offline, self.data_root, takes_over=self.takes_over), self.settings)

    @property
    def store(self) -> SqlStore:
        """Raises `StoreUnavailable` where there is none and none shall be made."""
        if not self.reads_store:
            raise StoreUnavailable(str(self.data_root), "holds no store yet; begin with: hmr import PATH")
        assert self.parts.store is not None
        return self.parts.store

    @cached_property
    def queue(self) -> Queue:
        """Moderation over the store; raises as that does."""
        from horde_model_reference.transport import HttpNetwork
        from horde_model_reference.wiring import queue_of

        return queue_of(self.store, self.settings, HttpNetwork())

    def revision(self, point: str) -> int:
        """The store's revision by its number, at an ISO 8601 time (UTC unless it says otherwise), or at `head`."""
        if point == "head":
            return self.store.head()
        if re.fullmatch("[0-9]{1,18}", point):
            return int(point)
        try:
            moment = datetime.fromisoformat(point)
        except ValueError:
            text = f"{point!r} is no revision and no time; write for example 42, 2026-11-23, 2026-11-23T12:00Z or head"
            raise BadParameter(text) from None
        return self.store.revision_at(int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))

    def records(self, category: str) -> dict[str, library.GenericModelRecord]:
        """Raises `UnknownCategory`, `ReferenceUnavailable`."""
        return self.parts.reference.read(known(category), fresh=not self.reads_store)

    def all_records(self) -> dict[str, dict[str, library.GenericModelRecord]]:
        """Every category that could be read, in their order. Raises `ReferenceUnavailable` where none could."""
        reference = self.parts.reference
        asyncio.run(reference.warm_async(fresh=not self.reads_store))
        return {category: records for category, records in reference.held().items() if records is not None}

    def close(self) -> None:
        if "parts" in vars(self):
            self.parts.close()


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0
