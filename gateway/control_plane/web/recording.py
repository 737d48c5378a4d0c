"""Records in the audit trail what members do; their organization has a page that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.accounts.key_trail import Doer
from gateway.control_plane.accounts.sessions import Visitor
from gateway.control_plane.trail import entries
from gateway.control_plane.trail.entries import Actor, Personal


class MemberTrail(msgspec.Struct, frozen=True):
    """Records what one visitor does, at the end of the transaction that does it."""

    actor: Actor
    organization_id: str

    @classmethod
    def of(cls, user_id: str, organization_id: str, origin: str) -> MemberTrail:
        """Return the trail of a user who acts for an organization from a network."""
        return cls(Actor(kind="member", user_id=user_id, origin=origin), organization_id)

    @property
    def doer(self) -> Doer:
        """The visitor, as whoever changes keys."""
        return Doer(self.actor)

    @property
    def person(self) -> str:
        """The visitor as a subject."""
        return f"user:{self.actor.user_id}"

    @property
    def organization(self) -> str:
        """The organization as a subject."""
        return f"organization:{self.organization_id}"

    def personal(self, words: str) -> Personal:
        """Mark words that the visitor chose, which are erased with their account."""
        return Personal(words, self.actor.user_id)

    async def record(
        self,
        connection: AsyncConnection,
        action: str,
        subject: str,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Record what was done for the organization."""
        await entries.record(
            connection,
            self.actor,
            action,
            subject,
            organization_id=self.organization_id,
            before=before,
            after=after,
        )


def provide_trail(request: Request[Any, Any, Any], origin: NamedDependency[str]) -> MemberTrail:
    """Return the trail of the visitor, behind the guard `signed_in`."""
    visitor: Visitor = request.user
    return MemberTrail.of(visitor.user_id, visitor.organization_id, origin)
