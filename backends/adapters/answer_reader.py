"""Reads the answers on a connection, one after the other, with llhttp.

Whatever the other side sends, no more of an answer is kept than a correct one has, and a connection
on which anything was odd is not used again.
"""

from __future__ import annotations

import httptools

from backends.adapters.statuses import REFUSAL_BYTES_MAX, reason_of

_HEAD_BYTES_MAX = 65_536
_OK = 200
_AS_WRITTEN = frozenset(
    b"content-length content-type date retry-after x-compute-ms x-compute-tokens x-hop-tag "
    b"x-queue-ms x-worker-ms x-worker-process".split()
)
"""Names as our workers write them, which need no `lower`."""
_INTERIM = {100, 102, 103}
"""Statuses that are followed by the answer."""


class AnswerReader:
    """Reads the answer that is expected now: `begin`, `feed`, and `take` it when `complete`."""

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.begin(0)

    def begin(self, bytes_max: int) -> None:
        """Expect an answer; a 200 may have at most `bytes_max` bytes."""
        self.status = 0
        self.headed = False
        """Whether the head is complete."""
        self.ends = False
        """Whether the head says where the body ends; otherwise the connection's end does."""
        self.complete = False
        self.retry_after: str | None = None
        self.tag = b""
        """The worker's signature, if it sent one."""
        self.process = b""
        """The id of the worker's process, if it sent one."""
        self._bytes_max = bytes_max
        self._received = 0
        self._declared = 0
        self._content: bytes | bytearray = b""
        self._kept = False
        self._odd = False

    def close(self) -> None:
        """Release the parser, which refers back to this: the connection is closed."""
        self._parser = None

    @property
    def begun(self) -> bool:
        """Whether a byte of the answer has come."""
        return self._received > 0

    @property
    def kept(self) -> bool:
        """Whether its connection may carry another call."""
        return self._kept and not self._odd

    def feed(self, data: bytes) -> str:
        """Read on; return why this is not an answer, or an empty text."""
        assert self._parser is not None, "a closed connection receives nothing"
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._odd = True
            return f"not an HTTP answer: {reason_of(error)}"
        if self.complete:
            return ""
        if self.status == _OK and max(len(self._content), self._declared) > self._bytes_max:
            return f"answers with more than {self._bytes_max} bytes"
        if self.headed and self.status != _OK and len(self._content) >= REFUSAL_BYTES_MAX:
            self.complete = self._odd = True  # enough for an explanation
        if not self.headed and self._received > _HEAD_BYTES_MAX:
            return f"answers with a head of more than {_HEAD_BYTES_MAX} bytes"
        return ""

    def take(self) -> bytes | bytearray:
        """Return the body, and forget it."""
        content, self._content = self._content, b""
        return content

    # -- what the parser calls ------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Notice an answer too many."""
        self._odd = self._odd or self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what is needed of the head."""
        match name if name in _AS_WRITTEN else name.lower():
            case b"content-length":
                self.ends = True
                self._declared = int(value)  # the parser accepts only a number
            case b"transfer-encoding":
                self.ends = True
            case b"retry-after":
                self.retry_after = value.decode("latin-1")
            case b"x-hop-tag":
                self.tag = value
            case b"x-worker-process":
                self.process = value

    def on_headers_complete(self) -> None:
        """Learn the status."""
        if not self.complete and self._parser is not None:
            self.status = self._parser.get_status_code()
            self.headed = self.status not in _INTERIM

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; `feed` ends an answer that is too long."""
        if self.complete:
            return
        if not self._content:
            self._content = body
            return
        if isinstance(self._content, bytes):
            self._content = bytearray(self._content)  # grows without a copy for each piece
        self._content += body

    def on_message_complete(self) -> None:
        """Note that the answer is complete, unless it is an interim one."""
        if self.headed and not self.complete and self._parser is not None:
            self.complete = True
            self._kept = self._parser.should_keep_alive()  # the parser forgets it after this
