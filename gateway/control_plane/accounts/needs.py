"""What needs an operator about accounts: free credit to many of one domain, or one network."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from urllib.parse import quote

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import MAILBOX_PROVIDERS
from gateway.control_plane.accounts.networks import wide
from gateway.control_plane.attention.needs import NEEDS_MAX, Need, Step, tells
from gateway.identifiers import first_id
from gateway.storage.tables import sessions, users

_WITHIN = timedelta(days=1)
_MANY = 5
"""So many new accounts of one domain or network in a day, with free credit, are told of."""
_READ_MAX = 20_000
"""Most new accounts that are looked at: the newest."""


@tells(
    f"{_MANY} or more new accounts of one domain got free credit within a day; providers of "
    "mailboxes don't count."
)
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


@tells(
    f"{_MANY} or more new accounts that got free credit within a day signed in from one network, "
    "a /24 or a /48."
)
async def one_network(connection: AsyncConnection, now: datetime) -> list[Need]:
    """Tell of networks that many new accounts with free credit came from.

    Sessions have the network; it goes with them, and with the account.
    """
    found = await connection.execute(
        select(users.c.id, sessions.c.network)
        .join(sessions, sessions.c.user_id == users.c.id)
        .where(
            users.c.id >= first_id(now - _WITHIN),
            users.c.welcome == "granted",
            sessions.c.network != "",
        )
        .order_by(users.c.id.desc())
        .limit(_READ_MAX)
    )
    people: dict[str, set[str]] = defaultdict(set)
    for user_id, network in found:
        if around := wide(network):
            people[around].add(user_id)
    many = sorted(people.items(), key=lambda item: (-len(item[1]), item[0]))[:NEEDS_MAX]
    return [
        Need(
            key=f"network:{network}",
            severity="warning",
            subject=network,
            words=f"{len(users_of):,} new accounts from this network got free credit in a day",
            steps=(Step("Open organizations", f"/admin/organizations?network={quote(network)}"),),
        )
        for network, users_of in many
        if len(users_of) >= _MANY
    ]
