"""What one would write first: credit on `checkout.session.completed`, each event once."""

from sqlalchemy import select, update

from gateway.fake_stripe.store import Item
from gateway.storage.ledger import payments
from gateway.storage.tables import payments as payment_rows
from tests.control_plane.payments.machine import Gateway


class NaiveGateway(Gateway):
    """Believes events, and tells those that come twice by their id."""

    async def take(self, told: Item, *, is_thin: bool = False) -> None:  # noqa: ARG002
        seen = self.world.__dict__.setdefault("seen", set())
        if told["type"] != "checkout.session.completed" or told["id"] in seen:
            return
        seen.add(told["id"])
        session = told["data"]["object"]
        payment_id = session["metadata"]["payment_id"]
        async with self.database.write() as connection:
            query = select(payment_rows).where(payment_rows.c.id == payment_id)
            row = (await connection.execute(query)).one()
            await payments.post(
                connection, row.organization_id, row.id, credit_nanos=row.credit_nanos,
                posted_nanos=0, desired_nanos=row.credit_nanos, number=1,
            )  # fmt: skip
            await connection.execute(
                update(payment_rows)
                .where(payment_rows.c.id == payment_id)
                .values(
                    posted_nanos=row.credit_nanos,
                    received_cents=session["amount_total"],
                    postings=1,
                )
            )

    async def returned(self, payment_id: str) -> None:
        """Show what events said."""

    async def turn(self) -> None:
        """Have nothing to do: events said it all."""

    async def sweep(self) -> None:
        """Know of no sweep."""
