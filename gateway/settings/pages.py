"""What pages show, and what a visitor may ask of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway.settings.declaring import Count, text


@dataclass(frozen=True, kw_only=True)
class PageSettings:
    """What pages show, and what a visitor may ask of them."""

    brand: Annotated[str, text("The name shown on pages and in emails.")] = "Stella Gateway"
    support: Annotated[
        str, text("An email address or page shown at the foot of every page. Empty: none.")
    ] = ""
    form_bytes_max: Annotated[Count, text("Largest form on a page, in bytes (413).")] = 131_072
    calculator_characters_max: Annotated[
        Count, text("Longest text in the calculator, in characters.")
    ] = 20_000
    calculations_per_hour: Annotated[Count, text("Calculations per visitor and process (429).")] = (
        3_600
    )
    experiments_in_all_per_hour: Annotated[
        Count, text("Playground requests of all visitors together, per process (429).")
    ] = 6_000
    experiments_per_hour: Annotated[
        Count, text("Playground requests per visitor and process (429).")
    ] = 60
    sign_ins_per_hour: Annotated[
        Count, text("Sign-in links asked for or opened per visitor (429).")
    ] = 120
    status_views_per_hour: Annotated[
        Count, text("Views of the status page per visitor and process (429).")
    ] = 3_600
    votes_per_hour: Annotated[Count, text("Votes and waitlist requests per visitor (429).")] = 60
    invitations_per_hour: Annotated[Count, text("Invitations per organization (429).")] = 20
