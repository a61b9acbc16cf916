"""The short form of `make torture`."""

from __future__ import annotations

from pathlib import Path

from tests.torture.kills import Outcome, torture


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Ten times SIGKILL: acknowledged changes are there; record, status, log and mirror agree; no file is left over."""
    outcome = torture(f"sqlite:///{tmp_path / 'reference.sqlite3'}", tmp_path / "mirror", 10)
    assert outcome == Outcome(outcome.kills, outcome.acknowledged)
    assert outcome.kills == 10
    assert outcome.acknowledged > 30
