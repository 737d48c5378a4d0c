"""Gateway and worker prove to each other who they are, and whoever is in between gains nothing."""

import asyncio
import struct

import pytest

from backends import authentication, guard, hop
from backends.authentication import Session, WrongKey, authority_of, derive_key, is_local
from backends.fake import vector
from backends.guard import NUMBERS_KEPT, Guard, _Opened
from backends.protocol import InvalidAnswer, TokenRow, WorkerFailed
from tests.backends.adapters.proving import INFO, KEY, NAME, SECRET, Between, Worker, asking, raw

ROWS = [TokenRow(struct.pack("<2I", 101, 102), 2)]


async def embed(backend, rows=ROWS) -> list[bytes]:
    return [bytes(v) for v in await backend.embed(rows, timeout_seconds=10, request_id="r-1")]


async def test_who_has_the_key_is_answered_and_who_has_none_is_not():
    async with Worker().listening() as worker, asking(worker.port) as backend:
        assert await backend.info(timeout_seconds=10) == INFO
        assert await embed(backend) == [vector(ROWS[0].ids, 2)]
        for head in (b"GET /info", b"POST /embed"):
            answer = await raw(worker.port, head + b" HTTP/1.1\r\nhost: w\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 401")
            assert b"www-authenticate: Hop" in answer
        for path in (b"/live", b"/ready"):
            answer = await raw(worker.port, b"GET %b HTTP/1.1\r\nhost: w\r\n\r\n" % path)
            assert answer.startswith(b"HTTP/1.1 200"), "what watches over machines has no key"


async def test_a_worker_without_the_key_gets_no_text():
    stranger = Worker(derive_key(SECRET, "another:9000"))
    async with (
        stranger.listening() as worker,
        Between(worker.port).listening() as between,
        asking(between.port) as backend,
    ):
        with pytest.raises(InvalidAnswer, match=f"does not have the key of {NAME}"):
            await embed(backend)
        assert all(b"/session" in message for message in between.asked)


async def test_a_gateway_with_another_secret_is_refused():
    """It would see that the worker has another key; one that doesn't look is refused too."""
    async with Worker().listening() as worker, asking(worker.port) as backend:
        credentials = backend._connections.credentials
        ticket = bytes(authentication.TICKET_BYTES)
        credentials._session = Session(KEY, b"n" * authentication.NONCE_BYTES, ticket)
        forged = credentials.sign(b"GET /info\n\n", b"")
        answer = await raw(worker.port, b"GET /info HTTP/1.1\r\n%b\r\n" % forged.header)
        assert b"session_unknown" in answer, "the ticket was never given"
        await embed(backend)
        session = credentials._session
        claims = authentication.request_claims("GET", "/info", b"", b"")
        wrong = session.request_tag(9, claims, b"another body").hex().encode()
        head = b"authorization: Hop %b.9.%b\r\n" % (session.token, wrong)
        answer = await raw(worker.port, b"GET /info HTTP/1.1\r\n%b\r\n" % head)
        assert b"wrong_tag" in answer


async def test_vectors_that_somebody_replaced_are_not_believed():
    async with (
        Worker().listening() as worker,
        Between(worker.port).listening() as between,
        asking(between.port) as backend,
    ):
        good, other = vector(ROWS[0].ids, 2), vector(b"another", 2)
        assert await embed(backend) == [good]
        between.answer = lambda data: data.replace(good, other)
        with pytest.raises(InvalidAnswer, match="not signed"):
            await embed(backend)


async def test_an_error_that_somebody_made_up_is_nobody_s_refusal():
    refusal = b"HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\n{}"
    async with (
        Worker().listening() as worker,
        Between(worker.port).listening() as between,
        asking(between.port) as backend,
    ):
        await embed(backend)
        between.answer = lambda _: refusal
        with pytest.raises(WorkerFailed, match="400, not signed"):
            await embed(backend)


async def test_whoever_ends_a_session_can_not_answer_what_is_sent_meanwhile(monkeypatch):
    """A call that was begun in the session, and is connected once it is over, is not signed."""
    said: list[bytes] = []

    def keep(data: bytes) -> bytes:
        said.append(data)
        return data

    async with (
        Worker().listening() as worker,
        Between(worker.port).listening() as between,
        asking(between.port) as backend,
    ):
        good, other = vector(ROWS[0].ids, 2), vector(b"another", 2)
        between.answer = keep
        assert await embed(backend) == [good]
        forged = said[-1].replace(good, other)
        dialer = backend._connections._dialer
        over, connect = asyncio.Event(), dialer.connect

        async def late(make) -> None:
            await over.wait()
            await connect(make)

        monkeypatch.setattr(dialer, "connect", late)
        between.answer = lambda _: b"HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\n{}"
        calls = [asyncio.create_task(embed(backend)) for _ in range(2)]
        while backend._connections.credentials.ready:
            await asyncio.sleep(0)
        between.answer = lambda _: forged
        over.set()
        with pytest.raises(InvalidAnswer, match="not signed"):
            await calls[1]
        with pytest.raises(InvalidAnswer):
            await calls[0]


async def test_a_question_that_somebody_changed_is_not_answered():
    async with (
        Worker().listening() as worker,
        Between(worker.port).listening() as between,
        asking(between.port) as backend,
    ):
        await embed(backend)
        between.ask = lambda data: data.replace(struct.pack("<2I", 101, 102), b"\1\0\0\0\2\0\0\0")
        with pytest.raises(WorkerFailed, match="401"):
            await embed(backend)
        between.ask = lambda data: data.replace(b"x-timeout-ms: 9000", b"x-timeout-ms: 9999")
        with pytest.raises(WorkerFailed, match="401"):
            await embed(backend)


async def test_what_was_recorded_can_not_be_asked_again():
    async with (
        Worker().listening() as worker,
        Between(worker.port).listening() as between,
        asking(between.port) as backend,
    ):
        await embed(backend)
        *_, recorded = between.asked
        assert recorded.startswith(b"POST /embed")
        assert b"came before" in await raw(worker.port, recorded)
        shouted = recorded.replace(b"Hop ", b"Hop ").split(b"Hop ")[1].split(b".")[0]
        assert b"no such session" in await raw(
            worker.port, recorded.replace(shouted, shouted.upper())
        )
        worker.app.guard = Guard(KEY, demanding=True)
        assert b"no such session" in await raw(worker.port, recorded), "after a restart"


async def test_a_worker_that_restarted_is_asked_again_in_a_new_session():
    async with Worker().listening() as worker, asking(worker.port) as backend:
        await embed(backend)
        worker.app.guard = Guard(KEY, demanding=True)
        many = [embed(backend) for _ in range(40)]
        assert await asyncio.gather(*many) == 40 * [[vector(ROWS[0].ids, 2)]]
        assert len(worker.app.guard._sessions) <= 2


async def test_no_clock_is_compared():
    ahead = Worker()
    ahead.app.guard = Guard(KEY, demanding=True, clock=lambda: 1e6)
    async with ahead.listening() as worker, asking(worker.port) as backend:
        assert await embed(backend) == [vector(ROWS[0].ids, 2)]


async def test_on_one_machine_nothing_is_signed_unless_the_worker_asks():
    async with (
        Worker(derive_key(SECRET, "127.0.0.1:1"), demanding=False).listening() as worker,
        Between(worker.port).listening() as between,
        asking(between.port, name="127.0.0.1:1") as backend,
    ):
        await backend.info(timeout_seconds=10)
        await embed(backend)
        assert not any(b"authorization" in message for message in between.asked)
        worker.app.guard = Guard(derive_key(SECRET, "127.0.0.1:1"), demanding=True)
        await backend.info(timeout_seconds=10)
        between.asked.clear()
        await embed(backend)
        assert all(b"authorization: Hop" in message for message in between.asked)


async def test_a_worker_too_old_to_prove_anything_is_said_so():
    old = Worker()
    old.app.guard = None
    async with old.listening() as worker, asking(worker.port) as backend:
        with pytest.raises(WorkerFailed, match="can't prove who it is"):
            await backend.info(timeout_seconds=10)


async def test_strangers_leave_nothing_behind():
    async with Worker().listening() as worker:
        for _ in range(50):
            hello = b"POST /session HTTP/1.1\r\nhost: w\r\ncontent-length: 16\r\n\r\n" + b"n" * 16
            assert b"200 OK" in await raw(worker.port, hello)
        assert not worker.app.guard._sessions


async def test_sessions_are_bounded_and_a_young_one_is_never_forgotten(monkeypatch):
    """Else its recorded requests could open it again."""
    monkeypatch.setattr(guard, "SESSIONS_MAX", 2)
    now = [0.0]
    crowded = Worker()
    crowded.app.guard = Guard(KEY, demanding=True, clock=lambda: now[0])
    async with crowded.listening() as worker:
        for full in (False, False, True):
            async with asking(worker.port) as backend:
                if full:
                    with pytest.raises(WorkerFailed, match="503"):
                        await embed(backend)
                    now[0] += guard.TICKET_SECONDS + 1
                await embed(backend)
        assert len(worker.app.guard._sessions) == 2


def test_numbers_are_taken_once_in_any_order():
    opened = _Opened(Session(KEY, b"", b""), 0.0)
    assert all(opened.take(number) for number in (3, 1, 2, 700, 5))
    assert not any(opened.take(number) for number in (1, 2, 3, 5, 700))
    assert opened.take(701 + NUMBERS_KEPT)
    assert not opened.take(701), "too old to tell"
    assert opened.take(702)
    assert opened.take(10**12)
    assert not opened.take(10**12)


def test_an_answer_belongs_to_its_question():
    session = Session(KEY, b"n", b"t")
    tags = {
        session.answer_tag(1, b"200\n", b"x"),
        session.answer_tag(2, b"200\n", b"x"),
        session.answer_tag(1, b"503\n", b"x"),
        session.answer_tag(1, b"200\n", b"y"),
        session.request_tag(1, b"200\n", b"x"),
        Session(KEY, b"m", b"t").answer_tag(1, b"200\n", b"x"),
    }
    assert len(tags) == 6


@pytest.mark.parametrize(
    ("address", "authority"),
    [
        ("http://GPU-7:9000/", "gpu-7:9000"), ("https://gpu-7", "gpu-7:443"),
        ("gpu-7:9000", "gpu-7:9000"), ("https://[fd00::1]:9000", "[fd00::1]:9000"),
    ],
)  # fmt: skip
def test_an_authority_is_a_host_and_a_port(address, authority):
    assert authority_of(address) == authority


@pytest.mark.parametrize("address", ["gpu-7", "http://", "http://gpu:99999", "unix:/a"])
def test_what_names_no_host_and_port_has_no_key(address):
    with pytest.raises(WrongKey):
        authority_of(address)


def test_only_loopback_and_sockets_are_this_machine():
    assert all(map(is_local, ("unix:/a", "http://127.0.0.9:1", "http://[::1]:1", "localhost:1")))
    assert not any(map(is_local, ("http://10.0.0.1:1", "http://0.0.0.0:1", "http://localhost.x:1")))


def test_the_hop_is_bound_to_what_was_asked():
    assert hop.TIMEOUT_HEADER in "x-timeout-ms"
    assert authentication.request_claims("POST", "/embed", b"1", b"2") != (
        authentication.request_claims("POST", "/embed", b"", b"1\n2")
    )


def signed(session: Session, number: int, body: bytes = b"") -> dict[str, object]:
    tag = session.request_tag(number, authentication.request_claims("POST", "/x", b"", b""), body)
    header = b"Hop %b.%d.%b" % (session.token, number, tag.hex().encode())
    return {"method": "POST", "path": "/x", "headers": [(b"authorization", header)]}


async def opened(at: Guard) -> Session:
    async def nonce():
        return {"type": "http.request", "body": b"n" * authentication.NONCE_BYTES}

    scope = {"method": "POST", "path": "/session", "headers": []}
    _, _, said = await at.answer(scope, nonce, inner, private=False, bytes_max=0)
    ticket = said[: authentication.TICKET_BYTES]
    return Session(KEY, b"n" * authentication.NONCE_BYTES, ticket)


async def inner(*_):
    return 200, [], b""


async def nothing():
    return {"type": "http.request", "body": b""}


async def test_a_session_that_was_forgotten_is_opened_by_no_recorded_request():
    now = [0.0]
    worker = Guard(KEY, demanding=True, clock=lambda: now[0])
    first = signed(await opened(worker), 1)
    asked = {"private": True, "bytes_max": 9}
    assert (await worker.answer(first, nothing, inner, **asked))[0] == 200
    worker._sessions.clear()
    now[0] += guard.TICKET_SECONDS + 0.1
    assert (await worker.answer(first, nothing, inner, **asked))[0] == 401


async def test_two_first_requests_at_once_are_of_one_session():
    """Else the second would forget that the first was taken."""
    worker, slow = Guard(KEY, demanding=True), asyncio.Event()
    session = await opened(worker)

    async def late():
        await slow.wait()
        return await nothing()

    asked = {"private": True, "bytes_max": 9}
    first, second = signed(session, 1), signed(session, 2)
    waiting = asyncio.create_task(worker.answer(first, late, inner, **asked))
    await asyncio.sleep(0)
    assert (await worker.answer(second, nothing, inner, **asked))[0] == 200
    slow.set()
    assert (await waiting)[0] == 200
    for again in (first, second):
        assert (await worker.answer(again, nothing, inner, **asked))[0] == 401
