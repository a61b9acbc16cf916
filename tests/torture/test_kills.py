"""The short form of `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.calls import CALLS, TracingRefused, fail_at, kill_at
from tests.torture.kills import Outcome, torture


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Ten times SIGKILL: acknowledged changes are there; record, status, log and mirror agree; no file is left over."""
    outcome = Outcome()
    torture(outcome, f"sqlite:///{tmp_path / 'reference.sqlite3'}", tmp_path / "mirror", 10)
    assert outcome == Outcome(outcome.kills, outcome.acknowledged)
    assert outcome.kills == 10
    assert outcome.acknowledged > 30


def test_a_writer_killed_at_a_call_of_the_system_loses_nothing(tmp_path: Path) -> None:
    """At the second time of each call that changes files, or where some fail; `make torture` takes every time."""
    outcome, address = Outcome(), f"sqlite:///{tmp_path / 'reference.sqlite3'}"
    try:
        died = [call for call in CALLS if kill_at(outcome, address, tmp_path / "mirror", call, 2)]
        fail_at(outcome, address, tmp_path / "mirror", "pwrite64", "ENOSPC", 3)
        fail_at(outcome, address, tmp_path / "mirror", "fdatasync", "EIO", 2)
    except TracingRefused as refusal:
        pytest.skip(str(refusal))
    assert outcome == Outcome(outcome.kills, outcome.acknowledged)
    assert {"pwrite64", "fsync", "rename"} <= set(died)
