"""What the rows of an organization's file become here.

History keeps its references, times and amounts. Its counterpart is `manual_adjustments`, by which
the credit left the other deployment's books: so the two books cancel out, and what the other earned
is not earned twice. Hours of usage are marked by their shard.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Table, insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.control_plane.transfers.organization_file import UnreadableFile
from gateway.control_plane.transfers.parts import KEY_PEOPLE
from gateway.errors import BadRequest
from gateway.storage.database import refuses
from gateway.storage.ledger import sums
from gateway.storage.tables import (
    accounts,
    api_keys,
    ledger_entries,
    memberships,
    organizations,
    usage_hours,
    users,
    webhook_endpoints,
)

IMPORTED_SHARD = -1
"""The shard of hours that came with an organization: processes have others."""


class Arrival:
    """Turns the rows of a file into rows of here, and inserts them."""

    def __init__(
        self,
        connection: AsyncConnection,
        organization_id: str,
        now: datetime,
        *,
        has_keys: bool,
        joins_members: bool,
    ) -> None:
        self._connection = connection
        self._organization_id = organization_id
        self._now = now
        self._has_keys = has_keys
        self._joins_members = joins_members
        self._users: dict[str, str] = {}
        """Who a user of the file is here."""
        self._keys: set[str | None] = {None}
        """An account of none of its keys is the organization's own."""
        self._endpoints: set[str] = set()

    async def insert(self, table: Table, batch: Sequence[dict[str, Any]]) -> None:
        """Insert rows of a file, whose tables come in their order.

        Raises TakenHere, MemberIsAnother and UnreadableFile.
        """
        made = []
        for row in batch:
            self._must_be_own(table, row)
            if (here := await self._here(table, row)) is not None:
                made.append(here)
        if not made:
            return
        try:
            await self._connection.execute(insert(table), made)
        except DBAPIError as error:
            if not refuses(error):
                raise
            raise TakenHere(
                f"{table.name}: something of the file is here as something else, or can't be: "
                f"{error.orig}"
            ) from error

    def _must_be_own(self, table: Table, row: Mapping[str, Any]) -> None:
        """Refuse a row of anybody else's. Raises UnreadableFile."""
        named: Sequence[tuple[str, Container[Any]]] = (
            ("organization_id", {self._organization_id}),
            ("user_id", self._users),
            ("key_id", self._keys),
            ("endpoint_id", self._endpoints),
        )
        is_own = table is not organizations or row["id"] == self._organization_id
        for name, own in named:
            is_own = is_own and (name not in row or row[name] in own)
        if not is_own:
            raise UnreadableFile(f"{table.name}: a row of another organization.")

    async def _here(self, table: Table, row: dict[str, Any]) -> dict[str, Any] | None:
        """Return a row as it is here; None if it is here already."""
        if table is users:
            return await self._user(row)
        if table is accounts:
            await self._check_account(row)
        more: dict[str, Any] = {}
        if table is memberships:
            more = {"user_id": self._users[row["user_id"]]}
        elif table is api_keys:
            more = self._key(row)
        elif table is ledger_entries:
            more = {"counterpart": "manual_adjustments"}
        elif table is usage_hours:
            more = {"shard": IMPORTED_SHARD}
        elif table is webhook_endpoints:
            more = self._endpoint(row)
        return row | more

    async def _check_account(self, row: Mapping[str, Any]) -> None:
        """Refuse what no closed organization has; take the file's word for what budgets spent."""
        if row["leased_nanos"] or (row["key_id"] is None and row["owed_nanos"]):
            raise UnreadableFile("An account of the file has credit leased, or owes.")
        if row["key_id"] is not None and row["spent_nanos"]:
            await sums.open_with(self._connection, "budget", row["id"], row["spent_nanos"])

    def _key(self, row: Mapping[str, Any]) -> dict[str, Any]:
        self._keys.add(row["id"])
        revoked = row["revoked_at"] or (None if self._has_keys else self._now)
        people = {name: self._users.get(row[name]) for name in KEY_PEOPLE}
        return {**people, "revoked_at": revoked, "changed_at": self._now}

    def _endpoint(self, row: Mapping[str, Any]) -> dict[str, Any]:
        self._endpoints.add(row["id"])
        if self._has_keys or row["disabled_at"] is not None:
            return {}
        return {"disabled_at": self._now, "disabled_reason": "unreadable"}

    async def _user(self, row: dict[str, Any]) -> dict[str, Any] | None:
        user = users.c
        found = (
            await self._connection.execute(
                select(user.id, user.email).where(
                    (user.id == row["id"]) | (user.email == row["email"])
                )
            )
        ).all()
        self._users[row["id"]] = row["id"]
        if not found:
            return row
        if [(one.id, one.email) for one in found] == [(row["id"], row["email"])]:
            return None
        same = [one.id for one in found if one.email == row["email"]]
        if not same or not self._joins_members:
            raise MemberIsAnother(
                f"{row['email']} is another user here. With --join-members that user becomes the "
                "member."
            )
        self._users[row["id"]] = same[0]
        return None


class TakenHere(BadRequest):
    """Something of the file is here already, as something else."""

    status = 409
    code = "taken_here"


class MemberIsAnother(BadRequest):
    """A member's address belongs to another user here."""

    status = 409
    code = "member_is_another"
