"""How the reference changes: `propose`, `review`, `approve`, `apply`, `revert` and what else is done with changes.

Where this machine owns a store, its owner does it there; else PRIMARY is asked with the key in `HORDE_API_KEY`, sent
in a header that is never shown, and to nobody else. `remote.do` is told both ways, so each command is written once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from difflib import unified_diff
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote, unquote, urlencode, urlsplit

from typer import Argument, BadParameter, Option

from horde_model_reference import errors
from horde_model_reference.cli.context import Session, complete, known
from horde_model_reference.cli.output import Table, at_time, say, tell
from horde_model_reference.domain.differences import differences
from horde_model_reference.domain.findings import JsonObject, JsonValue
from horde_model_reference.flow import Request
from horde_model_reference.formats.json_codec import decode, decode_object, encode, encode_pretty

if TYPE_CHECKING:
    from horde_model_reference.cli.remote import Answer
    from horde_model_reference.domain.changes import Actor, Change, Operation
    from horde_model_reference.moderation.queue import Queue

__all__ = ["apply", "approve", "audit", "changes", "comment", "log_of_queue", "propose", "rebase", "reject"]
__all__ += ["revert", "review", "withdraw"]

As = Annotated[str, Option("--as", metavar="NAME#ID", help="Who does it, in a store of your own; default: your user.")]
Id = Annotated[int, Argument(metavar="ID", min=1, help="The number of a change.")]
Ids = Annotated[list[int], Argument(metavar="ID...", min=1, help="The numbers of changes.")]
Why = Annotated[str, Option("--reason", help="Why; the log keeps it.")]
Title = Annotated[str, Option(help="What the log calls the decision.")]
_COLOURS = {"added": "green", "removed": "red", "+": "green", "-": "red", "@": "cyan", "error": "red"}
_METHODS: dict[Operation, str] = {"create": "POST", "update": "PUT", "delete": "DELETE"}
Status = StrEnum("Status", "pending approved applied rejected withdrawn")  # `--help` need not wait for the domain's
_OK, _FAULT, _CHANGES = 200, 400, "pending_queue/changes"


def propose(  # noqa: PLR0913  (each is a word of the command line)
    session: Session,
    file: Annotated[Path | None, Argument(help="JSON: a record, or {name: record}; - is standard input.")] = None,
    from_url: Annotated[str, Option(metavar="URL", help="Make the record of a file, from where it is.")] = "",
    category: Annotated[str, Option(help="Category; default: what the record says.", autocompletion=complete)] = "",
    update: Annotated[bool, Option("--update", help="The models are there, and shall be like this.")] = False,
    delete: Annotated[list[str] | None, Option(metavar="NAME", help="A model that goes; may be repeated.")] = None,
    more: Annotated[list[str] | None, Option("--set", metavar="FIELD=VALUE", help="Set a field; repeatable.")] = None,
    size: Annotated[int, Option(min=0, help="With --from-url: bytes, where the host does not tell.")] = 0,
    sha256: Annotated[str, Option(help="With --from-url: the hash, or FIXME, where the host does not tell.")] = "",
    by: As = "",
) -> int:
    """Propose new records, with --update how they shall be, or with --delete that models go.

    Nothing changes before it is approved and applied. Exit code 1 where the machine noticed what nobody should publish.
    """
    if [file is not None, bool(from_url), bool(delete)].count(True) != 1:
        raise BadParameter("give a FILE, --from-url URL or --delete NAME, one of the three")
    records = _read(file) if file else [_at_url(session, from_url, size, sha256)] if from_url else []
    documents = [record | dict(map(_field, more or ())) for record in records]
    steps: list[tuple[Operation, str, JsonObject | None]]
    steps = [("update" if update else "create", str(record["name"]), record) for record in documents]
    steps += [("delete", name, None) for name in delete or ()]
    kinds = [category or str((record or {}).get("record_type") or "") for _, _, record in steps]
    if not all(map(known, filter(None, kinds))) or "" in kinds:
        raise BadParameter("say what it is: add --category")
    proposed: list[Change] = []
    try:
        proposed.extend(_proposed(session, by, *each) for each in zip(kinds, *zip(*steps, strict=True), strict=True))
    finally:  # also what was proposed before one was refused
        if proposed:
            _show(session, proposed)
    for change in proposed:
        for found in change.findings:
            tell(f"{found.severity}: change {change.change_id}: {found.field}: {found.reason}")
    return int(any(found.severity == "error" for change in proposed for found in change.findings))


def changes(
    session: Session,
    status: Annotated[list[Status] | None, Option(help="Only these; may be repeated.")] = None,
    category: Annotated[list[str] | None, Option(help="Only these; may be repeated.", autocompletion=complete)] = None,
    name: Annotated[str | None, Option(help="A part of the model's name.")] = None,
    proposer: Annotated[list[str] | None, Option(metavar="ID", help="Only of these users; may be repeated.")] = None,
    mine: Annotated[bool, Option("--mine", help="Only what I proposed.")] = False,
    batch: Annotated[int | None, Option(min=1, help="Only of this batch.")] = None,
    limit: Annotated[int, Option(min=1, max=500, help="At most that many.")] = 50,
    offset: Annotated[int, Option(min=0, help="Without the first so many.")] = 0,
) -> None:
    """Proposed changes and what became of them, in the order they were proposed; each filter given must hold."""
    from horde_model_reference.cli import remote

    if mine:
        me = remote.do(
            session, "", lambda _, who: remote.Answer(user_id=who.id), "me/roles", remote.ANSWER, method="GET"
        )
        proposer = [me.user_id]
    which: dict[str, Any] = {"statuses": status, "categories": category and [*map(known, category)], "batch_id": batch}
    which = {key: value for key, value in (which | {"requested_by": proposer, "model_name": name}).items() if value}

    def own(queue: Queue, _: Actor) -> Answer:
        from horde_model_reference.stores.queue import ChangeFilter

        items, total = queue.page(ChangeFilter(**which), offset=offset, limit=limit)
        return remote.Answer(items=items, total=total)

    query = urlencode({**which, "offset": offset, "limit": limit}, doseq=True)
    page = remote.do(session, "", own, f"{_CHANGES}?{query}", remote.ANSWER, method="GET")
    _show(session, page.items)
    if offset + len(page.items) < page.total:
        tell(f"{len(page.items)} of {page.total} shown; --offset {offset + limit} goes on")


def review(
    session: Session,
    change_id: Id,
    again: Annotated[bool, Option("--again", help="First let the machine look at it once more.")] = False,
) -> None:
    """One change: who did what to it, what the machine noticed, the difference it makes or made, and the comments."""
    from horde_model_reference.cli import remote

    path = f"{_CHANGES}/{change_id}"
    if again:
        remote.do(session, "", lambda queue, _: queue.look_again(change_id), f"{path}/review", remote.CHANGE)
    change = remote.do(session, "", lambda queue, _: queue.change(change_id), path, remote.CHANGE, method="GET")

    def own(queue: Queue, _: Actor) -> Answer:
        before, after = queue.states(change)
        return remote.Answer(current_state=before, proposed_state=after)

    told = remote.do(session, "", own, f"{path}/diff", remote.ANSWER, method="GET")
    before, after = told.current_state, told.proposed_state
    if session.as_json:
        value = {"change": _plain(change), "differences": [asdict(each) for each in differences(before, after)]}
        return Table((), ()).print(True, {**value, "before": before, "after": after})
    return _draw(change, before, after)


def approve(
    session: Session,
    ids: Ids,
    title: Title,
    override: Annotated[str, Option(metavar="WHY", help="Why you may approve what is your own, if you may.")] = "",
    by: As = "",
) -> None:
    """Approve changes, all or none; they join the batch that is open. The reference changes when they are applied."""
    _decide(session, by, {"batch_title": title, "approved_ids": [*ids], "override_reason": override})


def reject(session: Session, ids: Ids, reason: Why, title: Title = "rejected", by: As = "") -> None:
    """Reject changes that are pending or approved, all or none, and say why."""
    _decide(session, by, {"batch_title": title, "rejected_ids": [*ids], "reject_reason": reason})


def apply(
    session: Session,
    ids: Annotated[list[int] | None, Argument(metavar="ID...", help="Approved changes, of one batch.")] = None,
    batch: Annotated[int | None, Option(min=1, help="All that is approved in this batch.")] = None,
    job_id: Annotated[str, Option(help="Any text; with the same again nothing is done twice.")] = "",
    each: Annotated[
        bool, Option("--each", help="Whatever can be applied; exit code 1 where something cannot.")
    ] = False,
    by: As = "",
) -> int:
    """Make approved changes true: each is one revision of the reference, and all are one unit of work, or none is."""
    from horde_model_reference.cli import remote

    if bool(ids) is bool(batch):
        raise BadParameter("give IDs or --batch N, one of the two")

    how: dict[str, Any] = {"job_id": job_id, "atomic": not each}
    path = f"apply_batch/{batch}?{urlencode(how)}" if batch else "apply"

    def own(queue: Queue, who: Actor) -> Answer:
        done = queue.apply_batch(batch, who, **how) if batch else queue.apply(ids or (), who, **how)
        return remote.Answer(
            applied=done.changes, failures=[{"failed_error": str(error)} for _, error in done.failures]
        )

    answer = remote.do(session, by, own, f"pending_queue/{path}", remote.ANSWER, {"change_ids": [*(ids or ())], **how})
    _show(session, answer.applied)
    for failure in answer.failures:
        tell(f"hmr: {failure['failed_error']}")
    return int(bool(answer.failures))


def revert(session: Session, change_id: Id, reason: Why, by: As = "") -> None:
    """Take an applied change back, at once: a new change, after which the record is what it was before."""
    _act(session, by, f"{change_id}/revert", lambda queue, who: queue.revert(change_id, who, reason), reason=reason)


def withdraw(session: Session, change_id: Id, reason: Why = "taken back", by: As = "") -> None:
    """Take back what you proposed and nobody has applied."""
    _act(session, by, f"{change_id}/withdraw", lambda queue, who: queue.withdraw(change_id, who, reason), reason=reason)


def rebase(session: Session, change_id: Id, by: As = "") -> None:
    """Propose the same against the record as it is now; the old proposal, which has to be yours, is withdrawn."""
    _act(session, by, f"{change_id}/rebase", lambda queue, who: queue.rebase(change_id, who))


def comment(
    session: Session, change_id: Id, text: Annotated[str, Argument(help="What there is to say.")], by: As = ""
) -> None:
    """Say something about a change, whatever became of it."""
    _act(session, by, f"{change_id}/comments", lambda queue, who: queue.comment(change_id, text, who), text=text)


def audit(
    session: Session,
    _what: Annotated[Literal["export"], Argument(metavar="export", help="All events of records, then of the queue.")],
) -> None:
    """The audit log, one JSON object a line: who, when, what, what was before and after, and the hash of the chain."""
    if session.as_json:
        Table((), ()).print(True, _events(session))
    else:
        sys.stdout.writelines(f"{encode(event).decode()}\n" for event in _events(session))


def _events(session: Session) -> list[dict[str, Any]]:
    from horde_model_reference.cli import remote

    def own(queue: Queue, _: Actor) -> bytes:
        from horde_model_reference.moderation.audit import exported

        return b"".join(exported(queue.store))

    lines = remote.do(session, "", own, "pending_queue/audit/export", bytes, method="GET").splitlines()
    return list(map(decode_object, lines))


def log_of_queue(session: Session, since: int, limit: int) -> None:
    """What `hmr log --queue` prints."""
    told = [each for each in _events(session) if "action" in each and each["event_id"] > since]
    rows = [(e["event_id"], at_time(e["timestamp"] * 1000), e["logical_user_id"], e["payload"]) for e in told[-limit:]]
    Table(("event", "time", "actor", "told"), rows, "Queue").print(session.as_json)


def _decide(session: Session, by: str, body: dict[str, Any]) -> None:
    from horde_model_reference.cli import remote

    def own(queue: Queue, who: Actor) -> Answer:
        ids = {"approved": body.get("approved_ids", ()), "rejected": body.get("rejected_ids", ())}
        why = {"reason": body.get("reject_reason", ""), "override": body.get("override_reason", "")}
        _, approved, rejected = queue.decide(body["batch_title"], who, **ids, **why)
        return remote.Answer(approved=approved, rejected=rejected)

    answer = remote.do(session, by, own, "pending_queue/batches", remote.ANSWER, body)
    _show(session, answer.approved + answer.rejected)


def _act(session: Session, by: str, path: str, own: Callable[[Queue, Actor], Change], **body: JsonValue) -> None:
    from horde_model_reference.cli import remote

    _show(session, [remote.do(session, by, own, f"{_CHANGES}/{path}", remote.CHANGE, body)])


def _proposed(
    session: Session, by: str, category: str, operation: Operation, name: str, record: JsonObject | None
) -> Change:
    from horde_model_reference.cli import remote

    def own(queue: Queue, who: Actor) -> Change:
        from horde_model_reference.moderation.queue import Proposal

        proposal = Proposal(category, name, operation, record, route="hmr")
        return (queue.propose if session.settings.pending_queue.enabled else queue.write)(proposal, who)

    path = category if operation == "create" else f"{category}/model/{quote(name, '')}"
    return remote.do(session, by, own, path, remote.CHANGE, record, _METHODS[operation])


def _read(file: Path) -> list[JsonObject]:
    """The records of a file, each with its name. Raises `MalformedInput`."""
    found = decode_object(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes(), where=str(file))
    records = {name: found} if isinstance(name := found.get("name"), str) else found
    named = [{"name": name, **record} for name, record in records.items() if isinstance(record, dict)]
    if not named or len(named) < len(records):
        raise errors.MalformedInput("holds neither a record with its name nor {name: record}", where=str(file))
    return named


def _field(words: str) -> tuple[str, JsonValue]:
    """A field and its value: JSON, else a text."""
    name, sign, value = words.partition("=")
    if not (name and sign):
        raise BadParameter(f"--set {words}: write it as FIELD=VALUE")
    with suppress(errors.MalformedInput):
        return name, decode(value)
    return name, value


def _at_url(session: Session, url: str, size: int, sha256: str) -> JsonObject:
    """The record of a file by what the options say, else its host; it is called what the file is."""
    from horde_model_reference.cli import remote

    if not (size and sha256):
        request = Request(url, {"accept-encoding": "identity"}, method="HEAD", reachable=bool)  # bool: any address
        with closing(remote.network_of(session)) as network:
            answer = network.begin(request).result()
        if answer.status >= _FAULT:
            raise errors.SourceUnavailable(url, f"answers {answer.status}")
        told = answer.headers.get("content-length", "") if answer.status == _OK else ""  # else it is of a redirection
        size = size or int(answer.headers.get("x-linked-size", told) or 0)
        sha256 = sha256 or "".join(re.findall(r"\b[0-9a-f]{64}\b", answer.headers.get("x-linked-etag", "").lower())[:1])
    if lacking := [option for option, value in {"--size": size, "--sha256": sha256}.items() if not value]:
        raise BadParameter(f"the host of {url} does not tell everything: add {' and '.join(lacking)}")
    file = PurePosixPath(unquote(urlsplit(url).path))
    download: JsonObject = {"file_name": file.name, "file_url": url, "sha256sum": sha256, "size_bytes": size}
    return {"name": file.stem, "size_on_disk_bytes": size, "config": {"download": [download]}}


def _show(session: Session, found: Sequence[Change]) -> None:
    columns = ("change", "status", "operation", "category", "name", "proposer", "time", "batch", "findings")
    facts = [(c.change_id, c.status, c.operation, c.category, c.model_name, c.requested_username) for c in found]
    rows = [
        (*f, at_time(c.requested_at * 1000), c.batch_id, len(c.findings)) for f, c in zip(facts, found, strict=True)
    ]
    Table(columns, rows, "Changes", "no changes").print(session.as_json, [_plain(change) for change in found])


def _plain(change: Change) -> dict[str, Any]:
    return change.model_dump(mode="json", exclude_none=True)


def _draw(change: Change, before: JsonObject | None, after: JsonObject | None) -> None:
    """The difference in words, and line by line; in colour on a terminal."""
    facts, name = _plain(change), f"{change.category}/{change.model_name}"
    say(f"change {change.change_id}: {change.operation} {name}, {change.status}", bold=True)
    for done in ("requested", "approved", "rejected", "applied"):
        if f"{done}_at" in facts:
            say(f"  {done} by {facts.get(f'{done}_username')}, {at_time(facts[f'{done}_at'] * 1000)}")
    for fact in ("base_revision", "applied_revision", "batch_id", "batch_title", "reject_reason", "reverts", "notes"):
        if fact in facts:
            say(f"  {fact.replace('_', ' ')}: {facts[fact]}")
    for found in change.findings:
        say(f"  {found.severity}: {found.field}: {found.reason}", fg=_COLOURS.get(found.severity, "yellow"))
    for each in differences(before, after):
        alarm = " -- look at the file" if each.alarming else ""
        say(f"{each.path}: {each.words}{alarm}".lstrip(": "), fg=_COLOURS.get(each.kind, "yellow"), bold=each.alarming)
    old, new = ([] if side is None else encode_pretty(side).decode().splitlines() for side in (before, after))
    for line in [*unified_diff(old, new, lineterm="")][2:]:
        say(line, fg=_COLOURS.get(line[0]))
    for said in change.comments:
        say(f"  {said.username}, {at_time(said.at * 1000)}: {said.text}", fg="cyan")
