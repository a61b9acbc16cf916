"""What every source promises. A test class of a source subclasses `SourceContract` and says how to make one."""

from __future__ import annotations

import asyncio
import json
import math
import time
from pathlib import Path
from typing import ClassVar

import pytest

from horde_model_reference.domain.snapshots import Snapshot
from horde_model_reference.errors import SourceUnavailable
from horde_model_reference.flow import Network, NoNetwork, run, run_async
from horde_model_reference.sources.base import Ask, Source
from tests.reading.samples import ESRGAN, answered, ask_for


class SourceContract:
    """`source` gives the `documents` of `category`; `change` makes it have others, where it can."""

    category = "esrgan"
    documents: ClassVar[dict[str, object]] = {**ESRGAN}
    absent: str | None = "video_generation"
    """A category it cannot give; None where an empty one is an answer."""
    can_change = True
    network: Network = NoNetwork()

    @pytest.fixture
    def source(self, tmp_path: Path) -> Source:
        raise NotImplementedError

    def change(self, source: Source, documents: dict[str, object]) -> None:
        raise NotImplementedError

    def read(self, source: Source, category: str, known: Snapshot | None = None) -> Snapshot:
        since = -math.inf if known is None else time.time()
        return answered(source, ask_for(category, known, since=since), self.network)

    def test_it_gives_the_documents_in_their_order(self, source: Source) -> None:
        """The body is compact JSON of all documents, and says where it is from."""
        snapshot = self.read(source, self.category)
        assert json.loads(snapshot.body) == self.documents
        assert list(json.loads(snapshot.body)) == list(self.documents)
        assert b'": ' not in snapshot.body
        assert (snapshot.category, bool(source.name), bool(snapshot.source)) == (self.category, True, True)

    def test_both_colours_give_the_same(self, source: Source) -> None:
        """What a thread reads, a coroutine reads."""
        ask = ask_for(self.category)
        assert asyncio.run(run_async(source.read(ask), self.network)) == {
            self.category: self.read(source, self.category)
        }

    def test_what_did_not_change_is_the_very_same_body(self, source: Source) -> None:
        """A reader recognises by identity that it need not validate again."""
        first = self.read(source, self.category)
        assert self.read(source, self.category, first).body is first.body

    def test_a_change_is_seen(self, source: Source) -> None:
        """A reader that holds the old snapshot gets the new one, and can go on from there."""
        if not self.can_change:
            pytest.skip("it never changes")
        first = self.read(source, self.category)
        self.change(source, {**self.documents, "C": {"name": "C"}})
        second = self.read(source, self.category, first)
        assert list(json.loads(second.body)) == [*self.documents, "C"]
        assert self.read(source, self.category, second).body is second.body

    def test_a_snapshot_of_another_source_is_not_taken_for_its_own(self, source: Source) -> None:
        """Tags and revisions mean nothing elsewhere."""
        own = self.read(source, self.category)
        foreign = Snapshot(self.category, b"{}", own.revision, source="elsewhere", tag=own.tag)
        assert json.loads(self.read(source, self.category, foreign).body) == self.documents

    def test_what_it_does_not_have_it_refuses(self, source: Source) -> None:
        """`SourceUnavailable` says whose refusal it is; another source may be asked then."""
        if self.absent is None:
            assert self.read(source, "video_generation").body == b"{}"
            return
        with pytest.raises(SourceUnavailable) as caught:
            self.read(source, self.absent)
        assert caught.value.source
        assert caught.value.reason

    def test_categories_of_other_programs_are_refused(self, source: Source) -> None:
        """LoRA and TI files belong to the engine."""
        with pytest.raises(SourceUnavailable):
            self.read(source, "lora")

    def test_each_category_of_one_question_is_answered_for_itself(self, source: Source) -> None:
        """What cannot be had of one category costs the others nothing."""
        found = run(source.read(Ask({"lora": None, self.category: None})), self.network)
        assert set(found) == {"lora", self.category}
        assert isinstance(found["lora"], SourceUnavailable)
        assert isinstance(found[self.category], Snapshot)
