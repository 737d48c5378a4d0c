"""The worker's side of `authentication`: admits whoever proves to have the key, and signs answers.

Nothing is kept about strangers. A session is kept from its first signed request on, until newer
ones need its place. By then its ticket has expired, so no recorded request can open it again.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from backends import asgi, authentication, hop
from backends.asgi import Answer, Failure, Receive, Scope, error_answer
from backends.authentication import (
    NAMES_HEADER,
    NONCE_BYTES,
    SCHEME,
    SESSION_PATH,
    TICKET_BYTES,
    Session,
)

TICKET_SECONDS = 30.0
"""How long a ticket can open a session."""
SESSIONS_MAX = 1024
"""Most sessions that are kept; each pool of each gateway process has one."""
NUMBERS_KEPT = 1024
"""How many later requests of its session a request may come behind."""
_TIME_BYTES = 8
_DIGITS_MAX = 18

Inner = Callable[[Scope, Receive], Awaitable[Answer]]


class Guard:
    """Stands before a worker's application."""

    def __init__(
        self, *keys: bytes, demanding: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """A guard that isn't `demanding` lets strangers in too, signing if they sign.

        Of several keys, it proves the first one that the gateway has too.
        """
        self._keys = {authentication.name_key(key): key for key in keys}
        self._demanding = demanding
        self._clock = clock
        self._own = secrets.token_bytes(32)
        """Signs the tickets."""
        self._sessions: dict[bytes, _Opened] = {}
        """Sessions by token; the one used last is at the end."""

    async def answer(
        self, scope: Scope, receive: Receive, inner: Inner, *, private: bool, bytes_max: int
    ) -> Answer:
        """Answer a request with `inner`, if its sender may ask it.

        `private` requests need a proof of who asks. At most `bytes_max` bytes of a signed one are
        read.
        """
        if (scope["method"], scope["path"]) == ("POST", SESSION_PATH):
            return await self._welcome(dict(scope["headers"]), receive)
        given = dict(scope["headers"]).get(b"authorization", b"")
        if given.startswith(SCHEME):
            return await self._answer(given, scope, receive, inner, bytes_max)
        if private and self._demanding:
            return _refused("unproven", "this worker asks who we are: GATEWAY_WORKER_SECRET")
        return await inner(scope, receive)

    async def _answer(
        self, given: bytes, scope: Scope, receive: Receive, inner: Inner, bytes_max: int
    ) -> Answer:
        """Answer a request with this authorization."""
        token, number, tag = _parsed(given)
        opened = self._find(token)
        if opened is None:
            return _refused("session_unknown", "there is no such session here; open one")
        body = await asgi.read(receive, bytes_max)
        if body is None:
            return error_answer(Failure(413, "too_large", f"at most {bytes_max} bytes fit"))
        opened = self._sessions.get(token, opened)  # another request may have opened it meanwhile
        headers = dict(scope["headers"])
        claims = authentication.request_claims(
            scope["method"],
            scope["path"],
            headers.get(hop.TIMEOUT_HEADER.encode(), b""),
            headers.get(b"x-request-id", b""),
        )
        expected = opened.session.request_tag(number, claims, body).hex().encode()
        refusal = self._refusal(opened, number, is_signed=hmac.compare_digest(expected, tag))
        if refusal:
            return refusal
        return _signed(await inner(scope, asgi.again(body, receive)), opened.session, number)

    def _refusal(self, opened: _Opened, number: int, *, is_signed: bool) -> Answer | None:
        """Take a request's number, or return an unsigned refusal."""
        if not is_signed:
            return _refused("wrong_tag", "the signature is wrong")
        if not self._keep(opened):
            full = Failure(503, "sessions_full", "too many new sessions", TICKET_SECONDS)
            return error_answer(full)
        if not opened.take(number):
            return _refused("repeated", "this request came before")
        return None

    async def _welcome(self, headers: Mapping[bytes, bytes], receive: Receive) -> Answer:
        nonce = await asgi.read(receive, NONCE_BYTES)
        if nonce is None or len(nonce) != NONCE_BYTES:
            return error_answer(Failure(400, "bad_request", f"a nonce has {NONCE_BYTES} bytes"))
        names = headers.get(NAMES_HEADER, b"").split(b",")
        name = next((name for name in self._keys if name in names), next(iter(self._keys)))
        at = round(self._clock() * 1000).to_bytes(_TIME_BYTES, "big")
        ticket = self._ticket(at, nonce, name)
        return 200, [], ticket + authentication.prove(self._keys[name], nonce, ticket)

    def _find(self, token: bytes) -> _Opened | None:
        """Return the session of a token: a kept one, or a new one if the ticket is valid."""
        if opened := self._sessions.get(token):
            return opened
        try:
            raw = bytes.fromhex(token.decode("ascii"))
        except ValueError:
            return None
        nonce, ticket = raw[:NONCE_BYTES], raw[NONCE_BYTES:]
        key = self._key_of(nonce, ticket)
        if len(ticket) != TICKET_BYTES or key is None:
            return None
        session = Session(key, nonce, ticket)
        age = self._clock() - int.from_bytes(ticket[:_TIME_BYTES], "big") / 1000
        if age > TICKET_SECONDS or session.token != token:  # one session has one spelling
            return None
        return _Opened(session, self._clock())

    def _keep(self, opened: _Opened) -> bool:
        """Keep a session that is used now; return False while all others are too young to evict."""
        token = opened.session.token
        if self._sessions.pop(token, None) is None and len(self._sessions) >= SESSIONS_MAX:
            oldest = next(iter(self._sessions))
            if self._clock() - self._sessions[oldest].opened_at <= TICKET_SECONDS:
                return False
            del self._sessions[oldest]
        self._sessions[token] = opened
        return True

    def _key_of(self, nonce: bytes, ticket: bytes) -> bytes | None:
        """Return the key for which we made a ticket; None if it isn't ours."""
        for name, key in self._keys.items():
            if hmac.compare_digest(ticket, self._ticket(ticket[:_TIME_BYTES], nonce, name)):
                return key
        return None

    def _ticket(self, at: bytes, nonce: bytes, name: bytes) -> bytes:
        """Return the ticket for a nonce: its time, and a proof that we made it for this key."""
        proof = hmac.digest(self._own, at + nonce + name, "sha256")
        return at + proof[: TICKET_BYTES - _TIME_BYTES]


@dataclass(slots=True)
class _Opened:
    """A session, and the numbers that were used in it."""

    session: Session
    opened_at: float
    top: int = 0
    """The highest number taken."""
    taken: int = 0
    """Bit i: the number `top - i` is taken."""

    def take(self, number: int) -> bool:
        """Take a number; return False if it is taken, or too old to know."""
        if number > self.top:
            self.taken = (self.taken << min(number - self.top, NUMBERS_KEPT) | 1) & _NUMBERS_MASK
            self.top = number
            return True
        bit = 1 << (self.top - number) if self.top - number < NUMBERS_KEPT else 0
        if not bit or self.taken & bit:
            return False
        self.taken |= bit
        return True


_NUMBERS_MASK = (1 << NUMBERS_KEPT) - 1


def _parsed(given: bytes) -> tuple[bytes, int, bytes]:
    """Parse an authorization header into token, number and tag; a malformed one has no token."""
    token, _, rest = given.removeprefix(SCHEME).partition(b".")
    number, _, tag = rest.partition(b".")
    if not number.isdigit() or len(number) > _DIGITS_MAX:
        return b"", 0, b""
    return token, int(number), tag


def _refused(code: str, message: str) -> Answer:
    """Refuse a caller that does not prove to be a gateway."""
    status, headers, body = error_answer(Failure(401, code, message))
    return status, [*headers, (b"www-authenticate", SCHEME.strip())], body


def _signed(answer: Answer, session: Session, number: int) -> Answer:
    status, headers, body = answer
    claims = authentication.answer_claims(status, dict(headers).get(b"retry-after", b""))
    tag = session.answer_tag(number, claims, body).hex().encode()
    return status, [*headers, (authentication.TAG_HEADER, tag)], body
