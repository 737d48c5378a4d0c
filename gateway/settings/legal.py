"""Who operates the service, and what its legal pages say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from gateway.settings.declaring import text, variable

_NEEDED = {
    "/terms": ("legal_name", "legal_address", "legal_email", "legal_law"),
    "/privacy": ("legal_name", "legal_address", "legal_email", "processing_region"),
    "/security": ("security_email",),
    "/contact": ("legal_name", "legal_address", "legal_email"),
}
"""What each page must say."""


@dataclass(frozen=True, kw_only=True)
class LegalSettings:
    """Who operates the service, and what its legal pages say."""

    legal_name: Annotated[
        str,
        text(
            "The person or company that operates the service and sells the credit, for /terms, "
            "/privacy and /contact. A page that lacks a setting isn't shown or linked."
        ),
    ] = ""
    legal_address: Annotated[str, text("Its postal address, with the country.")] = ""
    legal_email: Annotated[
        str, text("Its email address for legal matters, privacy and everything else.")
    ] = ""
    legal_details: Annotated[
        str,
        text(
            "What the law requires besides the address, such as a register number, a VAT ID, who "
            "represents the company and a phone number, for /contact and /terms: one line each, "
            "separated by line breaks or semicolons."
        ),
    ] = ""
    legal_dpa: Annotated[
        str,
        text(
            "Whether you sign data processing agreements, for /contact and /privacy: yes, or the "
            "address of yours. Empty: neither page speaks of one."
        ),
    ] = ""
    legal_law: Annotated[
        str,
        text("The law that governs the terms, as it follows `governed by`: the laws of Ireland."),
    ] = ""
    processing_region: Annotated[
        str,
        text("Where requests are processed and data is kept, for /privacy: Frankfurt, Germany."),
    ] = ""
    subprocessors: Annotated[
        str,
        text(
            "The companies that process data for the operator, for /privacy: `Name: what for, "
            "where`, separated by semicolons. Stripe and GitHub are listed automatically where "
            "they are used. Empty: the page says whom to ask for the others."
        ),
    ] = ""
    security_email: Annotated[
        str,
        text(
            "Where vulnerabilities are reported, for /security and /.well-known/security.txt. "
            "Empty: GATEWAY_LEGAL_EMAIL."
        ),
    ] = ""
    seller: Annotated[
        str,
        text(
            "Who sells the credit, with the postal address; shown where it is bought. Empty: "
            "GATEWAY_LEGAL_NAME and GATEWAY_LEGAL_ADDRESS."
        ),
    ] = ""
    terms: Annotated[
        str,
        text(
            "The address of the terms of sale, linked where credit is bought, if they aren't the "
            "ones at /terms."
        ),
    ] = ""
    privacy: Annotated[
        str, text("The address of the privacy policy, if it isn't the one at /privacy.")
    ] = ""

    @property
    def security_contact(self) -> str:
        """The address that vulnerabilities are reported to; empty if there is none."""
        return self.security_email or self.legal_email

    @property
    def seller_words(self) -> str:
        """Who sells, with the address, in a line."""
        return self.seller or ", ".join(filter(None, (self.legal_name, self.legal_address)))

    @property
    def legal_pages(self) -> Mapping[str, str]:
        """Where each page is that can be shown: its path, or an address of the operator's."""
        elsewhere = {"/terms": self.terms, "/privacy": self.privacy}
        lacking = self.unfilled
        found = {path: elsewhere.get(path) or path for path in _NEEDED}
        return {path: place for path, place in found.items() if path not in lacking}

    @property
    def unfilled(self) -> Mapping[str, list[str]]:
        """The variables that pages lack, by path."""
        elsewhere = {"/terms": self.terms, "/privacy": self.privacy}
        values = {"security_email": self.security_contact}
        lacking = {
            path: [
                variable(name) for name in names if not (values.get(name) or getattr(self, name))
            ]
            for path, names in _NEEDED.items()
            if not elsewhere.get(path)
        }
        return {path: names for path, names in lacking.items() if names}

    @property
    def what_is_unfilled(self) -> str:
        """The pages that can't be shown and the variables that they lack, in a sentence."""
        if not self.unfilled:
            return ""
        names = dict.fromkeys(name for lacking in self.unfilled.values() for name in lacking)
        return f"{', '.join(self.unfilled)}: not shown or linked without {', '.join(names)}"
