"""Mails: a plain text and an HTML template for each kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

Kind = Literal["sign_in", "waitlist", "invitation", "launch", "notice", "account", "security"]

JOINERS = re.compile("[\u200c\u200d]")

_FOLDER = Path(__file__).parent / "templates"


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail to one person. The outbox takes each `ref` only once."""

    ref: str
    kind: Kind
    recipient: str
    subject: str
    text: str
    html: str
    unsubscribe_url: str = ""
    """One-click unsubscribe (RFC 8058); empty for mails that the recipient just asked for."""
    for_stranger: bool = False
    """Whether the address has no account, so that other mails go first."""


def lasting(seconds: float) -> str:
    """Return a duration in words, in the largest unit of which there are at least two."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def plain(name: str) -> str:
    """Return a user-chosen name in a form that mail programs do not turn into a link."""
    seen = JOINERS.sub("", name)  # invisible, and no letters
    return re.sub(r"(?<=\w)[.:/@]+(?=\w)", " ", seen)


class MailWriter:
    """Renders mails. `constants` (brand, address) are available in all templates."""

    def __init__(self, constants: Mapping[str, Any]) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(constants)

    def write(
        self,
        kind: Kind,
        *,
        ref: str,
        recipient: str,
        subject: str,
        unsubscribe_url: str = "",
        for_stranger: bool = False,
        **context: Any,
    ) -> Mail:
        """Render a mail from its templates."""
        context |= {"subject": subject, "unsubscribe_url": unsubscribe_url}
        return Mail(
            ref=ref,
            kind=kind,
            recipient=recipient,
            subject=subject,
            text=self._environment.get_template(f"{kind}.txt").render(context),
            html=self._environment.get_template(f"{kind}.html").render(context),
            unsubscribe_url=unsubscribe_url,
            for_stranger=for_stranger,
        )
