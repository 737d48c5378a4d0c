"""The gateway's side of `authentication`: the key of one worker, and the session opened with it."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from backends import authentication
from backends.adapters.answer_reader import AnswerReader
from backends.authentication import (
    NONCE_BYTES,
    PROOF_BYTES,
    SCHEME,
    TICKET_BYTES,
    Session,
    answer_claims,
)

WELCOME_BYTES = TICKET_BYTES + PROOF_BYTES
"""Length of a worker's answer to a nonce."""
UNKNOWN = 401
"""The status with which a worker asks who we are."""


class Credentials:
    """What proves us to a worker, and the worker to us."""

    def __init__(self, keys: Sequence[bytes], name: str, *, used: bool) -> None:
        """`name` is the authority that the keys are for; with `used`, every call carries a proof.

        Otherwise they are used once the worker asks for a proof.
        """
        self.used = used
        self.names = b",".join(map(authentication.name_key, keys))
        """The keys' names, as a worker is sent them."""
        self._keys = keys
        self._name = name
        self._nonce = b""
        self._session: Session | None = None
        self._number = 0

    @property
    def ready(self) -> bool:
        """Whether requests can be sent: signed, or unsigned as long as no signature is required."""
        return self._session is not None or not self.used

    def refused(self, signature: Signature | None) -> None:
        """Open a session before the next request, since the worker doesn't know this one's."""
        self.used = True
        if signature is not None and signature.session is self._session:
            self._session = None

    def nonce(self) -> bytes:
        """Begin a session; return the nonce to send."""
        self._nonce = authentication.new_nonce()
        assert len(self._nonce) == NONCE_BYTES
        return self._nonce

    def welcome(self, content: bytes | bytearray) -> None:
        """Check a worker's answer to the nonce, and open the session. Raises ValueError."""
        ticket, proof = bytes(content[:TICKET_BYTES]), bytes(content[TICKET_BYTES:])
        for key in self._keys:
            if hmac.compare_digest(authentication.prove(key, self._nonce, ticket), proof):
                self._session, self._number = Session(key, self._nonce, ticket), 0
                return
        raise ValueError(f"it does not have the key of {self._name} (gateway workers key)")

    def sign(self, claims: bytes, body: bytes) -> Signature | None:
        """Sign a request; None while there is no session, as the worker requires no signature."""
        session = self._session
        if session is None:
            return None
        self._number += 1
        return Signature(session, self._number, session.request_tag(self._number, claims, body))

    def believes(
        self,
        signature: Signature | None,
        answer: AnswerReader,
        content: bytes | bytearray,
        *,
        is_open: bool,
    ) -> bool:
        """Tell whether an answer is the worker's. A 401 has no tag: there is no session yet.

        `is_open`: the request was sent when nothing had to be signed.
        """
        if signature is None:
            return is_open and answer.status != UNKNOWN
        return signature.fits(answer.status, answer.retry_after, content, answer.tag)


class Signature:
    """The signature of one request, and the check of its answer's."""

    __slots__ = ("_number", "header", "session")

    def __init__(self, session: Session, number: int, tag: bytes) -> None:
        self.session, self._number = session, number
        self.header = b"authorization: %b%b.%d.%b\r\n" % (
            SCHEME,
            session.token,
            number,
            tag.hex().encode(),
        )

    def fits(
        self, status: int, retry_after: str | None, content: bytes | bytearray, tag: bytes
    ) -> bool:
        """Tell whether an answer is the worker's, and to this request."""
        claims = answer_claims(status, (retry_after or "").encode("latin-1"))
        wanted = self.session.answer_tag(self._number, claims, content)
        return hmac.compare_digest(wanted.hex().encode(), tag)
