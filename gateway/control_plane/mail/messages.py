"""What our mails say: a template in text and one in HTML for each kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

Kind = Literal["sign_in", "waitlist", "invitation", "launch"]

JOINERS = re.compile("[\u200c\u200d]")

_FOLDER = Path(__file__).parent / "templates"


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail to one person. `ref` names it: the same ref is sent once, whatever happens."""

    ref: str
    kind: Kind
    recipient: str
    subject: str
    text: str
    html: str
    unsubscribe_url: str = ""
    """Where one click ends such mails (RFC 8058); empty for a mail that was just asked for."""


def lasting(seconds: float) -> str:
    """Return a time as people say it, in the largest unit that it is at least two of."""
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def plain(name: str) -> str:
    """Return a name that somebody chose as words that no mail program makes a link of."""
    seen = JOINERS.sub("", name)  # they are no letters, and nobody would see what they part
    return re.sub(r"(?<=\w)[.:/@]+(?=\w)", " ", seen)


class MailWriter:
    """Writes mails. `constants` (brand, address) are the same in all of them."""

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
        **context: Any,
    ) -> Mail:
        """Write one mail."""
        context |= {"subject": subject, "unsubscribe_url": unsubscribe_url}
        return Mail(
            ref=ref,
            kind=kind,
            recipient=recipient,
            subject=subject,
            text=self._environment.get_template(f"{kind}.txt").render(context),
            html=self._environment.get_template(f"{kind}.html").render(context),
            unsubscribe_url=unsubscribe_url,
        )
