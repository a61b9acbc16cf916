"""Whose key it is: what is asked, what is remembered, who is refused, and that no key is ever told."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from horde_model_reference.domain.changes import Actor, Role
from horde_model_reference.errors import HordeModelReferenceError, UsersUnavailable
from horde_model_reference.flow import NoNetwork, Request, run
from horde_model_reference.horde import users as module
from horde_model_reference.horde.users import ATTEMPTS, ENTRIES, KeyUnknown, TooManyAttempts, Users
from horde_model_reference.transport import HttpNetwork
from tests.horde.simulator import AiHorde
from tests.reading.simulators import Loopback, http

SECRET = "sEcReT-kEy-0123456789"
PEOPLE = {SECRET: "Ada#L#7", "key-plain": "Plain#3", "key-both": "Both#9", "key-odd": "no number", "key-blank": "X# "}


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def horde() -> Iterator[AiHorde]:
    """An AI Horde that is well."""
    with AiHorde(PEOPLE) as simulator:
        yield simulator
        simulator.gate.set()


@pytest.fixture
def network() -> Iterator[HttpNetwork]:
    """The real way out."""
    network = HttpNetwork()
    yield network
    network.close()


@pytest.fixture
def clock() -> Clock:
    """Stands still until it is moved."""
    return Clock()


@pytest.fixture
def users(horde: AiHorde, network: HttpNetwork, clock: Clock) -> Users:
    """Number 7 approves, 3 proposes, 9 edits licences and approves."""
    return make(horde.url, network, clock=clock)


def make(url: str, network: HttpNetwork, **more: float | Clock) -> Users:
    """Users with those roles."""
    return Users(url, network, requestors=["3"], approvers=["7", "9"], editors=["9"], **more)  # type: ignore[arg-type]


def refusal(users: Users, key: str, address: str = "10.0.0.1") -> HordeModelReferenceError:
    """What `identify` raises."""
    with pytest.raises(HordeModelReferenceError) as caught:
        users.identify(key, address)
    return caught.value


def test_a_user_is_the_number_after_the_last_sign_of_the_name(users: Users, horde: AiHorde) -> None:
    """The key goes in the header `apikey` to `v2/find_user`, and nowhere else."""
    assert users.identify(SECRET, "10.0.0.1") == Actor(
        id="7", username="Ada#L#7", roles=frozenset({Role.approver, Role.requestor})
    )
    (asked,) = horde.requests
    assert (asked.path, asked.headers["apikey"]) == ("/api/v2/find_user", SECRET)
    assert "cookie" not in asked.headers


@pytest.mark.parametrize("ending", ["", "/"])
def test_the_address_may_end_in_a_slash_or_not(horde: AiHorde, network: HttpNetwork, ending: str) -> None:
    """`HORDE_URL` is normalised elsewhere; a second slash would be another route."""
    assert make(horde.url.rstrip("/") + ending, network).identify("key-plain", "a").id == "3"


@pytest.mark.parametrize(
    ("key", "roles"),
    [
        ("key-plain", {Role.requestor}),
        (SECRET, {Role.requestor, Role.approver}),
        ("key-both", {Role.requestor, Role.approver, Role.license_editor}),
    ],
)
def test_roles_come_from_the_lists(users: Users, key: str, roles: set[Role]) -> None:
    """An approver may propose, too; a licence editor is nothing else by that."""
    assert users.identify(key, "a").roles == roles


def test_empty_lists_mean_nobody(horde: AiHorde, network: HttpNetwork) -> None:
    """They fail closed: a known user without a role, also one without a number that could match."""
    users = Users(horde.url, network, requestors=[], approvers=[], editors=[])
    assert users.identify(SECRET, "a").roles == frozenset()


@pytest.mark.parametrize("key", ["nobody's", "key-odd", "key-blank"])
def test_a_key_without_a_numbered_user_is_unknown(users: Users, key: str) -> None:
    """No such user, no `#` in the name, nothing after it."""
    assert isinstance(refusal(users, key), KeyUnknown)


@pytest.mark.parametrize("mood", ["400", "401", "403", "404", "422"])
def test_what_the_horde_refuses_is_an_unknown_key(users: Users, horde: AiHorde, mood: str) -> None:
    """Each refusal is asked once: it will not change by asking again."""
    horde.mood = mood
    assert isinstance(refusal(users, "key-plain"), KeyUnknown)
    assert len(horde.requests) == 1


ABSURD = ["", " ", "a b", "x" * 201, "schlüssel", "key\r\nx-admin: 1", "key\x00", "\ud800", "key\n", "🔑"]


@pytest.mark.parametrize("key", ABSURD)
def test_what_cannot_be_a_key_is_refused_without_asking(users: Users, horde: AiHorde, key: str) -> None:
    """No header is ever made of it."""
    assert isinstance(refusal(users, key), KeyUnknown)
    assert horde.requests == []


@settings(max_examples=200)
@example("\u0660" * 3)
@given(st.text(max_size=220))
def test_any_text_is_a_key_that_may_be_asked_for_or_an_unknown_one(key: str) -> None:
    """Nothing but printable ASCII without spaces is sent, and no text is an accident."""
    users = Users("http://127.0.0.1:1/", NoNetwork(), requestors=[], approvers=[], editors=[], deadline=0.1)
    asks = 0 < len(key) <= 200 and all("!" <= character <= "~" for character in key)
    assert isinstance(refusal(users, key), UsersUnavailable if asks else KeyUnknown)


PASSING = ["500", "502 page", "503", "429", "408", "dead", "huge"]
LASTING = ["200 page", "page", "404 page", "403 page", "204"]
MALFORMED = [b"", b"{", b"[]", b'{"username": null}', b"{}", b'{"username": 7}', b'"Ada#7"', b"\xff", b"null"]


@pytest.mark.parametrize(
    ("mood", "asked"), [*((mood, 3) for mood in PASSING), *((mood, 1) for mood in (*LASTING, *MALFORMED))]
)
def test_a_fault_of_the_horde_is_never_an_unknown_key(
    users: Users, horde: AiHorde, mood: str | bytes, asked: int
) -> None:
    """What may pass is tried three times. A page is of a proxy or of another site. Nothing of it is remembered."""
    horde.mood = mood
    error = refusal(users, SECRET)
    assert isinstance(error, UsersUnavailable)
    assert (error.reason, error.retry_after) == ("Auth service unavailable", 5.0)
    assert len(horde.requests) == asked
    horde.mood = None
    assert users.identify(SECRET, "a").id == "7"


def test_a_fault_that_passes_is_not_noticed(users: Users, horde: AiHorde) -> None:
    """The third attempt counts as well as the first."""
    horde.next_moods = ["dead", "502 page"]
    assert users.identify("key-plain", "a").username == "Plain#3"


def test_the_horde_says_when_to_come_back(users: Users, horde: AiHorde) -> None:
    """It asks to be left alone for longer than the deadline is: it is not asked again, and the caller is told."""
    horde.mood = "429 120"
    error = refusal(users, SECRET)
    assert isinstance(error, UsersUnavailable)
    assert (error.reason, error.retry_after, len(horde.requests)) == ("Auth service unavailable", 120.0, 1)


def test_nobody_there_is_unavailable(network: HttpNetwork) -> None:
    """Connection refused: nobody listens at that port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = refusal(make(f"http://127.0.0.1:{taken.getsockname()[1]}/", network), SECRET)
    assert isinstance(error, UsersUnavailable)
    assert error.reason == "Auth service unavailable"


def test_a_slow_horde_is_a_time_out_within_the_deadline(horde: AiHorde, network: HttpNetwork) -> None:
    """One deadline for all attempts: the caller is told, and it took no three deadlines."""
    horde.gate.clear()
    began = time.monotonic()
    error = refusal(make(horde.url, network, deadline=0.5), SECRET)
    assert isinstance(error, UsersUnavailable)
    assert (error.reason, error.retry_after) == ("Auth service timed out", 5.0)
    assert time.monotonic() - began < 5


def test_a_key_is_not_sent_to_where_an_answer_points(users: Users, horde: AiHorde) -> None:
    """Whoever can redirect would collect keys; a redirect is no word about the key either."""
    with Loopback(lambda asked: iter([http(200, b'{"username": "Eve#7"}')])) as thief:
        horde.mood, horde.elsewhere = "redirect", f"{thief.url}/api/v2/find_user"
        assert isinstance(refusal(users, SECRET), UsersUnavailable)
        assert thief.requests == []


def test_an_owner_is_remembered_for_a_minute(users: Users, horde: AiHorde, clock: Clock) -> None:
    """Not longer: a key that was taken back stops working, also while the AI Horde is down."""
    users.identify(SECRET, "a")
    clock.now += 59.9
    horde.mood = "dead"
    assert users.identify(SECRET, "a").id == "7"
    assert len(horde.requests) == 1
    clock.now += 0.2
    assert isinstance(refusal(users, SECRET), UsersUnavailable)


def test_an_unknown_key_is_remembered_for_ten_seconds(users: Users, horde: AiHorde, clock: Clock) -> None:
    """So that a key which was just made works soon."""
    refusal(users, "new")
    horde.users["new"] = "New#12"
    clock.now += 9.9
    assert isinstance(refusal(users, "new"), KeyUnknown)
    assert len(horde.requests) == 1
    clock.now += 0.2
    assert users.identify("new", "a").id == "12"


def test_an_address_may_fail_so_often_a_minute(users: Users, horde: AiHorde, clock: Clock) -> None:
    """Guessing keys is refused before anybody is asked; other addresses, and the minute after, are free."""
    for number in range(ATTEMPTS):
        clock.now += 1
        refusal(users, f"guess-{number}", "6.6.6.6")
    error = refusal(users, SECRET, "6.6.6.6")
    assert isinstance(error, TooManyAttempts)
    assert error.retry_after == pytest.approx(60 - ATTEMPTS + 1)
    assert len(horde.requests) == ATTEMPTS
    assert users.identify(SECRET, "10.0.0.1").id == "7"
    clock.now += error.retry_after
    assert isinstance(refusal(users, "guess", "6.6.6.6"), KeyUnknown)


def test_absurd_and_remembered_keys_are_attempts_too(users: Users, horde: AiHorde) -> None:
    """Asked or not: what is refused counts."""
    for _ in range(ATTEMPTS // 2):
        refusal(users, "", "6.6.6.6")
        refusal(users, "wrong", "6.6.6.6")
    assert isinstance(refusal(users, "wrong", "6.6.6.6"), TooManyAttempts)
    assert len(horde.requests) == 1


def test_a_key_may_fail_so_often_a_minute_wherever_it_is_tried(users: Users) -> None:
    """A wrong key in the configuration of a hundred workers."""
    for number in range(ATTEMPTS):
        refusal(users, "wrong", f"10.1.0.{number}")
    assert isinstance(refusal(users, "wrong", "10.1.1.0"), TooManyAttempts)


def test_who_is_known_is_never_refused(users: Users, horde: AiHorde) -> None:
    """Remembered owners cost no attempt, and work from an address that guesses."""
    for _ in range(10 * ATTEMPTS):
        users.identify(SECRET, "6.6.6.6")
    for number in range(ATTEMPTS - 1):
        refusal(users, f"guess-{number}", "6.6.6.6")
    assert isinstance(refusal(users, "one more", "6.6.6.6"), TooManyAttempts)
    assert users.identify(SECRET, "6.6.6.6").id == "7"


def test_an_upstream_fault_counts_as_an_attempt(users: Users, horde: AiHorde) -> None:
    """A client that tries again in a loop does not make it worse."""
    horde.mood = "page"
    for _ in range(ATTEMPTS):
        refusal(users, SECRET)
    assert isinstance(refusal(users, SECRET), TooManyAttempts)
    assert len(horde.requests) == ATTEMPTS


def test_what_is_remembered_is_bounded(users: Users, horde: AiHorde) -> None:
    """The oldest is forgotten: with 5,000 addresses and keys no table grows beyond its limit."""
    for number in range(5000):
        refusal(users, f"k{number} ", f"address {number}")  # a space: refused without asking
    users.identify("key-plain", "a")
    tables = [value for value in vars(users).values() if isinstance(value, dict)]
    assert max(map(len, tables)) == ENTRIES


def test_threads_that_ask_at_once_ask_once(users: Users, horde: AiHorde) -> None:
    """One request for a key, however many wait for it; waiting costs no attempts."""
    horde.gate.clear()
    many = 2 * ATTEMPTS
    with ThreadPoolExecutor(many) as pool:
        answers = [pool.submit(users.identify, SECRET, "a") for _ in range(many)]
        while not horde.requests:
            time.sleep(0.005)
        horde.gate.set()
        assert {answer.result().id for answer in answers} == {"7"}
    assert horde.keys == [SECRET]


def test_who_comes_late_to_an_ask_that_is_over_uses_its_answer(users: Users, horde: AiHorde) -> None:
    """Between looking and asking, another thread was told: nobody is asked again."""
    users.identify(SECRET, "a")
    assert run(users._asked(SECRET, "a"), NoNetwork()).id == "7"
    assert len(horde.requests) == 1


def test_coroutines_that_ask_at_once_ask_once_a_key(users: Users, horde: AiHorde) -> None:
    """The loop goes on meanwhile, and each key gets its own answer."""
    horde.gate.clear()

    async def everybody() -> list[Actor | BaseException]:
        asking = [users.identify_async(key, "a") for key in (SECRET, "key-plain", "wrong") * ATTEMPTS]
        gathered = asyncio.gather(*asking, return_exceptions=True)
        while len(horde.requests) < 3:
            await asyncio.sleep(0.005)
        horde.gate.set()
        return await gathered

    answers = asyncio.run(everybody())
    found = {each.id if isinstance(each, Actor) else type(each).__name__ for each in answers}
    assert (found, sorted(horde.keys)) == ({"7", "3", "KeyUnknown"}, sorted([SECRET, "key-plain", "wrong"]))


def test_who_gives_up_does_not_take_the_answer_from_the_others(users: Users, horde: AiHorde) -> None:
    """The client whose request began the ask hangs up; another one carries on."""
    horde.gate.clear()

    async def two() -> Actor:
        first, second = (asyncio.create_task(users.identify_async(SECRET, "a")) for _ in range(2))
        while not horde.requests:
            await asyncio.sleep(0.005)
        first.cancel()
        await asyncio.sleep(0)
        horde.gate.set()
        return await second

    assert asyncio.run(two()).id == "7"


def test_two_processes_of_memory_do_not_share_marks(horde: AiHorde, network: HttpNetwork) -> None:
    """Each has a secret of its own: what one remembers says nothing to who stole the other's."""
    one, other = make(horde.url, network), make(horde.url, network)
    one.identify(SECRET, "a")
    other.identify(SECRET, "a")
    assert not set(one._told) & set(other._told)


@pytest.mark.parametrize("mood", [None, "403", "403 page", "dead", "huge", "redirect", b"{"])
def test_a_key_is_never_told(
    users: Users, horde: AiHorde, mood: str | bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in a log (also the HTTP library's), a text, a note, a traceback, nor in anything that is kept."""
    caplog.set_level(logging.DEBUG, logger="")
    horde.mood, horde.elsewhere = mood, "http://127.0.0.1:1/"
    told: list[object] = []
    try:
        told += [users.identify(SECRET, "a")]
    except HordeModelReferenceError as error:
        told += [*traceback.format_exception(error), error.args, vars(error), getattr(error, "__notes__", ())]
        told += [vars(error.__cause__) if error.__cause__ else ""]
    told += [caplog.text, [record.__dict__ for record in caplog.records], users, vars(users)]
    assert SECRET not in repr(told)


def test_a_request_shows_no_headers() -> None:
    """A debugger, or an error that quotes its request, would show the key."""
    assert SECRET not in repr(Request("http://horde/", {"apikey": SECRET}))


def test_an_absurd_key_is_never_told(users: Users, caplog: pytest.LogCaptureFixture) -> None:
    """Libraries quote the header that they refuse to send: it must not get there."""
    caplog.set_level(logging.DEBUG, logger="")
    error = refusal(users, SECRET + "\n")
    assert SECRET not in repr([*traceback.format_exception(error), caplog.text, vars(users)])


def test_a_fault_is_logged_when_it_begins_and_when_it_ends(
    users: Users, horde: AiHorde, caplog: pytest.LogCaptureFixture
) -> None:
    """One line each, however many ask meanwhile."""
    horde.mood = "page"
    for address in "abc":
        refusal(users, SECRET, address)
    horde.mood = None
    users.identify(SECRET, "d")
    lines = [record.message for record in caplog.records if record.name == "horde_model_reference.horde.users"]
    assert [line.partition(":")[0] for line in lines] == [
        "The AI Horde does not tell whose keys they are",
        "The AI Horde tells again",
    ]


def test_threads_with_many_keys_disturb_nobody(users: Users, horde: AiHorde) -> None:
    """Eight threads, each with keys of its own and one in common: everybody is who they are."""
    for number in range(80):
        horde.users[f"key-{number}"] = f"User#{100 + number}"
    found: list[tuple[str, str]] = []

    def ask(part: int) -> None:
        for number in range(part * 10, part * 10 + 10):
            found.append((str(100 + number), users.identify(f"key-{number}", f"address {part}").id))
            found.append(("7", users.identify(SECRET, f"address {part}").id))

    threads = [threading.Thread(target=ask, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 160
    assert all(expected == got for expected, got in found)
    assert horde.keys.count(SECRET) == 1


def test_what_the_module_promises_can_be_read() -> None:
    """The numbers that the documentation quotes."""
    assert (module.KNOWN_SECONDS, module.UNKNOWN_SECONDS, module.ATTEMPTS, module.ENTRIES) == (60, 10, 30, 4096)
