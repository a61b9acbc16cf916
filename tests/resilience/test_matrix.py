"""The failure matrix: every fault, in every state of a reader, for every kind of caller. `make matrix` prints it.

A cell reads four times: at once, again, asking the source, and once more. Each read must give what is right or what
was good last, within its time, and the whole of it leaves a line in the log at most.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.resilience.faults import FAULTS, Fault, described, files, protect, views
from tests.resilience.reading import CALLERS, STATES, Outcome, Read, Scene, play, play_in_processes, prime
from tests.resilience.site import Site, addresses

LOCAL, BUSY = 0.1 * 4, 0.7
"""Seconds: what a read may take where there is a local copy, four times what is promised because machines are busy; and
by how much a busy machine may miss a deadline."""
ROOM = 150 * 2**10
"""KiB by which a process may grow: less than the 200 MB that are sent, and than the 1 GB that a bomb unfolds to."""

Cell = tuple[str, str, str]
CELLS: list[Cell] = [(fault, state, caller) for fault in FAULTS for state in STATES for caller in CALLERS]
VIEWS = views()
Stage = tuple[Site, dict[str, str], dict[float | None, Path]]
"""The site, all addresses, and data roots: an empty one, and as good runs left them, by how wrong the clock was."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One for all cells of a test process; no proxy of the machine's stands in between."""
    clocks, now, folder = {fault.clock for fault in FAULTS.values()}, time.time, tmp_path_factory.mktemp("stage")
    roots = {clock: tmp_path_factory.mktemp("root") for clock in (None, *clocks)}
    with patch.dict(os.environ, NO_PROXY="*", no_proxy="*"), (site := Site()), addresses(site, folder) as places:
        for clock in clocks:
            with patch.object(time, "time", lambda shift=clock: now() + shift):
                assert prime(roots[clock], site.url) == VIEWS["old"]
        yield site, places, roots
        site.settle()


@pytest.mark.parametrize("cell", CELLS, ids="-".join)
def test_a_reader_is_never_let_down(
    cell: Cell, stage: Stage, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Right data or what was good last, nothing raised, in time, one line in the log, the disk as it was.

    Much of that is about time, on a machine that may be busy: what is not good at once is played once more, and told.
    """
    if stage[1].get(FAULTS[cell[0]].place) is None:
        pytest.skip(f"there is no {FAULTS[cell[0]].place} on this machine (openssl makes it)")
    complaints = _played(cell, stage, tmp_path / "root", record_property)
    if complaints:
        warnings.warn(f"{'-'.join(cell)} is played again: " + "; ".join(complaints), stacklevel=1)
        complaints = _played(cell, stage, tmp_path / "again", record_property)
    assert not complaints, "\n".join(complaints)


def _played(cell: Cell, stage: Stage, root: Path, record_property: Callable[[str, object], None]) -> list[str]:
    """What is wrong with a cell."""
    fault, (site, places, roots) = FAULTS[cell[0]], stage
    scene = Scene(*cell, places[fault.place], root)

    def flip() -> None:
        site.serve = fault.serve or site.serve
        fault.damage(scene.root)

    shutil.copytree(roots[None if "empty" in scene.state else fault.clock], scene.root)
    try:
        outcomes = play_in_processes(scene, flip) if scene.caller == "processes" else [play(scene, flip)]
    finally:
        site.settle()
        protect(scene.root, 0o755)
    reads = [read for outcome in outcomes for read in outcome.reads]
    record_property("seconds", max((read.seconds for read in reads if read.phase == "first"), default=0.0))
    complaints = [complaint for outcome in outcomes for complaint in _of_process(scene, fault, outcome)]
    complaints += [
        *_of_lines(scene, fault, outcomes),
        *_of_disk(scene, fault, {category for read in reads for category in read.view}),
    ]
    return list(dict.fromkeys(complaints))


def _of_process(scene: Scene, fault: Fault, outcome: Outcome) -> Iterator[str]:
    if outcome.raised:
        yield f"raised: {outcome.raised}"
    if outcome.grown > ROOM:
        yield f"memory grew by {outcome.grown >> 10} MiB"
    nothing_here = "empty" in scene.state or (fault.copy_lost and scene.state != "warm")
    for read in outcome.reads:
        limit = fault.deadline + BUSY if read.asked or (read.phase == "first" and nothing_here) else LOCAL
        if read.seconds > limit:
            yield f"{read.phase}: took {read.seconds:.3f} s, limit {limit} s"
        allowed = _allowed(scene, fault, read)
        wrong = {c: found for c, found in read.view.items() if found not in [VIEWS[name][c] for name in allowed]}
        if wrong or not read.view:
            yield f"{read.phase}: expected {' or '.join(sorted(allowed))}, got {wrong}"[:300]


def _allowed(scene: Scene, fault: Fault, read: Read) -> set[str]:
    """Names of views. While nobody has asked the source, what there was before is as right as what comes after."""
    after = fault.empty if "empty" in scene.state else fault.held
    before = ("starter" if fault.heals == "asked" else after) if "empty" in scene.state else "old"
    settled = read.phase == "last" or (read.phase == "fresh" and read.asked)
    return {after} if settled else {before, after}


def _of_lines(scene: Scene, fault: Fault, outcomes: list[Outcome]) -> Iterator[str]:
    """Of several processes, only those that asked the source have something to say."""
    fewest, most = fault.lines_empty if "empty" in scene.state else fault.lines
    lines = [line for outcome in outcomes for line in outcome.lines]
    if len(lines) < fewest or any(len(outcome.lines) > most for outcome in outcomes):
        yield f"{len(lines)} lines in the log of {len(outcomes)}, expected {fewest} to {most} in each:"
        yield from (f"  {line}" for line in lines[:6])


def _of_disk(scene: Scene, fault: Fault, asked: set[str]) -> Iterator[str]:
    """What is there of what was asked for is whole and right; who has it in memory need not know of a damaged file."""
    allowed = {"starter", fault.empty} if "empty" in scene.state else {"old", fault.held}
    paths = files(scene.root)
    if "empty" not in scene.state and len(paths) < len(VIEWS["old"]):
        yield f"files are gone; there are {sorted(paths)}"
    for category in asked & paths.keys() if not fault.copy_lost or scene.state != "warm" else ():
        try:
            found = described(json.loads(paths[category].read_bytes()))
        except ValueError as error:
            yield f"{category} is damaged: {error}"
        else:
            if found not in [VIEWS[name][category] for name in allowed]:
                yield f"the file of {category} holds {found}"
