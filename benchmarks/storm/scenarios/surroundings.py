"""What gateways lean on goes wrong: the disk of the journal, the mail server, Stripe."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence

import httpx

from benchmarks import payments
from benchmarks.storm.disk import Disk
from benchmarks.storm.registry import scenario
from benchmarks.storm.storm import Storm
from gateway.fake_stripe.fake import FakeStripe
from testing.browsing import field
from testing.mailbox import Mailbox
from testing.stripe import fake_stripe

_JOURNAL_BYTES = 8_000_000
_PAYMENTS, _EVENTS, _SENDERS = 24, 250, 6
_MAILS = 10
_MAIL_SECONDS_MAX = 60.0


@scenario("Surroundings")
async def a_journal_s_disk_is_full(storm: Storm) -> None:
    """The disk of one gateway's journal is full for 8 seconds. PostgreSQL is there."""
    disk = await _journal_on_a_small_disk(storm)
    await storm.through(disk.full())


@scenario("Surroundings", fails={"503 credit_unavailable": 0.05}, whole_seconds=15)
async def a_journal_s_disk_is_full_and_postgresql_is_away(storm: Storm) -> None:
    """The same while PostgreSQL is away for 12 seconds: one of two gateways can promise nothing."""
    disk = await _journal_on_a_small_disk(storm)
    async with storm.load(), storm.fault(), disk.full(), storm.deployment.postgres.away():
        await storm.last(12)


@scenario("Surroundings")
async def the_mail_server_is_away(storm: Storm) -> None:
    """Nothing listens where mail goes for 6 seconds, while ten people ask for a link to sign in."""
    mailbox = Mailbox()
    await storm.deployment.restart_gateways(GATEWAY_SMTP_URL=mailbox.url)
    async with storm.load():
        async with storm.fault():
            asked = await _ask_for_links(storm)
            await storm.last(6)
        storm.deployment.stack.enter_context(mailbox)
        await _all_come(storm, mailbox, asked)


@scenario("Surroundings")
async def the_mail_server_hangs(storm: Storm) -> None:
    """The mail server takes connections and answers no mail for 6 seconds."""
    mailbox = storm.deployment.stack.enter_context(Mailbox())
    await storm.deployment.restart_gateways(GATEWAY_SMTP_URL=mailbox.url)
    async with storm.load():
        async with storm.fault():
            mailbox.hold.clear()
            asked = await _ask_for_links(storm)
            await storm.last(6)
            mailbox.hold.set()
        await _all_come(storm, mailbox, asked)


@scenario("Surroundings")
async def stripe_is_away(storm: Storm) -> None:
    """Stripe ends every connection for 6 seconds, and its events come shuffled and repeatedly."""
    await _selling(storm, "refused")


@scenario("Surroundings")
async def stripe_hangs(storm: Storm) -> None:
    """Stripe answers nothing for 6 seconds, and its events come shuffled and repeatedly."""
    await _selling(storm, "hang")


async def _journal_on_a_small_disk(storm: Storm) -> Disk:
    """Give the first gateway's journal a disk of its own."""
    deployment, gateway = storm.deployment, storm.deployment.gateways[0]
    disk = deployment.stack.enter_context(Disk.mounted(deployment.folder / "small", _JOURNAL_BYTES))
    await gateway.stop()
    gateway.journal = disk.folder / "journal"
    await gateway.start()
    return disk


async def _ask_for_links(storm: Storm) -> list[str]:
    """Ask for sign-in links as people do; return their addresses."""
    addresses = [f"person-{number}@example{number}.org" for number in range(_MAILS)]
    for address in addresses:
        async with httpx.AsyncClient(
            base_url=storm.clients.url, timeout=30, trust_env=False
        ) as http:
            page = (await http.get("/sign-in")).text
            form = {name: field(page, name) for name in ("csrf_token", "id")}
            answer = await http.post("/sign-in", data={**form, "email": address, "next": ""})
            storm.expect(f"the form is taken, not {answer.status_code}", holds=answer.is_success)
    return addresses


async def _all_come(storm: Storm, mailbox: Mailbox, addresses: Sequence[str]) -> None:
    """Wait until everybody has a link."""
    began = storm.clients.now()
    for address in addresses:
        left = max(0.0, _MAIL_SECONDS_MAX - (storm.clients.now() - began))
        with contextlib.suppress(IndexError):
            await asyncio.to_thread(mailbox.wait, address, "", left)
    come = [len(mailbox.to(address, "")) for address in addresses]
    storm.expect(f"each link comes, not {come}", holds=all(come))
    storm.notes.append(
        f"All {len(come)} links came within {storm.clients.now() - began:.0f} s, "
        f"{sum(come) - len(come)} of them twice."
    )
    links = {re.search(r"token=\S+", str(mail)) for mail in mailbox.messages}
    storm.expect("each mail has a link", holds=None not in links)


async def _selling(storm: Storm, kind: str) -> None:
    """Sell credit and take money back while Stripe fails in a way."""
    deployment = storm.deployment
    stripe = await deployment.stack.enter_async_context(fake_stripe())
    await storm.deployment.restart_gateways(**payments.environment(stripe.url))
    sessions = await payments.buy(deployment.postgres.url, stripe.url, _PAYMENTS)
    urls = [gateway.url for gateway in deployment.gateways]
    deliveries = payments.Deliveries(lambda: urls, storm.choose)
    options = payments.Options(_PAYMENTS, _EVENTS, 0, storm.choose)
    async with storm.load(), _delivering(deliveries):
        async with storm.fault():
            stripe.faults.add(kind, times=-1)
            world = payments.World(stripe, storm.choose)
            await payments.happen(world, stripe, sessions, deliveries, options)
            await storm.last(6)
            stripe.faults.clear()
            stripe.faults.release()
        await _exact(storm, stripe)
    storm.notes.append(
        f"{deliveries.queued} deliveries of events, {deliveries.answers[200]} of them answered 200."
    )


@contextlib.asynccontextmanager
async def _delivering(deliveries: payments.Deliveries) -> AsyncIterator[None]:
    ended = asyncio.Event()
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        senders = [asyncio.create_task(deliveries.client(http, ended)) for _ in range(_SENDERS)]
        try:
            yield
        finally:
            ended.set()
            await asyncio.gather(*senders)


async def _exact(storm: Storm, stripe: FakeStripe) -> None:
    """Wait until every balance is what is left of what Stripe received."""
    began = storm.clients.now()
    async with storm.deployment.database() as database:
        wrong = await payments.verdict(database, stripe)
    storm.expect(f"every balance is exact: {wrong}", holds=not wrong)
    storm.notes.append(f"Each balance was exact {storm.clients.now() - began:.0f} s later.")
