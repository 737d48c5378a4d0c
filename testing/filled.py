"""Books with a row of every kind: credit of each origin, leases open and closed, payments."""

from collections.abc import Sequence

import msgspec

from gateway.data_plane.metering.leases import budget_id
from gateway.data_plane.metering.messages import LeaseLine, Tick, UsageLine
from gateway.identifiers import made_at_ms, new_id
from gateway.storage.database import Database
from gateway.storage.ledger import budgets
from testing.ledger import NANOS_PER_TOKEN, Customer, add_credit, add_customer, ledger_of
from testing.payments import Payment


class Books:
    """A customer, and what one process does for them, tick by tick."""

    def __init__(self, database: Database, customer: Customer) -> None:
        self.database = database
        self.customer = customer
        self.budget = budget_id(customer.key_id, "total")
        self.replica_id = new_id()
        self.lease, self.budget_lease = new_id(), new_id()
        self._number = 0

    @classmethod
    async def fill(cls, database: Database) -> "Books":
        """Make books in which each table of money has rows, and every rule holds."""
        books = cls(database, await add_customer(database, 1_000))
        await add_credit(database, books.customer, 4, kind="promo")
        payment = await Payment.create(
            database, books.customer.organization_id, cents=10, tax_cents=2
        )
        await payment.receive(fee_cents=1)
        async with database.write() as connection:
            await budgets.set_budget(connection, books.customer.key_id, 5_000, "total")
        await books.open()
        await books.use(3, 2)
        await books.post()
        await books.use(1)
        short = books.lease, books.budget_lease
        books.lease, books.budget_lease = new_id(), new_id()
        await books.open()
        await books.use(2)
        await books.close()
        books.lease, books.budget_lease = short
        await books.use(5, lease_id=new_id())  # its lease is gone, so the account pays
        return books

    async def open(self) -> None:
        await self._lines("ask", least_nanos=400, target_nanos=400)

    async def post(self) -> None:
        """What was spent is entered, and the lease stays open."""
        await self._lines("keep", keep_nanos=400)

    async def close(self) -> None:
        await self._lines("close")

    async def use(
        self, *tokens: int, lease_id: str | None = None, request_id: str | None = None
    ) -> None:
        """Requests of these tokens, all paid by the lease unless it says another one."""
        lease_id = lease_id or self.lease
        is_ours = lease_id == self.lease
        lines = []
        for count in tokens:
            made = request_id or new_id()
            lines.append(
                UsageLine(
                    request_id=made,
                    organization_id=self.customer.organization_id,
                    key_id=self.customer.key_id,
                    model_id=self.customer.model_id,
                    price_id=self.customer.price_id,
                    inputs=1,
                    tokens=count,
                    cost_nanos=count * NANOS_PER_TOKEN,
                    lease_id=lease_id,
                    budget_id=self.budget if is_ours else None,
                    budget_lease_id=self.budget_lease if is_ours else None,
                    created_ms=made_at_ms(made),
                )
            )
        usage = [msgspec.Raw(msgspec.json.encode(line)) for line in lines]
        await self._tick(usage=usage, answered=[line.request_id for line in lines])

    async def _lines(self, action: str, **more: int) -> None:
        account = {"id": self.lease, "account_id": self.customer.organization_id}
        budget = {"id": self.budget_lease, "account_id": self.budget, "period": "total"}
        budget["key_id"] = self.customer.key_id
        lines = [{"action": action, **more, **line} for line in (account, budget)]
        await self._tick(leases=msgspec.convert(lines, list[LeaseLine]))

    async def _tick(
        self,
        *,
        usage: Sequence[msgspec.Raw] = (),
        answered: Sequence[str] = (),
        leases: Sequence[LeaseLine] = (),
    ) -> None:
        self._number += 1
        ledger = ledger_of(self.database)
        tick = Tick(
            replica_id=self.replica_id,
            number=self._number,
            lease_seconds=90.0,
            shard=3,
            lease_ids=[self.lease, self.budget_lease],
            usage=list(usage),
            answered=list(answered),
            leases=list(leases),
        )
        answer = await ledger.tick(tick)
        await ledger.close()
        assert (answer.refused, answer.written_off) == ([], [])
