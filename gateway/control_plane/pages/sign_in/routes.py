"""Signing in and out, as one wing."""

from __future__ import annotations

from gateway.control_plane.pages.sign_in import (
    codes,
    github,
    invitations,
    mail,
    passkey,
    verification,
)
from gateway.control_plane.pages.sign_in.entering import Entering
from gateway.control_plane.web.page_parts import PagePart
from gateway.wings import Wing


def sign_in_wing(entering: Entering) -> Wing:
    """Return the pages."""
    return Wing(
        "control",
        [
            mail.show_sign_in,
            mail.ask_for_link,
            mail.show_link,
            mail.use_link,
            codes.use_code,
            invitations.show_invitation,
            invitations.accept_invitation,
            mail.sign_out,
            github.go_to_github,
            github.come_back,
            passkey.ask_whose_passkey,
            passkey.sign_in_by_passkey,
            verification.show_verification,
            verification.verify,
            verification.ask_for_passkey,
        ],
        dependencies={"entering": PagePart(lambda: entering, sync_to_thread=False)},
    )
