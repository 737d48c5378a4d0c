"""What the tests of mail share: a server, and a mail."""

import pytest

from gateway.control_plane.mail.messages import Mail
from testing.mailbox import Mailbox


@pytest.fixture
def mailbox():
    with Mailbox() as opened:
        yield opened


def a_mail(
    ref: str = "a", kind: str = "sign_in", unsubscribe_url: str = "", *, for_stranger: bool = False
) -> Mail:
    return Mail(
        ref=ref, kind=kind, recipient="ada@example.org", subject="Hä?", text="t", html="<p>h</p>",
        unsubscribe_url=unsubscribe_url, for_stranger=for_stranger,
    )  # fmt: skip
