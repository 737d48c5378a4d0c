"""Links in mails, which let the reader of a mailbox act: sign in, join, confirm.

A token is the id of a row and an HMAC over the id and the purpose, so forged tokens fail before the
database is read. A link works once, until it expires. Opening it only shows what it would do; a
button on that page does it, since mail scanners open every link.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    RowMapping,
    and_,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.accounts.rights import Role
from gateway.errors import BadRequest
from gateway.identifiers import new_id
from gateway.keyring import Keyring
from gateway.storage.clock import clock
from gateway.storage.database import alone
from gateway.storage.tables import mail_links, users

Purpose = Literal["sign_in", "waitlist", "invitation"]

_RETENTION = timedelta(days=7)
_PENDING_MAX = 200
"""Most addresses that `pending` returns."""


class LinkSpent(BadRequest):
    """The link was used, has expired, or is invalid."""

    code = "link_spent"


class MailLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link; `subject` is what it is about, such as a model or an organization."""

    id: str
    purpose: Purpose
    email: str
    subject: str
    role: Role | Literal[""] = ""
    """The role that an invitation gives; older invitations name none."""


class NewLink(NamedTuple):
    """A link that was just created."""

    id: str
    token: str
    stranger: bool
    """Whether the address has no account."""


class _Known(NamedTuple):
    """What decides whether an address is sent a link."""

    stranger: bool
    own: int
    """Links of the purpose that its mailbox was sent within an hour."""
    domain: str
    """Its domain, if the links of strangers are counted there."""
    of_domain: int
    """Links that strangers at its domain were sent within an hour."""


class Pending(msgspec.Struct, frozen=True):
    """An address with an unused link, its role, and when it expires."""

    email: str
    role: Role | Literal[""]
    until: datetime


class MailLinks:
    """Creates, reads and uses links.

    `per_hour` limits links per mailbox and purpose, `domain_per_hour` those to addresses without an
    account of one domain, since whoever owns a domain has any number of mailboxes.
    """

    def __init__(
        self,
        *,
        secret: Keyring,
        seconds: Mapping[Purpose, float],
        per_hour: int,
        domain_per_hour: int,
    ) -> None:
        self._secret = secret
        self.seconds = seconds
        self._per_hour = per_hour
        self._domain_per_hour = domain_per_hour

    async def create(
        self,
        connection: AsyncConnection,
        purpose: Purpose,
        address: Address,
        subject: str,
        role: Role | None = None,
        maker: str = "",
        form: str = "",
    ) -> NewLink | None:
        """Create a link, or return None if the mailbox or its domain is at its limit.

        Each purpose has its own limit, so that other people's requests can't keep anyone from
        signing in.
        """
        await alone(connection, f"mail links of {address.key}")
        known = await self._known(connection, purpose, address)
        if known.own >= self._per_hour or known.of_domain >= self._domain_per_hour:
            return None
        link_id, lifetime = new_id(), timedelta(seconds=self.seconds[purpose])
        await connection.execute(
            insert(mail_links).values(
                id=link_id, purpose=purpose, email=address.email, address_key=address.key,
                subject=subject, role=role or "", maker=maker, form=form,
                domain=known.domain, created_at=clock(), expires_at=clock(lifetime),
            )
        )  # fmt: skip
        token = f"{link_id}.{self._secret.prove(f'{purpose}|{link_id}')}"
        return NewLink(link_id, token, known.stranger)

    async def _known(
        self, connection: AsyncConnection, purpose: Purpose, address: Address
    ) -> _Known:
        """Return what is known of an address, and how many links it and its domain were sent."""
        account = select(users.c.id).where(users.c.email == address.email).exists()
        recent = (
            select(func.count())
            .select_from(mail_links)
            .where(mail_links.c.created_at > clock(-timedelta(hours=1)))
        )
        own = recent.where(mail_links.c.address_key == address.key, mail_links.c.purpose == purpose)
        domain = address.organization_domain
        of_domain = recent.where(mail_links.c.domain == domain, literal(domain) != "")
        found = await connection.execute(
            select(account, own.scalar_subquery(), of_domain.scalar_subquery())
        )
        has_account, links, of_strangers = found.one()
        if has_account:
            domain, of_strangers = "", 0
        return _Known(stranger=not has_account, own=links, domain=domain, of_domain=of_strangers)

    async def look(self, connection: AsyncConnection, purpose: Purpose, token: str) -> MailLink:
        """Read a link without using it. Raises LinkSpent."""
        found = await connection.execute(select(*_COLUMNS).where(self._usable(purpose, token)))
        return _one(found.mappings().first())

    async def use(self, connection: AsyncConnection, purpose: Purpose, token: str) -> MailLink:
        """Use a link; of two concurrent calls, one succeeds. Raises LinkSpent."""
        found = await connection.execute(
            update(mail_links)
            .where(self._usable(purpose, token))
            .values(used_at=clock())
            .returning(*_COLUMNS)
        )
        return _one(found.mappings().first())

    async def used(self, connection: AsyncConnection, purpose: Purpose, token: str) -> MailLink:
        """Read a link that was used before. Raises LinkSpent."""
        was_used = and_(self._named(purpose, token), mail_links.c.used_at.is_not(None))
        found = await connection.execute(select(*_COLUMNS).where(was_used))
        return _one(found.mappings().first())

    def _usable(self, purpose: Purpose, token: str) -> ColumnElement[bool]:
        return and_(
            self._named(purpose, token),
            mail_links.c.used_at.is_(None),
            mail_links.c.expires_at > clock(),
        )

    def _named(self, purpose: Purpose, token: str) -> ColumnElement[bool]:
        link_id, _, proof = token.partition(".")
        if not self._secret.accepts(f"{purpose}|{link_id}", proof):
            raise _spent()
        return and_(mail_links.c.id == link_id, mail_links.c.purpose == purpose)


async def pending(connection: AsyncConnection, purpose: Purpose, subject: str) -> list[Pending]:
    """Return addresses with usable links about a subject, each once."""
    until = func.max(mail_links.c.expires_at, type_=mail_links.c.expires_at.type)
    found = await connection.execute(
        select(mail_links.c.email, func.max(mail_links.c.role).label("role"), until.label("until"))
        .where(
            mail_links.c.purpose == purpose,
            mail_links.c.subject == subject,
            mail_links.c.used_at.is_(None),
            mail_links.c.expires_at > clock(),
        )
        .group_by(mail_links.c.email)
        .order_by(mail_links.c.email)
        .limit(_PENDING_MAX)
    )
    return [Pending(**row) for row in found.mappings()]


async def give_role(
    connection: AsyncConnection, organization_id: str, email: str, role: Role
) -> None:
    """Let all invitations of an address to an organization give the role of the newest."""
    await connection.execute(
        update(mail_links)
        .where(
            mail_links.c.purpose == "invitation",
            mail_links.c.subject == organization_id,
            mail_links.c.email == email,
            mail_links.c.used_at.is_(None),
        )
        .values(role=role)
    )


async def take_back(
    connection: AsyncConnection, purpose: Purpose, subject: str, email: str | None = None
) -> None:
    """Delete the links about a subject, of one address or of all."""
    links = delete(mail_links).where(
        mail_links.c.purpose == purpose, mail_links.c.subject == subject
    )
    await connection.execute(links if email is None else links.where(mail_links.c.email == email))


async def take_back_of(connection: AsyncConnection, organization_id: str, user_id: str) -> None:
    """Delete the invitations to an organization that a user made."""
    await connection.execute(
        delete(mail_links).where(
            mail_links.c.purpose == "invitation",
            mail_links.c.subject == organization_id,
            mail_links.c.maker == user_id,
        )
    )


async def forget_old(connection: AsyncConnection) -> None:
    """Delete links that expired long ago."""
    await connection.execute(delete(mail_links).where(mail_links.c.expires_at < clock(-_RETENTION)))


_COLUMNS = tuple(mail_links.c[name] for name in MailLink.__struct_fields__)


def _one(row: RowMapping | None) -> MailLink:
    if row is None:
        raise _spent()
    return MailLink(**row)


def _spent() -> LinkSpent:
    return LinkSpent("This link has expired or was already used.")
