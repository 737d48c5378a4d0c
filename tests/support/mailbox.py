"""A real SMTP server in a thread, which keeps what it is given."""

import email
import email.policy
import threading
from email.message import EmailMessage
from typing import Any, Self

from aiosmtpd.controller import Controller

from tests.support.servers import free_port


class Mailbox:
    """Takes mail for everybody; `answer` other than 250 refuses it."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.answer = ""
        self._arrived = threading.Condition()
        self._controller = Controller(
            self, hostname="127.0.0.1", port=free_port(), ready_timeout=30
        )

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        """Keep a mail, or refuse it: what aiosmtpd calls."""
        if self.answer:
            return self.answer
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        with self._arrived:
            self.messages.append(message)
            self._arrived.notify_all()
        return "250 OK"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"smtp://127.0.0.1:{self._controller.port}"

    def wait(self, recipient: str, subject: str, seconds: float = 30.0) -> EmailMessage:
        """Return the newest mail of a subject to somebody, once it has arrived."""
        with self._arrived:
            self._arrived.wait_for(lambda: self.to(recipient, subject), timeout=seconds)
        return self.to(recipient, subject)[-1]

    def wait_for_more(self, recipient: str, subject: str, count: int) -> None:
        """Wait until somebody has more than so many mails of a subject."""
        with self._arrived:
            arrived = self._arrived.wait_for(
                lambda: len(self.to(recipient, subject)) > count, timeout=30
            )
        assert arrived, f"no mail {subject!r} to {recipient}"

    def to(self, recipient: str, subject: str) -> list[EmailMessage]:
        """Return all mails of a subject to somebody."""
        return [m for m in self.messages if m["To"] == recipient and subject in m["Subject"]]

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()
