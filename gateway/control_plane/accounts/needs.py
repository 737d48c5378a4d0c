"""What needs an operator about accounts: free credit that goes to many accounts of one domain."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import MAILBOX_PROVIDERS
from gateway.control_plane.attention.needs import NEEDS_MAX, Need, Step
from gateway.identifiers import first_id
from gateway.storage.tables import users

_WITHIN = timedelta(days=1)
_MANY = 5
"""So many new accounts of one domain in a day, each with free credit, are told of."""
_READ_MAX = 20_000
"""Most new accounts that are looked at: the newest."""


async def one_domain(connection: AsyncConnection, now: datetime) -> list[Need]:
    """Tell of domains with many new accounts that got free credit, mailbox providers left out."""
    found = await connection.scalars(
        select(users.c.email)
        .where(
            users.c.id >= first_id(now - _WITHIN),
            users.c.welcome == "granted",
            users.c.email.is_not(None),
        )
        .order_by(users.c.id.desc())
        .limit(_READ_MAX)
    )
    domains = Counter(email.rpartition("@")[2] for email in found)
    return [
        Need(
            key=f"domain:{domain}",
            severity="warning",
            subject=domain,
            words=f"{count:,} new accounts of this domain got free credit in a day",
            steps=(Step("Open organizations", f"/admin/organizations?domain={domain}"),),
        )
        for domain, count in domains.most_common(NEEDS_MAX)
        if count >= _MANY and domain not in MAILBOX_PROVIDERS
    ]
