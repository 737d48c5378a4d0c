"""A real SMTP server in a thread, which keeps what it receives."""

import asyncio
import email
import email.policy
import threading
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any, Self

from aiosmtpd.controller import Controller
from sqlalchemy import insert

from gateway.identifiers import new_id
from gateway.storage.database import Database
from gateway.storage.tables import outbox
from testing.servers import free_port


class Mailbox:
    """Accepts all mail, unless `answers` has a reply for a command (MAIL, RCPT, DATA, QUIT).

    A reply of None closes the connection. A mail whose DATA is answered 2xx is kept.
    """

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.wire: list[bytes] = []
        """The same mails as received, headers included."""
        self.answers: dict[str, str | None] = {}
        self.asked = threading.Event()
        """Set once a client has sent DATA."""
        self.hold = threading.Event()
        """While cleared, DATA gets no answer."""
        self.hold.set()
        self._arrived = threading.Condition()
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=free_port(),
            ready_timeout=30,
            enable_SMTPUTF8=False,  # as many servers are
        )

    # what aiosmtpd calls, by these names

    async def handle_MAIL(  # noqa: N802
        self, server: Any, _session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """Take a sender."""
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self._answer("MAIL", server)

    async def handle_RCPT(  # noqa: N802
        self, server: Any, _session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """Take a recipient."""
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return self._answer("RCPT", server)

    async def handle_QUIT(self, server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802
        """End a connection."""
        return self._answer("QUIT", server) if "QUIT" in self.answers else "221 Bye"

    def _answer(self, command: str, server: Any) -> str:
        answer = self.answers.get(command, "250 OK")
        if answer is None:
            server.transport.abort()
        return answer or ""

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        """Keep a mail, or refuse it."""
        self.asked.set()
        await asyncio.to_thread(self.hold.wait)
        if not (answer := self._answer("DATA", server)).startswith("2"):
            return answer
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        with self._arrived:
            self.wire.append(envelope.content)
            self.messages.append(message)
            self._arrived.notify_all()
        return answer

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"smtp://127.0.0.1:{self._controller.port}"

    def wait(self, recipient: str, subject: str, seconds: float = 30.0) -> EmailMessage:
        """Wait for a mail of a subject to a recipient, and return the newest."""
        with self._arrived:
            self._arrived.wait_for(lambda: self.to(recipient, subject), timeout=seconds)
        return self.to(recipient, subject)[-1]

    def wait_for_more(self, recipient: str, subject: str, count: int) -> None:
        """Wait until a recipient has more than `count` mails of a subject."""
        with self._arrived:
            arrived = self._arrived.wait_for(
                lambda: len(self.to(recipient, subject)) > count, timeout=30
            )
        assert arrived, f"no mail {subject!r} to {recipient}"

    def to(self, recipient: str, subject: str) -> list[EmailMessage]:
        """Return all mails of a subject to a recipient."""
        return [m for m in self.messages if m["To"] == recipient and subject in m["Subject"]]

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


async def put_mail(database: Database, **values: Any) -> str:
    """Store a mail that failed, or with other values; return its id."""
    mail_id, now = new_id(), datetime.now(UTC)
    mail = {
        "id": mail_id, "ref": mail_id, "kind": "notice", "recipient": "ada@example.org",
        "subject": "s", "text": "t", "html": "", "unsubscribe_url": "", "state": "failed",
        "attempts": 9, "created_at": now, "due_at": now, "give_up_at": now, "reason": "550",
    }  # fmt: skip
    async with database.write() as connection:
        await connection.execute(insert(outbox).values(**mail | values))
    return mail_id
