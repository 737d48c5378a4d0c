"""Whatever an operator does in the browser, the same commands give the same ledger and trail.

And the same mails. The deeds are those of deeds.py.
"""

import asyncio
import json
import random
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import insert, select, update

from gateway.app import build
from gateway.app.process import Process
from gateway.cli import workers as worker_commands
from gateway.cli.main import gateway as commands
from gateway.control_plane.accounts.addresses import Address
from gateway.control_plane.catalog import golden
from gateway.control_plane.demand import launch_progress, waitlist
from gateway.control_plane.payments import auto_top_up, customers
from gateway.control_plane.payments.auto_top_up import TopUpRules
from gateway.fake_stripe.fake import FakeStripe
from gateway.identifiers import new_id
from gateway.settings import Settings
from gateway.storage.tables import demand_votes, incidents, outbox, stripe_events, users
from gateway.storage.tables import payments as payment_rows
from testing.back_office import check, ledger_of_organization, owned_organization, post, trail_of
from testing.browsing import Browser, field
from testing.gateways import SECRET
from testing.ledger import assert_sound
from testing.mailbox import put_mail
from testing.marketplace import vote
from testing.operators import sign_in_operator
from testing.payments import Payment
from testing.stripe import fake_stripe
from testing.workers import a_view, report
from tests.control_plane.back_office.deeds import (
    BO,
    KIM,
    MIA,
    WORKER,
    Deed,
    World,
    of_account,
    of_incident,
    of_model,
    of_money,
    of_service,
)
from tests.control_plane.conftest import STELLA
from tests.control_plane.pages.console.conftest import selling

_NAMED = re.compile(
    "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # ids
    "|[0-9a-f]{64}"  # digests of words about people, salted
    r"|(?<=\"until\": \")[-0-9T:+]+"  # when a snooze ends: it began at another moment
)
ADA = "ada@example.com"

Step = tuple[Callable[..., Awaitable[Deed | None]], str, str, tuple[str, ...]]


class Door(ABC):
    """One way in which operators act, on a world of its own."""

    def __init__(self, browsers: dict[str, Browser], fake: FakeStripe, world: World) -> None:
        self.browsers, self.fake, self.world = browsers, fake, world

    async def do(self, step: Step) -> None:
        """Do a step; what it acts on is found in this world."""
        make, name, why, said = step
        if name in ("drain", "undrain", "check", "launch"):
            await report(self.world.database, STELLA, a_view(WORKER))
        if (deed := await make(self.world, name, why, *said)) is not None:
            await self.act(deed)

    @abstractmethod
    async def act(self, deed: Deed) -> None:
        """Do it, as who does it."""

    async def left(self) -> tuple[Any, Any, Any]:
        """Return the ledger, the trail with its ids in the order of their appearance, the mails."""
        database = self.world.database
        await assert_sound(database)
        names: dict[str, str] = {}
        text = json.dumps([list(one) for one in await trail_of(database)])
        trail = _NAMED.sub(lambda found: names.setdefault(found[0], f"#{len(names)}"), text)
        async with database.read() as connection:
            told = select(outbox.c.kind, outbox.c.recipient, outbox.c.subject).where(
                outbox.c.kind.in_(("account", "security"))  # others are written by jobs, later
            )
            mails = sorted(tuple(row) for row in await connection.execute(told))
        ledger = await ledger_of_organization(database, self.world.organization_id)
        return ledger, json.loads(trail), mails


class Pages(Door):
    async def act(self, deed: Deed) -> None:
        browser = self.browsers[deed.who]
        if not deed.is_checked:
            await browser.get(deed.page)
            await browser.submit(deed.path, **deed.fields)
        elif (await check(browser, deed.path, **deed.fields)).status_code == 200:
            await post(browser, deed.path, **deed.fields)


class Commands(Door):
    async def act(self, deed: Deed) -> None:
        """Run a command in this process, in a thread of its own: it brings its own loop."""
        url = self.world.database.url.render_as_string(hide_password=False)
        environment = {"GATEWAY_SECRET": SECRET, "DATABASE_URL": url}
        for name, value in selling(self.fake).items():
            environment[f"GATEWAY_{name.upper()}"] = str(value).lower()
        words = (*deed.command, "--as", deed.who)
        done = await asyncio.to_thread(CliRunner().invoke, commands, words, env=environment)
        assert not isinstance(done.exception, SystemExit) or done.exit_code != 2, done.output


def drawn(seed: int) -> list[Step]:
    """Draw what operators do, in any order: some waits for a second one, some can't be done."""
    chance = random.Random(seed)
    why = f"goodwill: case {seed}"
    small, large = chance.choice(["0.5", "7", "99.999999999"]), chance.choice(["101", "5000"])
    days = chance.choice(["", "30", "90"])
    later = f"{datetime.now(UTC) + timedelta(days=40):%Y-%m-%d}"
    money: list[tuple[str, ...]] = [
        ("grant", small, "promo", days),
        ("grant", small, "paid", ""),
        ("grant", large, "paid", days),
        ("grant", "much", "promo", days),
        ("take", str(chance.randrange(5)), "0.2"),
        ("take", str(chance.randrange(5)), large),
        ("refund", chance.choice(["10", "25", "26"])),
        ("refund", "1.5"),
        ("undo", "grant"),
        ("undo", "takeback"),
        ("undo", "usage"),
        (chance.choice(["approve", "reject"]),),
    ]
    account: list[tuple[str, ...]] = [
        ("suspend",), (chance.choice(["suspend", "unsuspend"]),), ("release",), ("top-up-off",),
        ("budget", "5"), ("note",), ("resend",), ("reconcile",), ("seen",),
        ("requests", "9"), ("requests", chance.choice(["none", "0"])),
    ]  # fmt: skip
    model: list[tuple[str, ...]] = [
        ("edit", "Apache-2.0"), ("edit", chance.choice(["MIT", ""])), ("add", "acme/new", "0.01"),
        ("add", chance.choice(["acme/new", "no name"]), chance.choice(["0.02", "much"])),
        ("launch", "0.009"), ("pause",), ("resume",), ("set-aside",), ("restore",),
        ("price", chance.choice(["0.002", "0.5"]), ""), ("price", "0.004", later),
        ("cancel-price",), ("state", "retired"), ("state", chance.choice(["live", "coming_soon"])),
    ]  # fmt: skip
    service: list[tuple[str, ...]] = [
        ("drain",), ("undrain",), ("check",), ("replay",), ("snooze",), ("unsnooze",),
        ("operator", "add", "new@example.com"), ("operator", "role", "finance"),
        ("operator", chance.choice(["reset", "remove"])),
    ]  # fmt: skip
    incident: list[tuple[str, ...]] = [
        ("post", "A full disk", "We look into it."), ("post", "A full disk", "Sorry.\nOver."),
        ("post", chance.choice(["", "x" * 200]), "words"),
        ("correct", " A full disk ", chance.choice(["It broke.", "It broke twice."])),
        ("correct", "A disk", chance.choice([" ", "It broke."])),
    ]  # fmt: skip
    groups = ((of_money, money), (of_account, account), (of_model, model),
              (of_service, service), (of_incident, incident))  # fmt: skip
    steps: list[Step] = [
        (of, name, why, tuple(said)) for of, all_ in groups for name, *said in all_
    ]
    chance.shuffle(steps)
    # what needs others to have been done, or would leave nothing to do for them
    last: list[Step] = [(of_incident, "correct", why, ("A disk", "It broke, and is replaced."))]
    last += [(of_account, "revoke", why, ("",)), (of_account, "abandon", why, ())]
    large: Step = (of_money, "grant", why, ("500", "promo", ""))
    return [*steps, *last, large, (of_money, "approve", why, ())]


@asynccontextmanager
async def opened(kind: type[Door], template: Path, folder: Path) -> AsyncIterator[Door]:
    folder.mkdir()
    url = f"sqlite:///{shutil.copy(template, folder / 'gateway.db')}"
    async with AsyncExitStack() as open_:
        fake = await open_.enter_async_context(fake_stripe())
        options = selling(fake, launch_credit_nanos=0)
        made = build(Settings(secret=SECRET, database_url=url, dev_mail=True, **options))
        # a job tops up, gives away and tries again at a moment of its own: in one world first
        made.jobs = []
        await open_.enter_async_context(made.running())
        browsers = {name: Browser(made.app) for name in (ADA, MIA, BO, KIM)}
        for browser in browsers.values():
            open_.push_async_callback(browser.close)
        world = await _made(made, browsers, fake)
        await sign_in_operator(browsers[MIA], made, MIA, "finance")
        await sign_in_operator(browsers[BO], made, BO, "owner")
        await sign_in_operator(browsers[KIM], made, KIM, "support")
        yield kind(browsers, fake, world)


async def _made(made: Process, browsers: dict[str, Browser], fake: FakeStripe) -> World:
    """Make an organization that bought, is held, and has one of everything."""
    database, ada, now = made.core.database, browsers[ADA], datetime.now(UTC)
    owner = await owned_organization(made, ada, ADA)
    await made.services.keys.create(owner, "laptop")
    payment_id = field((await ada.get("/console/billing")).text, "id")
    await ada.submit("/console/billing/buy", id=payment_id, preset="25")
    (session,) = fake.all("checkout.session")
    fake.pay(session["id"])
    await ada.get(f"/console/billing/payments/{payment_id}")
    odd = await Payment.create(database, owner, cents=500)
    mail_id = await put_mail(database, recipient=ADA)
    async with database.write() as connection:
        await connection.execute(  # routed before: no job reads it meanwhile
            insert(stripe_events).values(
                id="evt_1", type="charge.updated", object_id="ch_1", created_at=now,
                received_at=now, due_at=None, attempts=1, problem="",
            )
        )  # fmt: skip
        await customers.hold(connection, owner, "an early fraud warning", now)
        rules = TopUpRules(enabled=True, threshold_nanos=1, amount_cents=1000,
                           month_cents_max=5000)  # fmt: skip
        await auto_top_up.save(connection, owner, rules, user_id=None, now=now)
        is_odd = payment_rows.c.id == odd.id
        await connection.execute(update(payment_rows).where(is_odd).values(attention="odd"))
        await golden.pin(connection, STELLA, "r1", [])
        await waitlist.join(connection, STELLA, Address(ADA), None)
        user_id = await connection.scalar(select(users.c.id).where(users.c.email == ADA))
        cast = vote(user_id, STELLA, now)
        await connection.execute(insert(demand_votes).values(**cast))
        incident = {"id": new_id(), "model_id": STELLA, "started_at": now, "ended_at": now}
        await connection.execute(insert(incidents).values(incident))
    return World(database, owner, payment_id, odd.id, mail_id, cast["id"], incident["id"], STELLA)


@pytest.mark.parametrize("seed", range(2))
async def test_both_doors_lead_to_the_same(
    seed: int, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def ready(_connection: object, _model_id: str) -> set[str]:
        return {"r1"}

    monkeypatch.setattr(launch_progress, "ready_revisions", ready)
    monkeypatch.setattr(worker_commands, "_DONE_SECONDS", 0.0)  # no gateway obeys here
    async with (
        opened(Pages, sqlite_template, tmp_path / "pages") as pages,
        opened(Commands, sqlite_template, tmp_path / "commands") as line,
    ):
        for step in drawn(seed):
            await pages.do(step)
            await line.do(step)
            left, other = await pages.left(), await line.left()
            for what, found, wanted in zip(("ledger", "trail", "mails"), left, other, strict=True):
                assert found == wanted, (step, what)
    ledger, trail, _ = left
    assert len(ledger) > 2
    assert {entry[1] for entry in trail} >= {
        "credit.granted", "credit.taken", "payment.refunded", "approval.requested",
        "approval.given", "account.suspended", "buying.released", "auto_top_up.switched_off",
        "key.revoked", "key.changed", "note.written", "mail.resent", "payment.read",
        "payment.seen", "payment.abandoned", "worker.drained", "worker.undrained",
        "worker.checked", "model.state_changed", "vote.set_aside", "event.replayed",
        "operator.added", "model.edited", "model.added", "incident.update_posted",
        "incident.update_corrected",
    }  # fmt: skip
