"""The same routes on a replica, with the queue turned off, and for names that are hard to spell."""

from __future__ import annotations

from pathlib import Path

import pytest

from horde_model_reference.settings import CanonicalFormat, ReplicateMode
from tests.service.moderated import blip, legacy_blip, moderated
from tests.service.test_moderation_keys import routes

SPELLINGS = {
    "a/b": "a/b a%2Fb",
    "ViT-L/14 x": "ViT-L/14%20x ViT-L%2F14%20x",
    "100%": "100%25",
    "a%2Fb": "a%252Fb",
    "Ünï/✨": "Ünï/✨ %C3%9Cn%C3%AF%2F%E2%9C%A8",
    "a?b#c": "a%3Fb%23c",
}


def test_a_replica_has_no_queue(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """503 for who may ask, on every route; and who may not is told that first."""
    with moderated(tmp_path, mode=ReplicateMode.REPLICA) as served:
        for method, path, _ in routes(served):
            if path.endswith("/me/roles"):
                continue
            with subtests.test(method, path=path):
                assert served.ask(method, path, "key-approver", json={"name": "a"}).status_code == 503
                assert served.ask(method, path).status_code == 401


@pytest.mark.parametrize("kind", list(CanonicalFormat), ids=str)
def test_without_the_queue_approvers_write_at_once(tmp_path: Path, kind: CanonicalFormat) -> None:
    """Nobody else writes; in v1 with the statuses that its clients know; and all of it is in the audit log."""
    with moderated(tmp_path, canonical=kind, queue={"enabled": False}) as served:
        is_v2 = kind is CanonicalFormat.v2
        base, record = ("v2/blip", blip) if is_v2 else ("v1/blip", legacy_blip)
        assert served.ask("POST", base, "key-requestor", json=record("a")).status_code == 403
        assert served.ask("POST", base, "key-approver", json=record("a")).status_code == (202 if is_v2 else 201)
        assert "a" in served.told("GET", base)
        changed = f"{base}/model/a" if is_v2 else base
        answer = served.ask("PUT", changed, "key-approver", json=record("a", "other"))
        assert answer.status_code == (202 if is_v2 else 200)
        assert served.told("GET", "v2/blip/model/a")["description"] == "other"
        assert served.ask("DELETE", f"{base}/model/a", "key-approver").status_code == (202 if is_v2 else 204)
        assert served.ask("GET", "v2/blip/model/a").status_code == 404
        log = served.ask("GET", "v2/pending_queue/audit/export", "key-plain").text
        assert log.count('"model_name":"a"') >= 3


@pytest.mark.parametrize("kind", list(CanonicalFormat), ids=str)
def test_a_model_is_changed_by_any_spelling_of_its_name(tmp_path: Path, kind: CanonicalFormat) -> None:
    """Created, updated and deleted, with raw and encoded slashes and other letters."""
    with moderated(tmp_path, canonical=kind) as served:
        is_v2 = kind is CanonicalFormat.v2
        base, record = ("v2/blip", blip) if is_v2 else ("v1/blip", legacy_blip)
        for name, spelt in SPELLINGS.items():
            served.applied(served.proposed(record(name)))
            for spelling in spelt.split():
                if is_v2:
                    told = served.told("PUT", f"v2/blip/model/{spelling}", "key-requestor", json=record(name, "x"))
                    assert told["model_name"] == name
                else:
                    path = f"v1/blip/model/{spelling}/metadata"
                    assert served.told("PUT", path, "key-approver", json={"created_by": "7"})["model_name"] == name
                told = served.told("DELETE", f"{base}/model/{spelling}", "key-requestor")
                assert (told["model_name"], told["operation"]) == (name, "delete")
